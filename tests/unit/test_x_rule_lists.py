"""Lists of rules: the one in the setting, and the one at X, in which others have theirs."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.sources.x_api.rules import TAG, difference, fixed


class TestFixed:
    def test_a_list_of_rules_as_people_write_it(self) -> None:
        assert fixed("  nfl OR nyc ; #ai lang:en\nfrom:nasa;\r\n cats;nfl OR nyc\n;") == [
            "nfl OR nyc",
            "#ai lang:en",
            "from:nasa",
            "cats",
        ]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            *(("", "rule 1 is empty"), (" \n", "rule 1 is empty"), ("nfl;;nyc", "rule 2 is empty")),
            *(("nfl\n\nnyc", "rule 2 is empty"), ("nfl;" + "x" * 1025, "rule 2 .* longer than 1024")),
            ("\n".join(f"r{number}" for number in range(1001)), "1001 rules are more than the 1000"),
        ],
    )
    def test_a_mistake_is_named(self, text: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            fixed(text)

    def test_as_much_as_x_holds_is_taken(self) -> None:
        rules = [f"{number:04}" + "x" * 1020 for number in range(1000)]
        assert fixed(";".join(rules)) == rules


def at_x(there: Sequence[Mapping[str, object]], add: Sequence[str], delete: Sequence[str]) -> list[dict[str, object]]:
    """X's rules after the change; X deletes by id and refuses a value that it has."""
    left = [dict(rule) for rule in there if str(rule["id"]) not in delete]
    for value in add:
        assert value not in [rule["value"] for rule in left], "DuplicateRule"
        left.append({"id": f"new {value}", "value": value, "tag": TAG})
    return left


class TestDifference:
    def test_what_stays_is_not_touched(self) -> None:
        there = [{"id": "1", "value": "nfl", "tag": "roost"}, {"id": "2", "value": "old", "tag": "roost"}]
        assert difference(["nfl", "nyc"], there) == (("nyc",), ("2",))

    def test_rules_of_others_stay_whether_they_have_a_tag_or_not(self) -> None:
        there = [
            {"id": 1, "value": "cats"},
            {"id": 2, "value": "dogs", "tag": None},
            {"id": 3, "value": "x", "tag": "t"},
            {"id": 4, "value": "kauai", "tag": "roosters of Kauai"},
        ]
        assert difference([], there) == ((), ())
        assert difference(["cats"], there) == ((), ())

    def test_ids_may_be_numbers(self) -> None:
        assert difference([], [{"id": 1377649934414049282, "value": "x", "tag": "roost"}]).delete == (
            "1377649934414049282",
        )

    def test_what_x_lists_without_sense_is_passed_over(self) -> None:
        there: list[dict[str, object]] = [{}, {"tag": "roost"}, {"id": None, "value": 7, "tag": "roost"}, {"tag": 7}]
        assert difference(["nfl"], there) == (("nfl",), ())

    @settings(deadline=None)
    @given(
        wanted=st.lists(st.sampled_from("abcdef"), max_size=8),
        held=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, "roost", "rooster", "their"]))),
        ident=st.sampled_from([int, str]),
    )
    def test_applied_it_leaves_what_is_wanted_and_what_is_of_others(
        self, wanted: list[str], held: list[tuple[str, str | None]], ident: Callable[[int], object]
    ) -> None:
        there = [{"id": ident(number), "value": value, "tag": tag} for number, (value, tag) in enumerate(held)]
        change = difference(wanted, there)
        after = at_x(there, change.add, change.delete)
        foreign = [rule for rule in there if rule["tag"] != "roost"]
        assert [rule for rule in after if rule in there and rule in foreign] == foreign
        assert {rule["value"] for rule in after} == set(wanted) | {rule["value"] for rule in foreign}
        ours = [rule["value"] for rule in after if rule not in foreign]
        assert len(set(ours)) == len(ours) and set(ours) <= set(wanted)
        assert difference(wanted, after) == ((), ())
