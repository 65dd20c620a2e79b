"""Which of the versions of a chunk have a key: as it is written to the disk, and as it grows in memory. Pure.

A chunk is `CHUNK` versions that came one after the other. Within it a version has a number from 0 on. A key that few
versions have is written as a row of numbers, two bytes each; one that many have as a map of bits.
"""

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import reduce
from operator import or_

from services.archive.keys import keys_of_word, listed_key, listed_keys_of, words_of
from shared.labels import FAMILIES, Facets, Label
from shared.labels.term import Term
from shared.labels.word import Word

CHUNK = 2048
"""Versions of a chunk."""

_MAP_BYTES = CHUNK // 8
_FEW = 30
"""Up to so many bits are set one by one."""

Postings = dict[str, "array[int]"]
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
    bits: int | None = None
    rows = []
    for written in all_written:
        if len(written) == _MAP_BYTES:
            more = int.from_bytes(written, "little")
            bits = more if bits is None else bits & more
        else:
            rows.append(written)
    if not rows:
        return decode((bits or 0).to_bytes(_MAP_BYTES, "little"))
    rows.sort(key=len)
    found = decode(rows[0])
    for written in rows[1:]:
        found &= decode(written)
    return found if bits is None else {number for number in found if bits >> number & 1}


def united(all_written: Iterable[bytes]) -> set[int]:
    """The numbers that any has."""
    found: set[int] = set()
    for written in all_written:
        found |= decode(written)
    return found


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

    It has the words of the texts and not yet their keys: those of a word are the same however many texts have it.
    """

    def __init__(self, number: int, taken: int = 0) -> None:
        """`taken` of its places are."""
        self.number = number
        """Its place among the chunks of its segment."""
        self.newest = 0
        """The greatest `seq` in it."""
        self.oldest = 2**62
        self._words: Postings = {}
        self._listed: Postings = {}
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
        for postings, keys in ((self._words, words_of(facets)), (self._listed, listed_keys_of(facets))):
            for key in keys:
                row = postings.get(key)
                if row is None:
                    postings[key] = array("H", (within,))
                else:
                    row.append(within)
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
        rows: list[array[int]] = []
        of_key: defaultdict[str, list[int]] = defaultdict(list)
        for key, row in self._left(self._listed):
            of_key[key].append(len(rows))
            rows.append(row)
        for word, row in self._left(self._words):
            at = len(rows)
            rows.append(row)
            for key in keys_of_word(word):
                of_key[key].append(at)
        joined = _Joined(rows)
        return [(key, joined.of(of_key[key])) for key in sorted(of_key)]

    def _left(self, postings: Postings) -> Iterator[tuple[str, "array[int]"]]:
        removed = self._removed
        for key, row in postings.items():
            left = row if removed.isdisjoint(row) else array("H", [number for number in row if number not in removed])
            if left:
                yield key, left

    def _rows_of(self, label: Label) -> Iterator[list["array[int]"]]:
        """For each piece of a label between spaces, the numbers of all words that it may be a part of."""
        first, *middle = label.value.split(" ")
        words = list(self._words)
        if not middle:
            holds = FAMILIES[label.family].matches
            having = [word for word in words if first in word]
            yield [self._words[word] for word in having if holds(first, Facets("", word))]
            return
        *middle, last = middle
        yield [self._words[word] for word in words if word.endswith(first)]
        yield [self._words[word] for word in words if word.startswith(last)]
        for piece in middle:
            yield [self._words[piece]] if piece in self._words else []


class _Joined:
    """Rows, several of which are to be written as one."""

    def __init__(self, rows: list["array[int]"]) -> None:
        self._rows = rows
        self._length = list(map(len, rows)).__getitem__
        self._bits = list(map(_bits, rows)).__getitem__

    def of(self, places: list[int]) -> bytes:
        """What any of the rows at some places has, as it is written."""
        if sum(map(self._length, places)) * 2 >= _MAP_BYTES:
            return reduce(or_, map(self._bits, places)).to_bytes(_MAP_BYTES, "little")
        if len(places) == 1:
            return self._rows[places[0]].tobytes()
        return array("H", sorted(set().union(*map(self._rows.__getitem__, places)))).tobytes()


def _bits(numbers: Collection[int]) -> int:
    if len(numbers) < _FEW:
        bits = 0
        for number in numbers:
            bits |= 1 << number
        return bits
    digits = bytearray(b"0" * CHUNK)
    for number in numbers:
        digits[CHUNK - 1 - number] = 49  # "1"
    return int(digits, 2)
