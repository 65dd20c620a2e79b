"""The strings that are searched for, wherever they are kept: they come, are found at once, and are moved. Pure.

New strings are in automata, which find them from the next text on. Where all are few they stay there: nothing is
faster. Of many those that are long enough are moved into a table of q-grams, some at a time, so that nothing else has
to wait.
"""

from collections.abc import Iterable, Iterator, Sequence

from services.router.automata import Automata, Occurrence
from services.router.qgrams import QGramTable

FEW_BYTES = 20_000
"""Up to so many bytes of UTF-8, some 1,700 terms, strings come into automata and stay there."""
SMALLEST_TABLE = 4_096
"""Strings that a table has room for, at least."""
ENOUGH = 250
"""New strings that are moved even while more come."""
COUNTED_BYTES = 20_000
"""Strings that are counted in one step: 2 ms."""
MOVED_BYTES = 10_000
"""Strings that are moved in one step: 2 ms."""


class Strings:
    """A set of strings, and where they occur in texts.

    Each is either in the automata or in `_table_of`.
    """

    def __init__(self) -> None:
        self._automata = Automata()
        self._new: dict[str, None] = {}
        """Those in the automata that the table may take and was not asked to."""
        self._tables: list[QGramTable] = []
        """One at most; two while all strings of the first are moved to the second."""
        self._table_of: dict[str, QGramTable] = {}
        """The table that each string is reported from, if it is not in the automata."""
        self._gone: set[str] = set()
        """Those that the last table still has and does not report; if one comes again, it does."""
        self._size = 0
        """Bytes of all."""
        self._moving: Iterator[None] | None = None
        """The steps that are left of a move."""

    def __len__(self) -> int:
        return len(self._automata) + len(self._table_of)

    def __contains__(self, string: str) -> bool:
        return string in self._table_of or string in self._automata

    def add(self, string: str) -> None:
        """Find `string` from now on."""
        if string in self:
            return
        self._size += len(string.encode())
        if string in self._gone:
            self._gone.discard(string)
            self._table_of[string] = self._tables[-1]
        else:
            self._add_to_automata(string)

    def discard(self, string: str) -> None:
        """Do not find `string` any more."""
        if string in self:
            self._size -= len(string.encode())
            table = self._leave(string)
            if table is not None and table is self._tables[-1]:
                self._gone.add(string)

    def find(self, texts: bytes, separator: bytes | None = None) -> Iterator[Occurrence]:
        """Where all strings occur in `texts`, in no order that one could rely on; some may come twice.

        With a `separator`, not all occurrences are told of strings that are everywhere, but between two separators
        one at least.
        """
        yield from self._automata.find(texts, separator)
        for table in self._tables:
            for occurrence in table.find(texts, separator):
                if self._table_of.get(occurrence[0]) is table:
                    yield occurrence

    def improve(self, *, at_rest: bool = False) -> bool:
        """A step of some milliseconds towards where strings are found quicker; returns whether there was one to do.

        Once the strings are `at_rest` also the last new ones are moved.
        """
        if self._moving is None and self._is_due(at_rest=at_rest):
            self._moving = self._move()
        if self._moving is None:
            return self._automata.improve(at_rest=at_rest)
        try:
            next(self._moving)
        except StopIteration:
            self._moving = None
        return True

    def _is_due(self, *, at_rest: bool) -> bool:
        """Whether strings are to be moved."""
        has_new = self._size > FEW_BYTES and len(self._new) >= (1 if at_rest else ENOUGH)
        return has_new or self._is_mostly_dead

    @property
    def _is_mostly_dead(self) -> bool:
        """Whether most strings of the table have gone."""
        return bool(self._tables) and 2 * len(self._table_of) < len(self._tables[-1])

    def _move(self) -> Iterator[None]:
        """Bring new strings to the table, or all to a new one, which has no dead ones."""
        if self._size <= FEW_BYTES:
            self._give_up()
            return
        strings = list(self._new)
        if not self._tables or self._is_mostly_dead or not self._tables[-1].has_room_for(len(strings)):
            others = (string for string in self._automata if string not in self._new)
            # Also those that the last one has not taken.
            strings += [string for string in others if QGramTable.may_take(string)]
            strings += self._table_of
            self._tables.append(QGramTable(_capacity(len(strings))))
            self._gone.clear()
        table = self._tables[-1]
        for some in _groups(strings, COUNTED_BYTES):
            table.count(some)
            yield
        for some in _groups(strings, MOVED_BYTES):
            self._bring([string for string in some if string in self], table)
            yield
        self._tables = [table]
        if not len(table):
            self._give_up()

    def _bring(self, strings: Sequence[str], table: QGramTable) -> None:
        """Move to `table` what it takes of some strings; the others are in the automata then."""
        taken = set(table.add(strings))
        for string in strings:
            self._new.pop(string, None)
            if string in taken:
                self._leave(string)
                self._table_of[string] = table
            elif string in self._table_of:
                self._leave(string)
                self._automata.add(string)

    def _give_up(self) -> None:
        """Bring all strings to the automata."""
        for string in list(self._table_of):
            self._leave(string)
            self._add_to_automata(string)
        self._tables.clear()
        self._gone.clear()

    def _add_to_automata(self, string: str) -> None:
        self._automata.add(string)
        if QGramTable.may_take(string):
            self._new[string] = None

    def _leave(self, string: str) -> QGramTable | None:
        """Take a string from where it is; returns the table, if it was in one."""
        table = self._table_of.pop(string, None)
        if table is None:
            self._automata.discard(string)
            self._new.pop(string, None)
        return table


def _groups(strings: Iterable[str], size: int) -> Iterator[list[str]]:
    """Strings in groups of so many bytes, about."""
    group: list[str] = []
    left = size
    for string in strings:
        group.append(string)
        left -= len(string.encode())
        if left <= 0:
            yield group
            group, left = [], size
    if group:
        yield group


def _capacity(number: int) -> int:
    """Room for so many strings and for a quarter more."""
    return max(SMALLEST_TABLE, 1 << (number + number // 4).bit_length())
