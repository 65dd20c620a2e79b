"""Which of the versions of a chunk have a key: as it is written to the disk, and as it grows in memory. Pure.

A chunk is `CHUNK` versions that came one after the other. Within it a version has a number from 0 on. A key that few
versions have is written as a row of numbers, two bytes each; one that many have as a map of bits.
"""

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import reduce
from itertools import chain

from services.archive.keys import key_of_space, keys_of_word, listed_key, listed_keys, spaces_of, words_of
from shared.labels import FAMILIES, Facets, Label
from shared.labels.term import Term
from shared.labels.word import Word

CHUNK = 8192
"""Versions of a chunk."""

_MAP_BYTES = CHUNK // 8
_RARE = 3
"""Characters of a string that few words have."""

WORTH = 2
"""Versions of a chunk that a further key has to rule out: to look it up takes as long as to read one or two."""

Postings = defaultdict[str, list[int]]
"""Of each word or key the numbers of the versions that have it."""


def decode(written: bytes) -> set[int]:
    """The numbers of either form."""
    if len(written) < _MAP_BYTES:
        numbers = array("H")
        numbers.frombytes(written)
        return set(numbers)
    digits = bin(int.from_bytes(written, "little"))[:1:-1]
    found = set()
    at = digits.find("1")
    while at >= 0:
        found.add(at)
        at = digits.find("1", at + 1)
    return found


def count(written: bytes) -> int:
    """How many numbers there are."""
    if len(written) < _MAP_BYTES:
        return len(written) // 2
    return int.from_bytes(written, "little").bit_count()


def common(all_written: Iterable[bytes]) -> set[int]:
    """The numbers that all have."""
    maps: list[bytes] = []
    rows: list[bytes] = []
    for written in all_written:
        (maps if len(written) == _MAP_BYTES else rows).append(written)
    in_maps = reduce(_both, maps) if maps else b""
    if not rows:
        return decode(in_maps)
    rows.sort(key=len)
    found = decode(rows[0])
    for written in rows[1:]:
        found.intersection_update(memoryview(written).cast("H"))
    return {number for number in found if in_maps[number >> 3] >> (number & 7) & 1} if maps else found


def most_telling(all_written: Mapping[str, bytes]) -> list[str]:
    """Those of the keys that, together, hardly any version has that does not have all; the most telling first.

    What stands in one word often stands together: the rarest keys need not be the ones that tell most.
    """
    left = {key: _as_bits(written) for key, written in all_written.items()}
    found = (1 << CHUNK) - 1
    chosen: list[str] = []
    while left:
        key = min(left, key=lambda key: (left[key] & found).bit_count())
        common = left.pop(key) & found
        if chosen and found.bit_count() - common.bit_count() < WORTH:
            break
        found = common
        chosen.append(key)
    return chosen


def united(all_written: Iterable[bytes]) -> set[int]:
    """The numbers that any has."""
    bits = 0
    found: set[int] = set()
    for written in all_written:
        if len(written) == _MAP_BYTES:
            bits |= int.from_bytes(written, "little")
        else:
            found.update(memoryview(written).cast("H"))
    return found | decode(bits.to_bytes(_MAP_BYTES, "little")) if bits else found


def without(written: bytes, gone: Collection[int]) -> bytes:
    """The same but for some numbers; empty where none is left."""
    if len(written) == _MAP_BYTES:
        left = int.from_bytes(written, "little") & ~_bits(gone)
        return left.to_bytes(_MAP_BYTES, "little") if left else b""
    numbers = array("H")
    numbers.frombytes(written)
    return array("H", [number for number in numbers if number not in gone]).tobytes()


class OpenChunk:
    """The chunk that is being filled. One thread adds to it while others look things up.

    It has the words and the spaces of the texts and not yet their keys: those of a word are the same however many
    texts have it.
    """

    def __init__(self, number: int, taken: int = 0) -> None:
        """`taken` of its places are."""
        self.number = number
        """Its place among the chunks of its segment."""
        self.newest = 0
        """The greatest `seq` in it."""
        self.oldest = 2**62
        self._words: Postings = defaultdict(list)
        self._spaces: Postings = defaultdict(list)
        self._listed: Postings = defaultdict(list)
        self._spelled = 0, " "
        """So many of the words, the first ones, with spaces between."""
        self._removed: set[int] = set()
        self._next = number * CHUNK + taken

    @property
    def room(self) -> int:
        """How many places it has left."""
        return (self.number + 1) * CHUNK - self._next

    @property
    def empty(self) -> bool:
        """Whether nothing was ever put into it."""
        return self.room == CHUNK

    def take(self) -> int:
        """A number for a version, which is then to be added or not."""
        number = self._next
        self._next += 1
        return number

    def add(self, number: int, seq: int, facets: Facets) -> None:
        """The version that took this number has these facets."""
        within = number - self.number * CHUNK
        for word in words_of(facets):
            self._words[word].append(within)
        for space in spaces_of(facets):
            self._spaces[space].append(within)
        for key in listed_keys(facets):
            self._listed[key].append(within)
        self.newest = max(self.newest, seq)
        self.oldest = min(self.oldest, seq)

    def remove(self, number: int) -> None:
        """The version with this number is no more. Who reads the file as it was before still finds it."""
        self._removed.add(number - self.number * CHUNK)

    def find(self, label: Label) -> list[int]:
        """The numbers in the segment of the versions that may have a label."""
        base = self.number * CHUNK
        if label.family not in (Term.name, Word.name):
            return [base + within for within in self._listed.get(listed_key(label), ())]
        found: set[int] | None = None
        for rows in self._rows_of(label):
            more = set().union(*rows)
            found = more if found is None else found & more
            if not found:
                return []
        return [base + within for within in found or ()]

    def written(self) -> list[tuple[str, bytes]]:
        """Every key with the numbers that have it, as it is to be written, in the order of the keys."""
        rows: defaultdict[str, list[list[int]]] = defaultdict(list)
        for key, row in self._left(self._listed):
            rows[key].append(row)
        for space, row in self._left(self._spaces):
            if between := key_of_space(space):
                rows[between].append(row)
        for word, row in self._left(self._words):
            for key in keys_of_word(word):
                rows[key].append(row)
        return [(key, _joined(rows[key])) for key in sorted(rows)]

    def _left(self, postings: Postings) -> Iterator[tuple[str, list[int]]]:
        removed = self._removed
        for key, row in postings.items():
            left = row if removed.isdisjoint(row) else [number for number in row if number not in removed]
            if left:
                yield key, left

    def _rows_of(self, label: Label) -> Iterator[list[list[int]]]:
        """For each piece of a label between spaces, the numbers of all words that it may be a part of."""
        first, *middle = label.value.split(" ")
        if not middle:
            holds = FAMILIES[label.family].matches
            having = self._words_with(first)
            yield [self._words[word] for word in having if holds(first, Facets("", word))]
            return
        *middle, last = middle
        yield [self._words[word] for word in self._words_with(f"{first} ")]
        yield [self._words[word] for word in self._words_with(f" {last}")]
        for piece in middle:
            yield [self._words[piece]] if piece in self._words else []

    def _words_with(self, string: str) -> list[str]:
        """The words that have a string in them, where there is a space on either side of each."""
        if len(string) < _RARE:
            words = list(self._words)
            return [word for word in words if string in (f" {word} " if " " in string else word)]
        spelled = self._spelled_out()
        found = []
        at = spelled.find(string)
        while at >= 0:
            begin = spelled.rfind(" ", 0, at + 1) + 1
            end = spelled.find(" ", begin)
            found.append(spelled[begin:end])
            at = spelled.find(string, end)
        return found

    def _spelled_out(self) -> str:
        """All words in a row: one long string is searched sooner than many short ones."""
        number, spelled = self._spelled
        if number < len(self._words):
            words = list(self._words)
            spelled = f"{spelled}{' '.join(words[number:])} "
            self._spelled = len(words), spelled
        return spelled


def _joined(rows: list[list[int]]) -> bytes:
    """What any of the rows has, as it is written."""
    if sum(map(len, rows)) * 2 >= _MAP_BYTES:
        return _bits(chain.from_iterable(rows)).to_bytes(_MAP_BYTES, "little")
    # Most keys are of one word.
    return array("H", rows[0] if len(rows) == 1 else sorted({*chain.from_iterable(rows)})).tobytes()


def _both(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") & int.from_bytes(other, "little")).to_bytes(_MAP_BYTES, "little")


def _as_bits(written: bytes) -> int:
    return int.from_bytes(written, "little") if len(written) == _MAP_BYTES else _bits(memoryview(written).cast("H"))


def _bits(numbers: Iterable[int]) -> int:
    digits = bytearray(b"0") * CHUNK
    for number in numbers:
        digits[number] = 49  # "1"
    digits.reverse()
    return int(digits, 2)
