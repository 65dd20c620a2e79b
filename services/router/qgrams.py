"""Finds very many strings at once in texts, by hashes of six bytes of each. Pure.

Six bytes of each string (a *q-gram*), its *anchor*, are put into a hash table, and whatever six bytes stand in texts
are looked up there: the search of Rabin and Karp, with the anchor at that place of a string where few other strings
have the same. Of an automaton each state has to be loaded before it is known which is next. The grams of a text
don't depend on each other: numpy looks up thousands at a time, and a processor waits for the memory of many of them
at once. And a string is added in some microseconds, without anything being built anew.

Of 150 bytes of a text some 16 pass the filter with 100,000 strings that look like words, if all were known when the
first was added, and one in twenty is compared with a whole string in Python.
"""

import secrets
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.router.automata import Occurrence

GRAM_BYTES = 6
"""With fewer, anchors stand in more texts; with more, more strings are too short to have one."""
LONGEST_BYTES = 512
"""More than a term has, of 100 characters and four bytes each."""
MOST_SHARING = 16
"""Strings whose anchors are in one slot, at most: each place of a text that is there is compared with all of them."""
MOST_GRAMS = 32
"""Grams of a string that may become its anchor. Longer strings have so many, which are spread over them."""
BLOCK_BYTES = 16_384
"""How much of the texts is looked up at a time: arrays of 8 bytes for each stay in the processor's cache."""

_PADDING = b"\xff" * (LONGEST_BYTES + 8)
"""After texts, so that 8 bytes can be read wherever a string might be."""

_Hashes = NDArray[np.uint64]
_Numbers = NDArray[np.int64]
_NONE: _Numbers = np.empty(0, np.int64)

_BITS = 64


def _odd() -> int:
    """An odd number that nobody can know who makes up strings to come into one bucket."""
    return secrets.randbits(_BITS) | 1


def _multiplier(odd: int) -> np.uint64:
    """What words of 8 bytes are multiplied with for a hash of the first six; the others are shifted out."""
    return np.uint64(odd << _BITS - 8 * GRAM_BYTES & (1 << _BITS) - 1)


# Multiply-shift (Dietzfelbinger et al., 1997): of x times a random odd number the upper bits are a hash of x. Here
# the product is called the hash. No two grams have the same, but many have the same upper bits.
_FIRST, _LAST = _multiplier(_odd()), _multiplier(_odd())
_MIXING = np.uint64(_odd())

_ENTRY = np.dtype(
    [
        ("ends", np.uint64),  # hash of the first and the last six bytes of the string
        ("next", np.int32),  # the entry after this one in its bucket; 0 is none
        ("anchor", np.int16),  # where the anchor begins in the string
        ("last", np.int16),  # where the last six bytes begin
    ]
)


class QGramTable:
    """Some strings of six bytes and more. They can be added, up to the table's capacity, and found."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is a power of two."""
        self.capacity = capacity
        self._strings: list[str] = []
        bits = capacity.bit_length() - 1
        self._slot_shift = np.uint64(_BITS - bits - 3)
        self._frequency = np.zeros(8 * capacity, np.uint32)
        """How often strings have grams in a slot, as far as they were counted."""
        self._anchors = np.zeros(8 * capacity, np.uint32)
        """How many of them are anchors."""
        self._filter = np.zeros(capacity, np.uint8)
        """Whether any is, a bit for each slot: all that is looked at for each byte of a text, and small."""
        self._bucket_shift = np.uint64(_BITS - bits - 1)
        self._buckets = np.zeros(2 * capacity, np.int32)
        """The first entry of each; 0 is none."""
        self._entries = np.zeros(capacity + 1, _ENTRY)
        """Of each string, in the order of `_strings`, after one that is none."""

    def __len__(self) -> int:
        return len(self._strings)

    @staticmethod
    def may_take(string: str) -> bool:
        """Whether a string is neither too short nor too long."""
        return GRAM_BYTES <= len(string.encode()) <= LONGEST_BYTES

    def has_room_for(self, number: int) -> bool:
        """Whether so many more can be added."""
        return len(self) + number <= self.capacity

    def count(self, strings: Sequence[str]) -> None:
        """Note what grams these strings have, as `add` asks for. The more is known before any is added the better.

        Each has to be one that the table `may_take`.
        """
        np.add.at(self._frequency, self._slots(_Grams(strings).hashes), 1)

    def add(self, strings: Sequence[str]) -> list[str]:
        """Take some strings, which were counted; returns those that it has taken.

        The others have the anchor of too many. Raises `OverflowError` where there are more than it has room for.
        """
        if not self.has_room_for(len(strings)):
            raise OverflowError(f"{len(self)} strings and {len(strings)} are more than {self.capacity}")
        grams = _Grams(strings)
        rarest = grams.rarest(self._frequency[self._slots(grams.hashes)])
        slots = self._slots(grams.hashes[rarest])
        np.add.at(self._anchors, slots, 1)
        is_taken = self._anchors[slots] <= MOST_SHARING
        np.subtract.at(self._anchors, slots[~is_taken], 1)
        np.bitwise_or.at(self._filter, slots[is_taken] >> 3, np.uint8(1) << (slots[is_taken] & 7).astype(np.uint8))
        first = len(self) + 1
        entries = self._entries[first : first + np.count_nonzero(is_taken)]
        entries["ends"] = grams.ends()[is_taken]
        entries["anchor"] = grams.places[rarest[is_taken]]
        entries["last"] = grams.last[is_taken]
        buckets = self._buckets_of(grams.hashes[rarest[is_taken]])
        for number, bucket in enumerate(buckets.tolist(), first):
            self._entries["next"][number] = self._buckets[bucket]
            self._buckets[bucket] = number
        taken = [strings[place] for place in np.flatnonzero(is_taken).tolist()]
        self._strings += taken
        return taken

    def find(self, texts: bytes, separator: bytes | None = None) -> Iterator[Occurrence]:
        """Where all strings occur in `texts`, in no order that one could rely on.

        With a `separator`, a byte that no string has, each string is told once between two of them.
        """
        is_end = np.frombuffer(texts, np.uint8) == ord(separator) if separator else _NONE
        ends = np.flatnonzero(is_end)
        told: set[int] = set()
        for numbers, begins in self._alike(texts):
            between = ends.searchsorted(begins) if separator else begins
            told_as = numbers.astype(np.int64) * (len(texts) + 1) + between
            for one, number, begin in zip(told_as.tolist(), numbers.tolist(), begins.tolist(), strict=True):
                if one in told:
                    continue
                string = self._strings[number - 1]
                encoded = string.encode()
                if texts.startswith(encoded, begin):
                    told.add(one)
                    yield string, begin, begin + len(encoded)

    def _alike(self, texts: bytes) -> Iterator[tuple[NDArray[np.int32], _Numbers]]:
        """Entries, and where in texts something begins that has the same hash of its ends."""
        words = _words(texts + _PADDING)
        places, hashes = self._with_anchors(words, len(texts))
        numbers: NDArray[np.int32] = self._buckets[self._buckets_of(hashes)]
        # Compared with 0, as numpy finds what is true several times as fast as what is not 0.
        while (left := np.flatnonzero(numbers != 0)).size:
            places, numbers = places[left], numbers[left]
            entries = self._entries.take(numbers)
            # One that would begin before the texts is negative: numpy reads what is at the end.
            begins = places - entries["anchor"]
            alike = words[begins] * _FIRST + words[begins + entries["last"]] * _LAST == entries["ends"]
            alike &= begins >= 0
            yield numbers[alike], begins[alike]
            numbers = entries["next"]

    def _with_anchors(self, words: _Hashes, length: int) -> tuple[_Numbers, _Hashes]:
        """The places in texts where an anchor may begin, and the hashes of what is there."""
        places = [_NONE]
        for begin in range(0, length, BLOCK_BYTES):
            slots = self._slots(words[begin : min(begin + BLOCK_BYTES, length)] * _FIRST)
            bits = slots.astype(np.uint8)
            bits &= 7
            slots >>= 3
            passed = self._filter[slots]
            passed >>= bits
            passed &= 1
            places.append(np.flatnonzero(passed.view(np.bool_)) + begin)
        anchors = np.concatenate(places)
        return anchors, words[anchors] * _FIRST

    def _slots(self, hashes: _Hashes) -> _Numbers:
        # A view: else numpy converts what it takes for an index.
        return (hashes >> self._slot_shift).view(np.int64)

    def _buckets_of(self, hashes: _Hashes) -> _Numbers:
        # By other bits than slots: what has passed the filter by chance shall find nothing here.
        return ((hashes ^ hashes >> np.uint64(_BITS // 2)) * _MIXING >> self._bucket_shift).view(np.int64)


class _Grams:
    """The grams of some strings that may become anchors, one after the other."""

    def __init__(self, strings: Sequence[str]) -> None:
        encoded = [string.encode() for string in strings]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._words = _words(b"".join(encoded) + _PADDING)
        self._ends = np.cumsum(lengths)
        self._begins = self._ends - lengths
        self.last = lengths - GRAM_BYTES
        """Where the last gram of each string begins in it."""
        apart = self.last // MOST_GRAMS + 1
        counts = self.last // apart + 1
        self._first = np.cumsum(counts) - counts
        offsets = np.arange(counts.sum()) - np.repeat(self._first, counts)
        self.places: _Numbers = offsets * np.repeat(apart, counts)
        """Where each gram begins in its string."""
        self.hashes: _Hashes = self._words[np.repeat(self._begins, counts) + self.places] * _FIRST

    def ends(self) -> _Hashes:
        """Hashes of the first and the last six bytes of each string."""
        hashes: _Hashes = self._words[self._begins] * _FIRST + self._words[self._ends - GRAM_BYTES] * _LAST
        return hashes

    def rarest(self, frequencies: NDArray[np.uint32]) -> _Numbers:
        """Which of the grams of each string is the least frequent; the last of those that are.

        What words have in common is their beginnings more than their ends.
        """
        half = _BITS // 2
        ranked = (frequencies.astype(np.int64) << half) - np.arange(len(frequencies))
        least = np.minimum.reduceat(ranked, self._first) if len(ranked) else ranked
        return -least & (1 << half) - 1


def _words(padded: bytes) -> _Hashes:
    """The 8 bytes that begin at each place, but the last ones."""
    return np.ndarray((len(padded) - 8,), "<u8", padded, strides=(1,))
