"""What X is asked for: no more than is allowed, in rules that say what is meant, whatever strangers bind."""

import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from services.ingest.sources.x_api.rules import (
    LANGUAGES,
    MAX_RULE_CHARACTERS,
    MAX_RULES,
    Plan,
    Rule,
    Wishes,
    expression,
    halves,
)
from shared.labels import Label, LabelError
from tests.unit.x_rule_reader import HOSTILE, Post, a_post_with, held, like, parse


def asked(plan: Plan) -> set[str]:
    return {key for rule in plan.rules for key in rule.labels}


def values(plan: Plan) -> list[str]:
    return [rule.value for rule in plan.rules]


def everybody(keys: Sequence[str]) -> dict[str, int]:
    return dict.fromkeys(keys, 1)


texts = st.one_of(
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=4).map("".join),
    st.text(min_size=1, max_size=8),
    st.text("ab1_ -\"'()#:\\", min_size=1, max_size=100),
)
families = st.sampled_from(["term", "word", "tag", "from", "lang"])


def label_of(family: str, value: str) -> Label | None:
    try:
        return Label.of(family, value)
    except LabelError:
        return None


def is_written_as_a_room(label: Label | None) -> bool:
    return label is not None and not re.search("^[#@]|;|://", label.room)


labels = st.one_of(
    st.builds(label_of, families, texts).filter(bool),
    st.builds(label_of, st.just("lang"), st.sampled_from(sorted(LANGUAGES))),
    st.sampled_from([Label("has_url"), Label("has_media"), Label("all")]),
)


class TestWhatMayCost:
    def test_by_default_no_url_costs_anything(self) -> None:
        holders = {"term.nfl": 1000, "tag.ai": 9, "lang.en": 9, "has_url": 9, "all": 9}
        plan = Wishes(allow=[], min_bindings=0).plan(held(holders))
        assert plan == Plan((), tuple(sorted(holders)))

    def test_what_is_allowed_is_asked_for_once_somebody_wants_it(self) -> None:
        wishes = Wishes(allow=["nfl", "tag/ai", "from/nasa", "super bowl"], min_bindings=0)
        assert wishes.plan({}) == Plan((), ())
        plan = wishes.plan(held({"term.nfl": 1, "term.super%20bowl": 1, "term.nyc": 5}))
        assert plan == Plan((Rule('nfl OR "super bowl"', ("term.nfl", "term.super%20bowl")),), ("term.nyc",))

    def test_or_once_enough_bindings_want_it_however_they_spell_it(self) -> None:
        wishes = Wishes(allow=[], min_bindings=3)
        assert wishes.plan(held({"term.nfl": 2})) == Plan((), ("term.nfl",))
        assert wishes.plan(held({"term.nfl": 1, "term.NFL": 1, "term.Nfl": 1})).rules == (Rule("nfl", ("term.nfl",)),)
        assert wishes.plan(held({"term.nfl": 2, "word.nfl": 2})).rules == ()

    def test_one_who_is_bound_by_many_spellings_is_one(self) -> None:
        wishes = Wishes(allow=[], min_bindings=2)
        one, other = "queue gateway.1", "exchange gateway.1"
        spellings = {"term.nfl": [one], "term.NFL": [one], "term.Nfl": [one]}
        assert wishes.plan(spellings) == Plan((), ("term.nfl",))
        assert wishes.plan(spellings | {"term.nfL": [one, other]}).rules == (Rule("nfl", ("term.nfl",)),)

    @pytest.mark.parametrize(
        "key",
        ["action.update", "#", "lang.*", "term.*", "*.nfl", "roost.probe.1a", "nonsense", "tag", "term.%ff", ""],
    )
    def test_bindings_that_are_no_wish_of_people_are_passed_over(self, key: str) -> None:
        assert Wishes(allow=[], min_bindings=1).plan(held({key: 5})) == Plan((), ())

    def test_everything_cannot_be_asked_for_and_the_page_says_so(self) -> None:
        assert Wishes(allow=[], min_bindings=1).plan(held({"all": 5})) == Plan((), ("all",))

    def test_a_binding_that_has_gone_counts_no_more(self) -> None:
        assert Wishes(allow=["nfl"], min_bindings=0).plan(held({"term.nfl": 0})) == Plan((), ())

    def test_what_x_refused_is_not_asked_for_again_under_another_name(self) -> None:
        wishes = Wishes(allow=["nfl", "word/nfl", "nyc"], min_bindings=0)
        plan = wishes.plan(held(everybody(["term.nfl", "word.nfl", "term.nyc"])), refused=["term.nfl", "nonsense"])
        assert plan == Plan((Rule("nyc", ("term.nyc",)),), ("term.nfl", "word.nfl"))

    @pytest.mark.parametrize(
        "room", ["", "all", "the", "to me", "lang/xx", "from/a b", "tag/a b", 'say "hi"', "…", "/"]
    )
    def test_a_setting_that_could_never_work_is_refused_by_name(self, room: str) -> None:
        with pytest.raises(ValueError, match=re.escape(repr(room))):
            Wishes(allow=["nfl", room], min_bindings=0)

    @pytest.mark.parametrize(
        ("room", "how"),
        [
            ("#ai", "tag/ai"),
            ("@nasa", "from/nasa"),
            ("nfl; nba", "commas"),
            ("http://localhost:8080/nfl", "after the host"),
        ],
    )
    def test_what_is_not_written_as_a_room_is_refused_and_told_how(self, room: str, how: str) -> None:
        with pytest.raises(ValueError, match=re.escape(repr(room)) + f".*{how}"):
            Wishes(allow=["nfl", room], min_bindings=0)

    def test_so_is_a_number_of_bindings_below_none(self) -> None:
        with pytest.raises(ValueError, match="-1"):
            Wishes(allow=[], min_bindings=-1)


class TestExpressions:
    @pytest.mark.parametrize(
        ("family", "value", "text"),
        [
            *(("term", "NFL", "nfl"), ("word", "nfl", "nfl"), ("term", "2026", "2026"), ("term", "not", '"not"')),
            *(("term", "super bowl", '"super bowl"'), ("term", "a\u00a0 b3", '"a b3"'), ("term", "r&b", '"r&b"')),
            *(("term", "🏈", '"🏈"'), ("term", "🩷", '"🩷"'), ("term", "über", '"über"'), ("term", "c++", '"c++"')),
            *(("term", "λόγος", '"λόγος"'), ("tag", "λόγος", "#λόγος"), ("term", "σας λέω", '"σας λέω"')),
            *(("term", "می\u200cخواهم", '"می\u200cخواهم"'), ("term", "👩\u200d👩\u200d👧", '"👩\u200d👩\u200d👧"')),
            *(("tag", "#AI", "#ai"), ("tag", "日本", "#日本"), ("tag", "हिन्दी", "#हिन्दी"), ("tag", "2026", None)),
            *(("from", "@NASA", "from:nasa"), ("from", "a" * 15, "from:" + "a" * 15), ("from", "a" * 16, None)),
            *(("from", "ä", None), ("lang", "en", "lang:en"), ("lang", "ZH-tw", "lang:zh-TW"), ("lang", "xx", None)),
            *(("has_url", "", "has:links"), ("has_media", "", "has:media"), ("all", "", None)),
            *(
                ("term", "the", None),
                ("term", "or", None),
                ("term", "to me", None),
                ("term", "the boat", '"the boat"'),
            ),
            *(
                ("term", "-x", '"-x"'),
                ("term", "from:x", '"from:x"'),
                ("term", "(a)", None),
                ("term", "(b)", '"(b)"'),
            ),
            *(("term", 'say "hi"', None), ("term", "a\\", None), ("term", "“b”", None), ("term", "b＂", None)),
            *(("term", "…", None), ("term", "=", None), ("term", "n\u200bfl", None), ("term", "nfl\u200d", None)),
            *(("term", "a\nb", None), ("term", "\u0301a", None), ("term", "\u3164", None), ("tag", "a-b", None)),
            *(("tag", "a\ufe0f", None), ("term", "action", "action"), ("action", "update", None)),
        ],
    )
    def test_a_label_as_x_would_have_it(self, family: str, value: str, text: str | None) -> None:
        assert expression(Label.of(family, value)) == text

    @settings(deadline=None, max_examples=300)
    @given(labels)
    @example(Label.of("term", "nfl OR lang:en"))
    @example(Label.of("term", 'a" OR "b'))
    @example(Label.of("term", "b) OR (c"))
    @example(Label.of("tag", "a OR b"))
    def test_nobodys_label_says_more_than_one_thing(self, label: Label) -> None:
        text = expression(label)
        assume(text)
        assert text
        part = parse(text)
        assert list(part.leaves()) == [part]
        assert part.kind in {"term": ("word", "phrase"), "word": ("word", "phrase")}.get(
            label.family, (label.family.removesuffix("_url").removesuffix("_media"),)
        )
        assert [leaf.kind for leaf in parse(f"xx OR {text} OR yy").leaves()] == ["word", part.kind, "word"]
        assert parse(f"({text} OR xx) lang:en").parts[0].parts[0] == part

    @settings(deadline=None, max_examples=300)
    @given(labels)
    def test_it_finds_the_posts_that_the_label_is_about(self, label: Label) -> None:
        text = expression(label)
        assume(text)
        assert text and parse(text).matches(a_post_with(label))
        assert not parse(text).matches(Post(text="zzz", tags=("zzz",), author="zzz", lang="zzz"))


class TestCompany:
    def test_a_language_is_asked_for_among_what_is_allowed(self) -> None:
        wishes = Wishes(allow=["nfl", "tag/ai", "lang/en", "url"], min_bindings=0)
        assert values(wishes.plan(held({"lang.en": 1}))) == ["(#ai OR nfl) lang:en"]
        assert values(wishes.plan(held({"lang.en": 1, "has_url": 1}))) == ["(#ai OR nfl) (has:links OR lang:en)"]
        assert wishes.plan(held({"lang.en": 1, "term.nfl": 1})).rules == (
            Rule("nfl", ("term.nfl",)),
            Rule("(#ai OR nfl) lang:en", ("lang.en",)),
        )

    def test_one_companion_needs_no_parentheses(self) -> None:
        assert values(Wishes(allow=["nfl", "url"], min_bindings=0).plan(held({"has_url": 1}))) == ["nfl has:links"]

    def test_without_company_it_is_not_asked_for(self) -> None:
        wishes = Wishes(allow=["lang/en", "url"], min_bindings=1)
        assert wishes.plan(held({"lang.en": 9, "has_url": 9, "term.nfl": 9})).not_asked == ("has_url", "lang.en")

    def test_company_that_x_refused_is_left_out(self) -> None:
        wishes = Wishes(allow=["nfl", "nyc", "url"], min_bindings=0)
        assert values(wishes.plan(held({"has_url": 1}), refused=["term.nfl"])) == ["nyc has:links"]
        assert wishes.plan(held({"has_url": 1}), refused=["term.nfl", "term.nyc"]) == Plan((), ("has_url",))

    def test_long_company_comes_in_several_rules_that_find_all_of_it(self) -> None:
        rooms = [f"the {number} " + "x" * 80 for number in range(40)]
        wishes = Wishes(allow=[*rooms, "url"], min_bindings=len(LANGUAGES))
        holders = {"has_url": 1, **dict.fromkeys((f"lang.{code}" for code in LANGUAGES), 100)}
        plan = wishes.plan(held(holders))
        assert plan.not_asked == () and len(plan.rules) < 30
        check(plan, holders)
        parts = [parse(value) for value in values(plan)]
        for room in rooms:
            assert any(part.matches(Post(text=room, lang="vi")) for part in parts)
            assert any(part.matches(Post(text=room, links=True)) for part in parts)
            assert not any(part.matches(Post(text=room)) for part in parts)
        assert wishes.plan(held(holders), current=plan.rules) == plan

    def test_company_for_which_there_is_no_room_is_not_asked_for_by_halves(self) -> None:
        rooms = [f"{number} " + "x" * 94 for number in range(10_000, 19_000)]
        holders = everybody([Label.of("term", room).key for room in rooms] + ["has_url"])
        for allow, least, rules in (([*rooms[:-9], "url"], 0, 999), (["nfl", "url"], 1, MAX_RULES)):
            plan = Wishes(allow=allow, min_bindings=least).plan(held(holders))
            assert "has_url" in plan.not_asked and len(plan.rules) == rules


def check(plan: Plan, holders: Mapping[str, int]) -> None:
    """What has to be true of every plan."""
    assert len(plan.rules) <= MAX_RULES
    assert len(set(values(plan))) == len(plan.rules)
    assert list(plan.not_asked) == sorted(set(plan.not_asked))
    assert not asked(plan) & set(plan.not_asked)
    seen: dict[str, int] = {}
    for rule in plan.rules:
        assert len(rule.value) <= MAX_RULE_CHARACTERS
        part = parse(rule.value)
        assert part.narrow(), f"{rule.value}: X wants company for it"
        assert rule.labels
        for key in rule.labels:
            seen[key] = seen.get(key, 0) + 1
    for key, times in seen.items():
        assert times == 1 or key.startswith(("lang.", "has_")), f"{key} is in {times} rules"
    assert len(asked(plan)) + len(plan.not_asked) <= len(holders)


class TestPacking:
    def test_many_terms_share_a_rule(self) -> None:
        keys = [f"term.team{number}" for number in range(500)]
        plan = Wishes(allow=[], min_bindings=1).plan(held(everybody(keys)))
        assert asked(plan) == set(keys)
        assert len(plan.rules) == 6

    def test_the_same_wishes_in_another_order_make_the_same_rules(self) -> None:
        keys = [f"term.team{number}" for number in range(300)]
        wishes = Wishes(allow=[], min_bindings=1)
        assert wishes.plan(held(everybody(keys))) == wishes.plan(held(everybody(keys[::-1])))

    def test_a_new_term_leaves_every_rule_as_it_is(self) -> None:
        wishes = Wishes(allow=[], min_bindings=1)
        holders = everybody([f"term.team{number}" for number in range(500)])
        before = wishes.plan(held(holders))
        after = wishes.plan(held({**holders, "term.aaa": 5}), current=before.rules)
        assert set(after.rules) - set(before.rules) == {Rule("aaa", ("term.aaa",))}
        assert set(before.rules) <= set(after.rules)

    def test_a_term_that_nobody_wants_any_more_changes_its_own_rule_alone(self) -> None:
        wishes = Wishes(allow=[], min_bindings=1)
        holders = everybody([f"term.team{number}" for number in range(500)])
        before = wishes.plan(held(holders))
        del holders["term.team250"]
        after = wishes.plan(held(holders), current=before.rules)
        assert len(set(before.rules) - set(after.rules)) == 1
        assert asked(after) == set(holders)

    def test_after_a_restart_the_values_that_x_holds_are_enough(self) -> None:
        wishes = Wishes(allow=["nfl", "url"], min_bindings=1)
        holders = {**everybody([f"term.team{number}" for number in range(200)]), "has_url": 1, "word.team7": 1}
        plan = wishes.plan(held({**holders, "term.late": 1}), current=wishes.plan(held(holders)).rules)
        left = [Rule(value, ()) for value in [*reversed(values(plan)), 'cats "of others" has:media', "", "((("]]
        assert set(wishes.plan(held({**holders, "term.late": 1}), current=left).rules) == set(plan.rules)

    def test_people_coming_one_by_one_neither_rewrite_the_rules_nor_use_them_up(self) -> None:
        wishes = Wishes(allow=[], min_bindings=1)
        holders: dict[str, int] = {}
        plan = Plan((), ())
        rewritten = 0
        for number in range(400):
            holders[f"term.team{number}"] = 1
            after = wishes.plan(held(holders), current=plan.rules)
            rewritten += len(set(plan.rules) - set(after.rules))
            plan = after
        assert asked(plan) == set(holders)
        assert len(plan.rules) <= 40
        assert rewritten < 400

    def test_beyond_what_x_holds_the_fewest_people_go_without(self) -> None:
        wishes = Wishes(allow=[], min_bindings=1)
        keys = [f"term.{number}" + "x" * 90 for number in range(10_000, 21_000)]
        holders = {key: 2 if number % 2 else 1 for number, key in enumerate(keys)}
        plan = wishes.plan(held(holders))
        check(plan, holders)
        assert len(plan.rules) == MAX_RULES
        assert len(asked(plan)) + len(plan.not_asked) == len(keys)
        assert {holders[key] for key in plan.not_asked} == {1}
        again = wishes.plan(held({**holders, "term.new": 9}), current=plan.rules)
        assert again.rules == plan.rules and "term.new" in again.not_asked

    @settings(deadline=None, max_examples=150)
    @given(
        wanted=st.dictionaries(labels, st.integers(1, 3), max_size=40),
        later=st.dictionaries(labels, st.integers(1, 3), max_size=10),
        allowed=st.sets(labels.filter(is_written_as_a_room), max_size=10),
        least=st.integers(0, 3),
    )
    def test_whatever_is_wanted(
        self, wanted: dict[Label, int], later: dict[Label, int], allowed: set[Label], least: int
    ) -> None:
        wishes = Wishes(allow=[label.room for label in allowed if expression(label)], min_bindings=least)
        plan = Plan((), ())
        for phase in (wanted, {**wanted, **later}, later):
            holders = {label.key: number for label, number in phase.items()}
            plan = wishes.plan(held(holders), current=plan.rules)
            check(plan, holders)
            assert asked(plan) | set(plan.not_asked) == set(holders)
            for label, number in phase.items():
                if label.key in asked(plan):
                    assert label in allowed or 0 < least <= number
                    rules = [parse(rule.value) for rule in plan.rules if label.key in rule.labels]
                    post = a_post_with(label)
                    if label.family in ("lang", "has_url", "has_media"):
                        friend = next(iter(rules[0].leaves()))
                        assert rules[0].matches(like(friend, post))
                    else:
                        assert rules[0].matches(post)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["", "term.", "tag.", "lang."]), texts).map("".join)))
def test_a_key_may_be_anything(keys: list[str]) -> None:
    check(Wishes(allow=["nfl"], min_bindings=1).plan(held(everybody(keys)), refused=keys[:3]), everybody(keys))


class TestHalves:
    def test_a_rule_comes_apart_until_each_says_one_thing(self) -> None:
        rule = Rule("nfl OR #ai OR from:nasa", ("term.nfl", "word.nfl", "tag.ai", "from.nasa"))
        assert halves(rule) == (
            Rule("nfl", ("term.nfl", "word.nfl")),
            Rule("#ai OR from:nasa", ("tag.ai", "from.nasa")),
        )
        assert halves(Rule("nfl", ("term.nfl", "word.nfl"))) is None

    def test_company_stays_with_both(self) -> None:
        rule = Rule("(nfl OR #ai) (lang:en OR lang:de OR has:links)", ("lang.en", "lang.de", "has_url"))
        assert halves(rule) == (
            Rule("(nfl OR #ai) lang:en", ("lang.en",)),
            Rule("(nfl OR #ai) (lang:de OR has:links)", ("lang.de", "has_url")),
        )
        assert halves(Rule("(nfl OR #ai) lang:en", ("lang.en",))) is None

    @pytest.mark.parametrize(
        "rule",
        [
            *(Rule("nfl OR nyc", ()), Rule("nfl nyc", ("term.nfl", "term.nyc")), Rule("nfl", ("nonsense", "all"))),
            Rule("nyc OR nfl", ("term.nfl", "term.nyc")),
        ],
    )
    def test_a_rule_that_was_not_planned_here_stays_whole(self, rule: Rule) -> None:
        assert halves(rule) is None

    @settings(deadline=None, max_examples=100)
    @given(st.sets(labels, max_size=30), st.sampled_from([["nfl"], ["nfl", "tag/ai"]]))
    def test_halving_goes_on_to_the_end_and_loses_nothing(self, wanted: set[Label], allow: list[str]) -> None:
        plan = Wishes(allow=allow, min_bindings=1).plan(held({label.key: 1 for label in wanted}))
        for rule in plan.rules:
            ends, todo = [], [rule]
            while todo:
                one = todo.pop()
                if parts := halves(one):
                    todo += parts[::-1]
                else:
                    ends.append(one)
            assert tuple(key for end in ends for key in end.labels) == rule.labels
            check(Plan(tuple(ends), ()), everybody(rule.labels))
            for end in ends:
                assert len({expression(label) for label in wanted if label.key in end.labels}) == 1
