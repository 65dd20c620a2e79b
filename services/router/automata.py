"""Finds very many strings at once in texts, while strings come and go. Pure.

An Aho-Corasick automaton finds all its strings in one pass, however many they are, but can't be changed: it has to be
built anew, which nothing interrupts, and takes 300 ms for 100,000 strings. So the strings are in several automata,
the *parts*, and a text is searched by each of them:

- *young* strings have just come. They are few, and their automaton is built whenever it is needed next;
- the *middle* part takes the young ones in when they are too many, or when no more come;
- *leaves* take in what does not fit there. Each has its own range of the alphabet, like the leaves of a B-tree, and
  one that grows too large is split. So each is built in a moment, and passed in a moment by a text that has nothing
  that begins with its letters: ten leaves take less than three times as long as one automaton of all, while ten parts
  of any letters would take ten times as long.

Where strings are very many, those that are short or very much alike stay here: see `services/router/strings.py`.

A string that goes stays in its part and is not reported any more, until the part is built anew for another reason or
for being mostly dead.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator

from ahocorasick_rs import BytesAhoCorasick, Implementation

YOUNG_SIZE = 2_500
"""Young strings at most, in bytes of UTF-8: the time to build an automaton goes with them. About 0.2 ms."""
MIDDLE_SIZE = 40_000
"""The middle part at most: 4,000 strings of 10 characters, about 6 ms with all that is to be done."""
LEAF_SIZE = 50_000
"""A leaf may always have so much, and where there are very many strings, a share of all of them, up to a point:"""
LEAF_SHARE = 1 / 6
"""With 100,000 strings of 10 characters that is 40 ms."""
TABLE_BYTES = 12_000
"""Up to so many bytes of UTF-8 an automaton is a table of all its transitions, which takes four times as long to
build (4 ms) and searches two to three times as fast."""
TABLE_BYTES_AT_REST = MIDDLE_SIZE
"""Up to so many when no more strings come: 11 ms. Beyond, it would be too large for the processor's caches."""

LARGEST_LEAF_SIZE = 400_000
"""That is 100 ms, and has to do."""

WINDOW_BYTES = 2_048
"""How much of a text is searched at a time: occurrences are listed, and of strings in each other they may be many."""
WIDEST_BYTES = 16_384
"""How much where they are few."""

Occurrence = tuple[str, int, int]
"""A string, and where in a text it begins and ends, in bytes."""


def _bytes(string: str) -> int:
    """How long a string is in UTF-8."""
    return len(string) if string.isascii() else len(string.encode())


def _size(strings: Iterable[str]) -> int:
    return sum(map(_bytes, strings))


class _Part:
    """Some strings and their automaton."""

    def __init__(self, strings: Iterable[str], *, table_bytes: int) -> None:
        """An automaton of up to `table_bytes` is a table."""
        # In order: the automaton is built three times as fast.
        self.strings = sorted(strings)
        encoded = [string.encode() for string in self.strings]
        self.size = sum(map(len, encoded))
        self.dead = 0
        """Bytes of those of its strings that are not reported from here any more."""
        self.longest = max(map(len, encoded), default=1)
        self.is_table = self.size <= table_bytes
        kind = Implementation.DFA if self.is_table else Implementation.ContiguousNFA
        self.find = BytesAhoCorasick(encoded, implementation=kind).find_matches_as_indexes


_NOWHERE = _Part((), table_bytes=0)


def _windows(part: _Part, text: bytes, separator: bytes | None) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """Search `text` window by window: where each begins, and what a part has found there."""
    offset, width, is_dense = 0, WINDOW_BYTES, False
    while offset < len(text):
        end = offset + width
        until = end + part.longest - 1
        if is_dense and separator is not None and (cut := text.find(separator, offset, until)) >= 0:
            until, end = cut + 1, min(end, cut + 1)
        found = part.find(text[offset:until], overlapping=True)
        if len(found) <= width:
            is_dense, width = False, min(2 * width, WIDEST_BYTES)
        elif separator is not None and not is_dense:
            is_dense, width = True, WINDOW_BYTES
            continue  # once more, and not over a separator
        else:
            width = WINDOW_BYTES
            if separator is not None:
                found = list({one[0]: one for one in found}.values())
        yield offset, found
        offset = end


class Automata:
    """A set of strings, and where they occur in a text."""

    def __init__(self) -> None:
        self._home: dict[str, _Part | None] = {}
        """The part that each string is reported from; None for a young one."""
        self._size = 0
        self._young: dict[str, None] = {}
        self._young_size = 0
        self._young_part: _Part | None = None
        self._middle = _NOWHERE
        self._leaves = [_NOWHERE]
        self._begins = [""]
        """From which string on each leaf has its range."""

    def __len__(self) -> int:
        return len(self._home)

    def __contains__(self, string: str) -> bool:
        return string in self._home

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def add(self, string: str) -> None:
        """Find `string` from now on."""
        if string not in self._home:
            self._home[string] = None
            self._size += _bytes(string)
            self._young[string] = None
            self._young_size += _bytes(string)
            self._young_part = None

    def discard(self, string: str) -> None:
        """Do not find `string` any more."""
        if string in self._home:
            self._leave(string)
            del self._home[string]
            self._size -= _bytes(string)

    def find(self, text: bytes, separator: bytes | None = None) -> Iterator[Occurrence]:
        """Where all strings occur in `text`, in no order that one could rely on; some may come twice.

        With a `separator`, not all occurrences are told of strings that are everywhere, but between two separators
        one at least.
        """
        while self._too_young:
            self.improve()
        if self._young and self._young_part is None:
            self._young_part = _Part(self._young, table_bytes=0)
        home = self._home
        for part, reported_from in self._parts():
            for offset, found in _windows(part, text, separator):
                for index, start, end in found:
                    string = part.strings[index]
                    if home.get(string, _NOWHERE) is reported_from:
                        yield string, offset + start, offset + end

    def improve(self, *, at_rest: bool = False) -> bool:
        """Build one part anew where that is due; returns whether it was, and there may be more to do.

        Once the strings are `at_rest` also the last young ones go to the middle part.
        """
        if self._too_young or (at_rest and self._young):
            if self._young_size + self._middle.size - self._middle.dead <= MIDDLE_SIZE:
                self._middle = self._build([*self._living(self._middle), *self._young], at_rest=at_rest)
            else:
                self._grow_a_leaf()
            return True
        if self._middle.dead > self._middle.size / 2 or (at_rest and not self._middle.is_table):
            self._middle = self._build(self._living(self._middle), at_rest=at_rest)
            return True
        for place, leaf in enumerate(self._leaves):
            if leaf.dead > leaf.size / 2:
                self._rebuild(place)
                return True
        return False

    @property
    def _too_young(self) -> bool:
        """Whether so many strings are young that they are to be brought elsewhere before the next search."""
        return self._young_size > YOUNG_SIZE

    @property
    def leaf_size(self) -> int:
        """How large a leaf may be, in bytes."""
        return max(LEAF_SIZE, min(int(self._size * LEAF_SHARE), LARGEST_LEAF_SIZE))

    def _parts(self) -> Iterator[tuple[_Part, _Part | None]]:
        """Each part that has something, and what its strings have for their home."""
        for part in (*self._leaves, self._middle):
            if part.strings:
                yield part, part
        if self._young_part is not None:
            yield self._young_part, None

    def _grow_a_leaf(self) -> None:
        """Bring to the leaf for which most of them are meant those of the young and middle strings."""
        meant: dict[int, list[str]] = defaultdict(list)
        for string in (*self._young, *self._living(self._middle)):
            meant[bisect_right(self._begins, string) - 1].append(string)
        place = max(meant, key=lambda place: _size(meant[place]))
        leaf = self._leaves[place]
        strings = sorted([*self._living(leaf), *meant[place]])
        if _size(strings) <= self.leaf_size:
            self._leaves[place] = self._build(strings)
            return
        # The first of them make a new leaf; the old one keeps the rest of its range, and is built another time.
        size = number = 0
        while size < self.leaf_size / 2:
            size += _bytes(strings[number])
            number += 1
        self._leaves.insert(place, self._build(strings[:number]))
        self._begins.insert(place + 1, strings[number])

    def _rebuild(self, place: int) -> None:
        """Build a leaf without its dead strings, and as one with a neighbour if together they are half a leaf."""
        for left in (place - 1, place):
            if 0 <= left < len(self._leaves) - 1:
                strings = [*self._living(self._leaves[left]), *self._living(self._leaves[left + 1])]
                if _size(strings) <= self.leaf_size / 2:
                    self._leaves[left : left + 2] = [self._build(strings)]
                    del self._begins[left + 1]
                    return
        self._leaves[place] = self._build(self._living(self._leaves[place]))

    def _living(self, part: _Part) -> list[str]:
        return [string for string in part.strings if self._home.get(string, _NOWHERE) is part]

    def _build(self, strings: list[str], *, at_rest: bool = False) -> _Part:
        """A part of some strings, which are reported from there from now on."""
        part = _Part(strings, table_bytes=TABLE_BYTES_AT_REST if at_rest else TABLE_BYTES)
        for string in part.strings:
            self._leave(string)
            self._home[string] = part
        return part

    def _leave(self, string: str) -> None:
        """Take a string from where it is reported from."""
        part = self._home[string]
        if part is not None:
            part.dead += _bytes(string)
            return
        del self._young[string]
        self._young_size -= _bytes(string)
        self._young_part = None
