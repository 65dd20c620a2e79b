"""A table of strings that are found by hashes of pieces of them: what is in it is found, wherever it is."""

import random
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.router import qgrams
from services.router.qgrams import GRAM_BYTES, LONGEST_BYTES, MOST_SHARING, QGramTable
from tests.support.searching import occurrences

# So few letters that strings lie in each other and over each other, and some of several bytes.
letters = "abé🏈"
strings = st.text(letters, min_size=2, max_size=14).filter(QGramTable.may_take)
searched = st.text(letters + "c\ud7ff", max_size=60)


def table_of(strings: list[str], *, capacity: int = 64) -> QGramTable:
    """A table that has taken some strings."""
    table = QGramTable(capacity)
    table.count(strings)
    assert table.add(strings) == strings
    return table


class TestFinding:
    @settings(deadline=None, max_examples=200)
    @given(st.lists(strings, max_size=12, unique=True), searched, st.sampled_from([1, 5, 6, 7, 1000]))
    @example(["aaaaaa", "aaaaaaa"], "aaaaaaaaaa", 3)
    @example(["éééa", "aééé"], "aéééa", 1)
    def test_wherever_the_blocks_end_all_is_found(self, wanted: list[str], text: str, block: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(qgrams, "BLOCK_BYTES", block)
            patch.setattr(qgrams, "MOST_SHARING", 1000)
            found = list(table_of(wanted).find(text.encode()))
        assert set(found) == occurrences(wanted, text.encode())
        assert len(found) == len(set(found))

    @settings(deadline=None, max_examples=100)
    @given(st.lists(strings, max_size=12, unique=True), st.lists(searched, max_size=6))
    @example(["ababab"], ["abababab", "", "ababab c ababab"])
    def test_with_a_separator_each_text_tells_each_of_its_strings_once(
        self, wanted: list[str], texts: list[str]
    ) -> None:
        encoded = b"".join(text.encode() + b"\xff" for text in texts)
        table = QGramTable(64)
        table.count(wanted)
        taken = table.add(wanted)
        told = [(encoded.count(b"\xff", 0, begin), one) for one, begin, _ in table.find(encoded, b"\xff")]
        assert sorted(told) == sorted((at, one) for at, text in enumerate(texts) for one in taken if one in text)

    @settings(deadline=None, max_examples=50)
    @given(st.lists(strings, max_size=12, unique=True), searched)
    def test_where_all_pieces_have_the_same_hash_only_what_is_there_is_found(
        self, wanted: list[str], text: str
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("_FIRST", "_LAST"):
                patch.setattr(qgrams, name, np.uint64(0))
            patch.setattr(qgrams, "MOST_SHARING", 1000)
            assert set(table_of(wanted).find(text.encode())) == occurrences(wanted, text.encode())

    @pytest.mark.parametrize("length", [GRAM_BYTES, GRAM_BYTES + 1, 8, 11, 12, 13, 100, LONGEST_BYTES])
    def test_a_string_is_found_at_the_beginning_and_at_the_end_and_as_the_whole_text(self, length: int) -> None:
        string = "".join(random.Random(7).choices(ascii_lowercase, k=length))
        for before, after in (("", ""), ("x", ""), ("", "x"), ("x" * 600, "y" * 600)):
            text = (before + string + after).encode()
            assert list(table_of([string]).find(text)) == [(string, len(before), len(before) + length)]
            for cut in (text[1:], text[:-1]):
                assert set(table_of([string]).find(cut)) == occurrences([string], cut)

    def test_strings_that_begin_and_end_alike_are_told_apart(self) -> None:
        wanted = [f"beginning{middle}the ending" for middle in ("", " of ", " and ", " to ")]
        table = table_of(wanted)
        for string in wanted:
            assert [one for one, _, _ in table.find(string.encode())] == [string]
        assert list(table.find(b"beginning or the ending")) == []

    def test_nothing_is_found_in_nothing_and_by_an_empty_table(self) -> None:
        assert list(table_of(["string"]).find(b"")) == []
        assert list(table_of(["string"]).find(b"strin")) == []
        assert list(QGramTable(64).find(b"string")) == []

    def test_what_was_added_in_groups_is_found_as_well(self) -> None:
        wanted = [f"string {number}" for number in range(200)]
        table = QGramTable(256)
        for begin in range(0, len(wanted), 7):
            table.count(wanted[begin : begin + 7])
            assert table.add(wanted[begin : begin + 7]) == wanted[begin : begin + 7]
        text = " ".join(reversed(wanted)).encode()
        assert {string for string, _, _ in table.find(text)} == set(wanted)
        assert len(table) == 200


class TestAdding:
    @pytest.mark.parametrize(
        ("string", "taken"),
        [("12345", False), ("123456", True), ("éé", False), ("ééé", True), ("x" * 512, True), ("x" * 513, False)],
    )
    def test_it_may_take_strings_of_six_to_512_bytes(self, string: str, taken: bool) -> None:
        assert QGramTable.may_take(string) is taken

    def test_of_strings_with_nothing_of_their_own_so_many_are_taken_that_a_text_is_compared_with_few(self) -> None:
        table = QGramTable(1024)
        alike = ["a" * length for length in range(6, 60)]
        table.count(["aaaaaaaab", *alike])
        assert table.add(["aaaaaaaab"]) == ["aaaaaaaab"]
        taken = [one for string in alike for one in table.add([string])]
        assert taken == alike[:MOST_SHARING]
        assert {one for one, _, _ in table.find(b"a" * 100 + b"b")} == {"aaaaaaaab", *taken}
        assert table.add(["aaaaaaaac"]) == ["aaaaaaaac"], "which has something, at its end"

    def test_those_that_are_too_much_alike_are_not_taken_in_one_go_either(self) -> None:
        table = QGramTable(1024)
        alike = ["a" * length for length in range(6, 60)]
        table.count(["string", *alike])
        assert table.add(["string", *alike]) == ["string"]
        assert table.add(alike[:5]) == alike[:5]

    def test_of_a_long_string_some_grams_are_looked_at_from_all_over_it(self) -> None:
        grams = qgrams._Grams(["x" * LONGEST_BYTES])
        assert len(grams.places) <= qgrams.MOST_GRAMS
        assert LONGEST_BYTES - grams.places[-1] < 2 * LONGEST_BYTES / qgrams.MOST_GRAMS

    def test_strings_of_very_many_grams_do_not_crowd_out_others(self) -> None:
        dice, table = random.Random(7), QGramTable(4096)
        long = ["".join(chr(dice.randrange(0x10000, 0x20000)) for _ in range(100)) for _ in range(1500)]
        words = ["".join(dice.choices(ascii_lowercase, k=10)) for _ in range(1500)]
        for some in (long, words):
            table.count(some)
        assert table.add(long) == long
        assert table.add(words) == words

    def test_of_a_hundred_strings_hardly_one_that_is_not_there_is_compared_as_a_whole(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dice = random.Random(7)
        wanted = ["".join(dice.choices("abc", k=12)) for _ in range(100)]
        text = "".join(dice.choices("abc", k=20_000)).encode()
        table = table_of(sorted(set(wanted)), capacity=128)
        alike = sum(len(numbers) for numbers, _ in table._alike(text))
        assert alike <= len(occurrences(wanted, text)) + 1

    def test_more_than_it_has_room_for_is_an_error_and_changes_nothing(self) -> None:
        table = table_of(["string 1"], capacity=2)
        with pytest.raises(OverflowError, match="1 strings and 2 are more than 2"):
            table.add(["string 2", "string 3"])
        assert (len(table), list(table.find(b"string 1 string 2"))) == (1, [("string 1", 0, 8)])

    def test_nothing_may_be_added(self) -> None:
        table = QGramTable(2)
        table.count([])
        assert table.add([]) == []
        assert len(table) == 0
