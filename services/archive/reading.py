"""A thread's way of reading the archive's files: one read-only connection a file, and what is asked of one file.

What is asked of a file comes newest first and as the file was at one moment, however long the answer takes and
whatever the writer does meanwhile.
"""

import json
import math
import sqlite3
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import quote

from services.archive.keys import Lookup, lookups
from services.archive.postings import CHUNK, OpenChunk, common, count, most_telling, united
from services.archive.segment import Held, Segment
from services.archive.versions import DESTROYED, Version, facets_of
from shared.history import Place
from shared.labels import Label
from shared.labels.action import ActionFamily
from shared.labels.term import Term
from shared.labels.word import Word

DENSE = 8
"""Where one of so many versions of a chunk is wanted, all are read in their order until there are enough."""

MMAP_BYTES = 512 * 1024 * 1024

COMPARED = 12
"""Keys of a long string, the rarest, of which those that tell most are looked up; the rest is asked of the texts."""

TOGETHER = 256
"""Versions that are looked at in one go, or chunks where these have fewer: a statement costs more than a version."""

FIRST_ROWS, MOST_ROWS = 64, 1024
"""Versions read at a time: few at first, for mostly few are wanted."""

FAR = Place(2**62, "")
"""After all that there is."""

NOWHERE = -1
"""A `seq` before all that there is."""


class Stretch(NamedTuple):
    """Part of the order of all versions."""

    before: Place = FAR
    """Only what stands before this place."""
    after: int = NOWHERE
    """Only what has a greater `seq`."""


_COLUMNS = "v.seq, v.id, v.mtime, v.rank, v.text, v.facets, v.document"


class _Found(NamedTuple):
    """Versions that may be wanted."""

    oldest: int
    """No `seq` among them is less."""
    numbers: Collection[int]


class _Group(NamedTuple):
    """Versions of one chunk that may be wanted."""

    newest: int
    """No `seq` among them is greater."""
    look: Callable[[], _Found]
    """Which they are; found out when they are looked at."""


class _Want(NamedTuple):
    """What is wanted of a file."""

    label: Label
    ends: bool
    """Whether destroys, too."""
    text: str
    """What the text has to contain."""

    def admits(self, version: Version) -> bool:
        return self.label.matches(version.facets) if version.rank != DESTROYED or self.ends else False


class TooSlowError(Exception):
    """To look further would take too long."""

    def __init__(self, from_seq: int) -> None:
        super().__init__(f"stopped at {from_seq}")
        self.from_seq = from_seq
        """All that is newer was found."""


class Reader:
    """The connections of one thread."""

    def __init__(self) -> None:
        self._connections: dict[Segment, sqlite3.Connection] = {}

    def keep(self, segments: Sequence[Segment]) -> None:
        """Close the files that are not among these."""
        for segment in self._connections.keys() - set(segments):
            self._connections.pop(segment).close()

    def close(self) -> None:
        """Close all."""
        self.keep(())

    def held(self, segment: Segment, ids: Iterable[str]) -> list[Held]:
        """Those of the ids that a segment has."""
        rows = self._connection(segment).execute(
            "SELECT v.id, v.number, v.seq, v.mtime, v.rank FROM json_each(?) AS wanted"
            " CROSS JOIN version AS v ON v.id = wanted.value",
            (json.dumps(list(ids)),),
        )
        return [Held(*row) for row in rows.fetchall()]

    def states(self, segment: Segment, ids: Iterable[str]) -> list[Version]:
        """Those of the ids that a segment has, whole."""
        rows = self._connection(segment).execute(
            f"SELECT {_COLUMNS} FROM json_each(?) AS wanted CROSS JOIN version AS v ON v.id = wanted.value",
            (json.dumps(list(ids)),),
        )
        return [_version(row) for row in rows.fetchall()]

    def newest_first(
        self, segment: Segment, label: Label, stretch: Stretch, until_s: float = math.inf
    ) -> Generator[Version]:
        """What a segment has of a label in a stretch; raises `TooSlowError` past `until_s` of the monotonic clock."""
        db = self._connection(segment)
        searched = label.family in (Term.name, Word.name)
        want = _Want(label, label == _DESTROYS, label.value if searched else "")
        wanted = lookups(label)
        with _moment(db):
            if wanted is None:
                (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM version").fetchone()
                yield from _pages(db, want, stretch, None) if newest else ()
                return
            chunks = _open_chunks(db, segment)
            # As of those in the file, only what lies in the stretch is looked at: to look takes longer than to read.
            met = [chunk for chunk in chunks if chunk.oldest <= stretch.before.seq and chunk.newest > stretch.after]
            # They are looked at before any chunk of the file, whatever is in them.
            opened = [_Group(FAR.seq, partial(_find, chunk, label)) for chunk in met if not chunk.empty]
            groups = _together(chain(opened, _groups(db, wanted, stretch)))
            in_time = _in_time(groups, stretch.before.seq, until_s)
            yield from _in_order((group.newest, _pages(db, want, stretch, group)) for group in in_time)

    def _connection(self, segment: Segment) -> sqlite3.Connection:
        db = self._connections.get(segment)
        if db is None:
            db = sqlite3.connect(
                f"file:{quote(str(segment.path))}?mode=ro",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=5,
            )
            db.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
            db.execute("PRAGMA temp_store = MEMORY")
            self._connections[segment] = db
        return db


_DESTROYS = Label(ActionFamily.name, "destroy")


@contextmanager
def _moment(db: sqlite3.Connection) -> Iterator[None]:
    """What is read within is of one moment: that of the first reading."""
    while db.in_transaction:
        db.execute("COMMIT")
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")


def _together(groups: Iterator[_Group]) -> Iterator[_Group]:
    """The same, but whoever looks at one in which little is found looks at the next ones in the same go."""

    def look(group: _Group) -> _Found:
        oldest, numbers = group.look()
        found = list(numbers)
        following = islice(groups, TOGETHER)
        while len(found) < TOGETHER and (more := next(following, None)) is not None:
            older, numbers = more.look()
            oldest = min(oldest, older)
            found += numbers
        return _Found(oldest, found)

    for group in groups:
        yield _Group(group.newest, partial(look, group))


def _in_time(groups: Iterable[_Group], before: int, until_s: float) -> Iterator[_Group]:
    for number, group in enumerate(groups):
        # Who goes on from there has to get ahead.
        if number and group.newest < before - 1 and time.monotonic() > until_s:
            raise TooSlowError(group.newest)
        yield group


def _find(chunk: OpenChunk, label: Label) -> _Found:
    return _Found(chunk.oldest, chunk.find(label))


def _open_chunks(db: sqlite3.Connection, segment: Segment) -> list[OpenChunk]:
    """The chunks whose postings are not in the file as it is at the moment."""
    while True:
        (written,) = db.execute("SELECT coalesce(max(number), -1) + 1 FROM chunk").fetchone()
        chunks = segment.recent
        if chunks[0].number <= written:
            return [chunk for chunk in chunks if chunk.number >= written]
        # Others were filled between the two lines above.
        db.execute("COMMIT")
        db.execute("BEGIN")


def _groups(db: sqlite3.Connection, wanted: Sequence[Lookup], stretch: Stretch) -> Iterator[_Group]:
    """Where to look among what is in the file, by the newest that may be there."""
    chosen, rest = _chosen(db, wanted)
    if chosen is None:
        return
    joins = "".join(
        f" CROSS JOIN posting AS p{at} ON p{at}.chunk = c.number AND p{at}.key = ?" for at in range(len(chosen))
    )
    columns = "".join(f", p{at}.numbers" for at in range(len(chosen)))
    parameters: list[object] = [*chosen]
    if rest is not None:
        joins += " CROSS JOIN posting AS r ON r.chunk = c.number AND r.key >= ? AND r.key <= ?"
        columns += ", r.numbers"
        parameters += rest.range
    rows = db.execute(
        f"SELECT c.number, c.newest, c.oldest{columns} FROM chunk AS c{joins}"
        " WHERE c.oldest <= ? AND c.newest > ? ORDER BY c.newest DESC, c.number",
        (*parameters, stretch.before.seq, stretch.after),
    )
    for _, found in groupby(rows, key=itemgetter(0)):
        of_chunk = list(found)
        yield _Group(of_chunk[0][1], partial(_numbers, of_chunk, len(chosen)))


def _numbers(rows: list[tuple[Any, ...]], whole: int) -> _Found:
    """The numbers of one chunk that all postings have: the `whole` ones in the first row, and any row's last one."""
    number, _, oldest, *written = rows[0]
    found = common(written[:whole]) if whole else None
    if len(written) > whole:
        more = united(row[-1] for row in rows)
        found = more if found is None else found & more
    return _Found(oldest, [number * CHUNK + within for within in found or ()])


def _chosen(db: sqlite3.Connection, wanted: Sequence[Lookup]) -> tuple[list[str] | None, Lookup | None]:
    """Which to look up: whole keys, and one that is a range of keys. (None, None) where no chunk is there."""
    (last,) = db.execute("SELECT max(number) FROM chunk").fetchone()
    if last is None:
        return None, None
    # The last one of a file may be small.
    sample = max(0, last - 1)
    whole = [lookup.prefix for lookup in wanted if lookup.whole]
    ranges = [lookup for lookup in wanted if not lookup.whole]
    if len(whole) > 1:
        rows = db.execute(
            "SELECT p.key, p.numbers FROM json_each(?) AS wanted"
            " CROSS JOIN posting AS p ON p.chunk = ? AND p.key = wanted.value",
            (json.dumps(whole), sample),
        )
        written = dict.fromkeys(whole, b"") | dict(rows.fetchall())
        rarest = sorted(whole, key=lambda key: count(written[key]))[:COMPARED]
        whole = most_telling({key: written[key] for key in rarest})
    if len(ranges) > 1:
        keys = {
            lookup: db.execute(
                "SELECT count(*) FROM posting WHERE chunk = ? AND key >= ? AND key <= ?", (sample, *lookup.range)
            ).fetchone()[0]
            for lookup in ranges
        }
        ranges.sort(key=keys.__getitem__)
    return whole, ranges[0] if ranges else None


def _pages(db: sqlite3.Connection, want: _Want, stretch: Stretch, group: _Group | None) -> Iterator[Version]:
    """The wanted versions of a group, or of all, newest first."""
    at, rows = stretch.before, FIRST_ROWS
    bound: dict[str, object] = {"after": stretch.after, "text": want.text}
    source, seq, conditions = "version AS v INDEXED BY version_seq", "v.seq", ""
    if group is not None:
        oldest, numbers = group.look()
        if not numbers:
            return
        first, last = min(numbers), max(numbers)
        if len(numbers) * DENSE > max(CHUNK, last - first):
            at = min(at, Place(group.newest + 1, ""))
            conditions = "v.number BETWEEN :first AND :last AND "
            bound |= {"first": first, "last": last, "after": max(stretch.after, oldest - 1)}
        else:
            # The plus keeps SQLite from taking the index of all places: it is told which versions to look at.
            source, seq = "json_each(:numbers) AS j CROSS JOIN version AS v ON v.number = j.value", "+v.seq"
            bound |= {"numbers": json.dumps(list(numbers))}
    conditions += f"{seq} > :after AND {seq} <= :seq AND ({seq}, v.id) < (:seq, :id)"
    conditions += " AND instr(v.text, :text)" if want.text else ""
    conditions += "" if want.ends else f" AND v.rank < {DESTROYED}"
    statement = f"SELECT {_COLUMNS} FROM {source} WHERE {conditions} ORDER BY {seq} DESC, v.id DESC LIMIT :rows"
    while True:
        page = db.execute(statement, bound | {"seq": at.seq, "id": at.id, "rows": rows}).fetchall()
        for row in page:
            version = _version(row)
            if want.admits(version):
                yield version
        if len(page) < rows:
            return
        at, rows = Place(page[-1][0], page[-1][1]), min(rows * 4, MOST_ROWS)


def _in_order(groups: Iterator[tuple[int, Iterator[Version]]]) -> Iterator[Version]:
    """The versions of all groups, newest first. The groups come by the newest that they may have.

    Where `groups` raises `TooSlowError` so does this, after all that is newer than what that names.
    """
    heads: list[tuple[Version, Iterator[Version]]] = []
    late: TooSlowError | None = None
    while late is None:
        try:
            newest, versions = next(groups, (NOWHERE, None))
        except TooSlowError as error:
            late, newest, versions = error, error.from_seq, None
        while heads and max(heads, key=_place_of_head)[0].seq > newest:
            yield _step(heads)
        if versions is None:
            break
        first = next(versions, None)
        if first is not None:
            heads.append((first, versions))
    if late is not None:
        raise late


def _step(heads: list[tuple[Version, Iterator[Version]]]) -> Version:
    head = max(heads, key=_place_of_head)
    heads.remove(head)
    version, others = head
    following = next(others, None)
    if following is not None:
        heads.append((following, others))
    return version


def _place_of_head(head: tuple[Version, Iterator[Version]]) -> tuple[int, str]:
    return head[0].seq, head[0].id


def _version(row: tuple[int, str, int, int, str, bytes, bytes]) -> Version:
    seq, id, mtime, rank, text, facets, document = row
    return Version(seq, id, mtime, rank, facets_of(rank, text, facets), document)
