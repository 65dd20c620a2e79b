"""Strings that come and go, and move meanwhile: at any time all that are there are found, and steps are short."""

import random
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.router import automata, qgrams, strings
from services.router.qgrams import QGramTable
from services.router.strings import Strings
from tests.support.searching import improved, occurrences

SMALL = [
    *((automata, name, size) for name, size in {"YOUNG_SIZE": 30, "MIDDLE_SIZE": 60, "LEAF_SIZE": 80}.items()),
    *(
        (strings, name, size)
        for name, size in {
            "FEW_BYTES": 50,
            "SMALLEST_TABLE": 4,
            "ENOUGH": 4,
            "COUNTED_BYTES": 30,
            "MOVED_BYTES": 20,
        }.items()
    ),
    (qgrams, "MOST_SHARING", 4),
]
"""Sizes at which a few strings come to all places."""

# So few letters that strings lie in each other and over each other, and some of several bytes.
some_string = st.text("abé🏈", min_size=1, max_size=10)
some_text = st.text("abé🏈c", max_size=50)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, size in SMALL:
        monkeypatch.setattr(module, name, size)


def numbered(numbers: Iterable[int]) -> Iterator[str]:
    """Strings of ten characters, of which none is like too many others."""
    return (f"{(number + 1) * 2654435761 % 10**10:010}" for number in numbers)


def settled(wanted: Iterable[str]) -> Strings:
    """A searcher of some strings, after the time in which no more came."""
    searcher = Strings()
    for string in wanted:
        searcher.add(string)
    improved(searcher, at_rest=True)
    return searcher


def found(searcher: Strings, text: str) -> set[str]:
    """The strings that are found in a text."""
    return {string for string, _, _ in searcher.find(text.encode())}


class ComingAndGoing(RuleBasedStateMachine):
    """Strings come and go, tables are filled and given up, and at any time all is found that has not gone."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module, name, size in SMALL:
            self.patch.setattr(module, name, size)
        self.searcher = Strings()
        self.wanted: set[str] = set()

    def teardown(self) -> None:
        self.patch.undo()

    @rule(string=some_string)
    def comes(self, string: str) -> None:
        self.wanted.add(string)
        self.searcher.add(string)

    @rule(some=st.lists(some_string, max_size=30))
    def many_come(self, some: list[str]) -> None:
        for string in some:
            self.comes(string)

    @rule(string=some_string)
    def goes(self, string: str) -> None:
        self.wanted.discard(string)
        self.searcher.discard(string)

    @rule(share=st.sampled_from([2, 3, 5]), data=st.randoms(use_true_random=False))
    def many_go(self, share: int, data: random.Random) -> None:
        for string in data.sample(sorted(self.wanted), len(self.wanted) * (share - 1) // share):
            self.goes(string)

    @rule(share=st.sampled_from([2, 3]), data=st.randoms(use_true_random=False))
    def many_go_and_come_back(self, share: int, data: random.Random) -> None:
        for string in data.sample(sorted(self.wanted), len(self.wanted) // share):
            self.goes(string)
            self.comes(string)

    @rule(text=some_text)
    def all_is_found(self, text: str) -> None:
        encoded = text.encode()
        assert set(self.searcher.find(encoded)) == occurrences(self.wanted, encoded)

    @rule(at_rest=st.booleans())
    def a_step(self, at_rest: bool) -> None:
        self.searcher.improve(at_rest=at_rest)

    @rule()
    def all_steps(self) -> None:
        improved(self.searcher, at_rest=True)
        searcher = self.searcher
        assert len(searcher._tables) <= 1
        if searcher._size > strings.FEW_BYTES:
            assert not searcher._new
        # So what is held is never more than twice what is wanted.
        assert all(len(table) <= 2 * len(searcher._table_of) for table in searcher._tables)

    @invariant()
    def it_knows_what_it_has(self) -> None:
        assert len(self.searcher) == len(self.wanted)
        assert all(string in self.searcher for string in self.wanted)
        assert "c" not in self.searcher

    @invariant()
    def the_books_are_right(self) -> None:
        searcher = self.searcher
        assert searcher._size == sum(len(string.encode()) for string in self.wanted)
        in_automata = {string for string in self.wanted if string in searcher._automata}
        assert in_automata | set(searcher._table_of) == self.wanted
        assert not in_automata & set(searcher._table_of)
        assert set(searcher._new) <= in_automata
        assert set(searcher._table_of.values()) <= set(searcher._tables)
        assert not searcher._gone & self.wanted
        assert searcher._gone <= set(searcher._tables[-1]._strings if searcher._tables else ())
        for table in searcher._tables:
            assert len(set(table._strings)) == len(table)


TestComingAndGoing = ComingAndGoing.TestCase
TestComingAndGoing.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)


class TestPlaces:
    def test_few_strings_stay_in_automata_and_many_leave_those_that_have_a_fit_length(
        self, small: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(automata, "LEAF_SIZE", 2000)
        searcher = settled(numbered(range(5)))
        assert not searcher._tables
        for string in ("short", "brief", "x" * 600):
            searcher.add(string)
        improved(searcher, at_rest=True)
        assert set(searcher._table_of) == set(numbered(range(5)))
        assert found(searcher, " ".join(["short", *numbered(range(9))])) == {"short", *numbered(range(5))}

    def test_when_few_are_left_they_are_in_automata_again(self, small: None) -> None:
        searcher = settled(numbered(range(40)))
        for string in numbered(range(3, 40)):
            searcher.discard(string)
        improved(searcher)
        assert not searcher._tables
        assert found(searcher, " ".join(numbered(range(40)))) == set(numbered(range(3)))

    def test_a_table_that_is_full_is_followed_by_one_with_room_for_a_quarter_more(self, small: None) -> None:
        searcher = Strings()
        for number in range(300):
            searcher.add(next(numbered([number])))
            if number % 3 == 0:
                improved(searcher, at_rest=True)
        improved(searcher, at_rest=True)
        (table,) = searcher._tables
        assert len(table) == 300
        assert 1.25 * 300 <= table.capacity <= 2 * 1.25 * 300

    def test_strings_with_nothing_of_their_own_stay_in_automata_and_nobody_tries_again(self, small: None) -> None:
        searcher = Strings()
        alike = ["a" * length for length in range(6, 30)]
        for string in (*alike, *numbered(range(5))):
            searcher.add(string)
        improved(searcher, at_rest=True)
        assert {*numbered(range(5))} <= set(searcher._table_of)
        assert sum(string in searcher._table_of for string in alike) <= qgrams.MOST_SHARING
        assert improved(searcher, at_rest=True) == 0
        assert found(searcher, "a" * 12) == {"a" * length for length in range(6, 13)}

    def test_while_all_go_to_another_table_all_are_found_and_each_once(self, small: None) -> None:
        searcher = Strings()
        wanted = list(numbered(range(90)))
        for string in wanted[:40]:
            searcher.add(string)
        improved(searcher, at_rest=True)
        for string in wanted[40:]:
            searcher.add(string)
        text = " ".join(wanted).encode()
        tables, more = set(), True
        while more:
            more = searcher.improve(at_rest=True)
            told = [string for string, _, _ in searcher.find(text)]
            assert sorted(told) == sorted(wanted)
            tables.add(len(searcher._tables))
        assert tables == {1, 2}

    def test_a_search_waits_for_no_move(self, small: None) -> None:
        searcher = settled(numbered(range(60)))
        for string in numbered(range(60, 200)):
            searcher.add(string)
        searcher.improve()
        before = len(searcher._table_of)
        assert found(searcher, " ".join(numbered(range(200)))) == set(numbered(range(200)))
        assert (len(searcher._tables), len(searcher._table_of)) == (2, before)

    def test_few_that_come_are_moved_when_no_more_come(self, small: None) -> None:
        searcher = settled(numbered(range(20)))
        for string in numbered(range(20, 22)):
            searcher.add(string)
        improved(searcher)
        assert len(searcher._table_of) == 20
        improved(searcher, at_rest=True)
        assert len(searcher._table_of) == 22

    def test_a_string_that_goes_and_comes_back_is_in_the_table_once_and_found_at_once(self, small: None) -> None:
        searcher = settled(numbered(range(20)))
        string = next(numbered([7]))
        for _ in range(50):
            searcher.discard(string)
            assert found(searcher, string) == set()
            searcher.add(string)
            assert found(searcher, string) == {string}
            improved(searcher, at_rest=True)
        assert [len(table) for table in searcher._tables] == [20]

    def test_one_that_a_table_has_not_taken_is_in_the_next_if_it_has_something_of_its_own_then(
        self, small: None
    ) -> None:
        searcher = Strings()
        alike = ["a" * length for length in range(6, 30)]
        for string in (*numbered(range(10)), *alike):
            searcher.add(string)
        improved(searcher, at_rest=True)
        one, *others = (string for string in alike if string not in searcher._table_of)
        for string in others:
            searcher.discard(string)
        for string in numbered(range(10, 100)):
            searcher.add(string)
        improved(searcher, at_rest=True)
        assert one in searcher._table_of

    def test_strings_that_come_and_go_while_others_are_moved_are_as_they_should_be(self, small: None) -> None:
        searcher, dice = Strings(), random.Random(7)
        wanted = set(numbered(range(60)))
        for string in sorted(wanted):
            searcher.add(string)
        text = " ".join(numbered(range(200)))
        for number in range(60, 200):
            searcher.improve(at_rest=True)
            going, coming = dice.choice(sorted(wanted)), next(numbered([number]))
            searcher.discard(going)
            searcher.add(coming)
            wanted = wanted - {going} | {coming}
            assert found(searcher, text) == wanted


def test_where_strings_in_each_other_are_everywhere_each_text_still_tells_each_that_it_has() -> None:
    wanted = ["a" * length for length in range(1, 41)] + [f"{'ab' * length}" for length in range(3, 20)]
    searcher = settled([*wanted, *numbered(range(3000))])
    texts = ["a" * 5000, "aaaend", "b", "ab" * 300, "a" * 39 + "b", *["a" * 100] * 30, ""]
    encoded = b"".join(text.encode() + b"\xff" for text in texts)
    told = [(encoded.count(b"\xff", 0, start), string) for string, start, _ in searcher.find(encoded, b"\xff")]
    assert set(told) == {(place, one) for place, text in enumerate(texts) for one in wanted if one in text}
    assert len(told) < 5 * len(encoded), "and not each time that it is there"


def test_ten_thousand_comings_and_goings_leave_nothing_behind() -> None:
    searcher, dice = Strings(), random.Random(7)
    there = list(numbered(range(3000)))
    for string in there:
        searcher.add(string)
    improved(searcher, at_rest=True)

    def come_and_go(first: int, number: int) -> None:
        for coming, string in enumerate(numbered(range(first, first + number)), 1):
            place = dice.randrange(len(there))
            searcher.discard(there[place])
            searcher.add(string)
            there[place] = string
            if coming % 50 == 0:
                list(searcher.find(b"some text"))
                improved(searcher, at_rest=coming % 200 == 0)

    come_and_go(3000, 5000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    come_and_go(10_000, 10_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(searcher) == 3000
    (table,) = searcher._tables
    # Those 3,000 are others now and were not there when the count began; 10,000 would be three times as much.
    assert (table.capacity, after - before < 1_500_000) == (4096, True)
    assert found(searcher, " ".join(there)) == set(there)


def test_at_the_real_sizes_a_hundred_thousand_are_in_one_table_and_all_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[int] = []
    moved: list[int] = []
    count, bring = QGramTable.count, Strings._bring

    def spied_count(table: QGramTable, some: Sequence[str]) -> None:
        counted.append(sum(map(len, some)))
        count(table, some)

    def spied_bring(searcher: Strings, some: Sequence[str], table: QGramTable) -> None:
        moved.append(sum(map(len, some)))
        bring(searcher, some, table)

    monkeypatch.setattr(QGramTable, "count", spied_count)
    monkeypatch.setattr(Strings, "_bring", spied_bring)
    searcher = Strings()
    wanted = list(numbered(range(100_000)))
    for string in wanted:
        searcher.add(string)
    improved(searcher, at_rest=True)
    assert max(counted) <= strings.COUNTED_BYTES + 10
    assert max(moved) <= strings.MOVED_BYTES + 10
    (table,) = searcher._tables
    assert (len(table), table.capacity) == (100_000, 131_072)
    some = wanted[::997]
    assert found(searcher, " ".join(some)) == set(some)
