"""One file of the archive: a SQLite database with all versions of a range of `seq`. The writer's side of it.

Versions get numbers in the order in which they come, and are found by chunks of them (`services.archive.postings`).
The postings of a chunk that is full are written at once and behind those of the one before, so that what is written
most is written in order. Those of the last chunk are in memory and made anew at a start.

What is removed leaves nothing behind: SQLite overwrites it (`secure_delete`), and the postings, of which one could
make up the text again, are cleaned soon after (`clean`); `stain` remembers what has to be until it is.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from services.archive.coverage import Span
from services.archive.keys import keys_of
from services.archive.postings import CHUNK, OpenChunk, without
from services.archive.versions import DESTROYED, Version, facets_of, pack_facets

FORMAT = 3
"""`user_version` of the files."""

SUFFIX = ".sqlite3"

CHUNKS_IN_MEMORY = 2
"""The last one and the one before it, for readers who began before the last one did."""

PAGE_BYTES = CHUNK
"""Postings of a chunk are an eighth of this at most, and so within a page, not behind it."""

_SCHEMA = """
CREATE TABLE version (
    number INTEGER PRIMARY KEY, seq INTEGER NOT NULL, id TEXT NOT NULL, mtime INTEGER NOT NULL, rank INTEGER NOT NULL,
    text TEXT NOT NULL, facets BLOB NOT NULL, document BLOB NOT NULL
);
CREATE UNIQUE INDEX version_id ON version (id);
CREATE INDEX version_seq ON version (seq);
CREATE TABLE chunk (number INTEGER PRIMARY KEY, oldest INTEGER NOT NULL, newest INTEGER NOT NULL);
CREATE INDEX chunk_newest ON chunk (newest);
CREATE TABLE posting (chunk INTEGER NOT NULL, key TEXT NOT NULL, numbers BLOB NOT NULL, PRIMARY KEY (chunk, key))
    WITHOUT ROWID;
CREATE TABLE stain (number INTEGER PRIMARY KEY);
CREATE TABLE swept (number INTEGER NOT NULL);
INSERT INTO swept VALUES (-1);
CREATE TABLE tally (tweets INTEGER NOT NULL);
INSERT INTO tally VALUES (0);
CREATE TABLE covered (
    source TEXT NOT NULL, after INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (source, after)
) WITHOUT ROWID;
"""

_INSERT = "INSERT OR IGNORE INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether an error says that a file is not what SQLite has written."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class FormatError(Exception):
    """The file is of another format than this archive's."""


class Held(NamedTuple):
    """Which version of a tweet a segment has."""

    id: str
    number: int
    seq: int
    mtime: int
    rank: int

    @property
    def age(self) -> tuple[int, int]:
        """As of `Version`."""
        return self.mtime, self.rank


class Segment:
    """The writer's side of one file."""

    def __init__(self, path: Path, start: int) -> None:
        """Open the file, or make it. Raises `sqlite3.Error`, `FormatError`."""
        self.path = path
        self.start = start
        """It has what has this `seq` or a greater one, up to the start of the next segment."""
        self.corrupt: str | None = None
        """Why the file can't be used any more, once somebody has found that out."""
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise
        self._stains: dict[int, set[str]] = {}
        self.unswept: list[str] = []
        """Ids of which other segments may have older versions."""
        self.tweets = 0
        """How many are in it, without the ends of such as are gone. The file has it, too: to count them at a start
        would be to read an index of all."""
        self._tally = 0
        self.removed = False
        """Whether the write-ahead log may have what was removed."""
        self.recent: tuple[OpenChunk, ...] = ()
        """The last chunks, the one being filled at the end. Readers take it after they began to read the file."""
        self._load()

    def _prepare(self) -> None:
        db = self._db
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif version != FORMAT:
            raise FormatError(
                f"{self.path.name} has format {version}, and this archive reads {FORMAT}: "
                "move it away, with the others of its folder, to begin anew without what is in them"
            )

    def _load(self) -> None:
        (closed,) = self._db.execute("SELECT coalesce(max(number), -1) + 1 FROM chunk").fetchone()
        base = closed * CHUNK
        (last,) = self._db.execute("SELECT coalesce(max(number), -1) FROM version").fetchone()
        chunk = OpenChunk(closed, max(0, last + 1 - base))
        rows = self._db.execute("SELECT number, seq, rank, text, facets FROM version WHERE number >= ?", (base,))
        for number, seq, rank, text, facets in rows:
            chunk.add(number, seq, facets_of(rank, text, facets))
        self.recent = (chunk,)
        (self.tweets,) = self._db.execute("SELECT tweets FROM tally").fetchone()
        self._tally = self.tweets
        self._stains = {number: set() for (number,) in self._db.execute("SELECT number FROM stain")}
        self.unswept = [
            id
            for (id,) in self._db.execute(
                "SELECT id FROM version WHERE rank > 0 AND number > (SELECT number FROM swept)"
            )
        ]
        self.removed = True

    def close(self) -> None:
        """Close the file; what is in the write-ahead log goes into it first, where nobody reads."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. After an exception the segment is to be closed, for its memory is ahead of its file."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            if self.tweets != self._tally:
                self._db.execute("UPDATE tally SET tweets = ?", (self.tweets,))
            self._db.execute("COMMIT")
            self._tally = self.tweets
        except BaseException as error:
            if isinstance(error, sqlite3.Error) and is_corrupt(error):
                self.corrupt = str(error)
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # in a transaction

    def insert(self, versions: Sequence[Version]) -> None:
        """Keep versions, of each tweet one; not those of which the segment has an equal or newer one."""
        at = 0
        while at < len(versions):
            if not self._open.room:
                self.close_chunk()
            part = versions[at : at + self._open.room]
            at += len(part)
            self._insert(part)

    def close_chunk(self) -> None:
        """Write the postings of the last chunk and begin another one."""
        chunk = self._open
        if chunk.empty:
            return
        self._db.executemany(
            "INSERT INTO posting VALUES (?, ?, ?)",
            [(chunk.number, key, numbers) for key, numbers in chunk.written()],
        )
        self._db.execute("INSERT INTO chunk VALUES (?, ?, ?)", (chunk.number, chunk.oldest, chunk.newest))
        self.recent = (*self.recent[1 - CHUNKS_IN_MEMORY :], OpenChunk(chunk.number + 1))

    def cover(self, source: str, span: Span, absorbed: Iterable[Span]) -> None:
        """Remember that `span` of a source is complete, in place of those that it has absorbed."""
        self._db.executemany(
            "DELETE FROM covered WHERE source = ? AND after = ?", [(source, old.after) for old in absorbed]
        )
        self._db.execute("INSERT OR REPLACE INTO covered VALUES (?, ?, ?)", (source, *span))

    def remove(self, held: Iterable[Held]) -> None:
        """Remove versions, soon without a trace."""
        for one in held:
            row = self._db.execute(
                "SELECT rank, text, facets FROM version WHERE number = ? AND id = ?", (one.number, one.id)
            ).fetchone()
            if row is None:
                continue
            facets = facets_of(*row)
            self._db.execute("DELETE FROM version WHERE number = ?", (one.number,))
            self.tweets -= one.rank != DESTROYED
            self.removed = True
            if one.number // CHUNK == self._open.number:
                self._open.remove(one.number)
            else:
                self._db.execute("INSERT OR IGNORE INTO stain VALUES (?)", (one.number,))
                self._stains[one.number] = keys_of(facets)

    def sweep_done(self) -> None:
        """All that `unswept` had up to now was looked at."""
        self._db.execute("UPDATE swept SET number = (SELECT coalesce(max(number), -1) FROM version)")

    # by itself

    def clean(self) -> None:
        """Take what was removed out of the postings."""
        if not self._stains:
            return
        by_chunk: dict[int, list[int]] = {}
        for number in self._stains:
            by_chunk.setdefault(number // CHUNK, []).append(number)
        with self.transaction():
            for chunk, numbers in by_chunk.items():
                self._clean_chunk(chunk, numbers)
            self._db.execute("DELETE FROM stain")
        self._stains.clear()

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the file and empty it; False where a reader was in the way."""
        (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            self.removed = False
        return not busy

    # reading

    def held(self, ids: Iterable[str]) -> list[Held]:
        """Those of the ids that the segment has."""
        rows = self._db.execute(
            "SELECT v.id, v.number, v.seq, v.mtime, v.rank FROM json_each(?) AS wanted"
            " CROSS JOIN version AS v ON v.id = wanted.value",
            (json.dumps(list(ids)),),
        )
        return [Held(*row) for row in rows]

    def covered(self) -> list[tuple[str, Span]]:
        """What was remembered by `cover`."""
        return [
            (source, Span(after, last))
            for source, after, last in self._db.execute("SELECT source, after, last FROM covered")
        ]

    def ends(self) -> tuple[int, int] | None:
        """The least and the greatest `seq` in it."""
        least, greatest = self._db.execute(
            "SELECT (SELECT min(seq) FROM version), (SELECT max(seq) FROM version)"
        ).fetchone()
        return None if least is None else (least, greatest)

    def size(self) -> int:
        """Bytes on the disk, with the write-ahead log."""
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += Path(f"{self.path}{suffix}").stat().st_size
            except FileNotFoundError:
                continue
        return total

    @property
    def _open(self) -> OpenChunk:
        return self.recent[-1]

    def _insert(self, versions: Sequence[Version]) -> None:
        chunk = self._open
        numbered = [(chunk.take(), version) for version in versions]
        before = self._db.total_changes
        self._db.executemany(_INSERT, (_row(number, version) for number, version in numbered))
        refused: set[int] = set()
        if self._db.total_changes - before != len(numbered):
            first, last = numbered[0][0], numbered[-1][0]
            there = {
                number
                for (number,) in self._db.execute(
                    "SELECT number FROM version WHERE number BETWEEN ? AND ?", (first, last)
                )
            }
            refused = {number for number, _ in numbered if number not in there}
        for number, version in numbered:
            if number in refused and not self._replace(number, version):
                continue
            chunk.add(number, version.seq, version.facets)
            self.tweets += version.rank != DESTROYED
            if version.rank:
                self.unswept.append(version.id)

    def _replace(self, number: int, version: Version) -> bool:
        (held,) = self.held([version.id])
        if version.age <= held.age:
            return False
        self.remove([held])
        self._db.execute(_INSERT, _row(number, version))
        return True

    def _clean_chunk(self, chunk: int, numbers: list[int]) -> None:
        keys: set[str] | None = set()
        for number in numbers:
            known = self._stains[number]
            # Of what was removed before a start nobody knows the keys; and those with a NUL SQLite's JSON cuts off.
            is_known = known and not any("\0" in key for key in known)
            keys = keys | known if keys is not None and is_known else None
        gone = {number - chunk * CHUNK for number in numbers}
        if keys is None:
            rows = self._db.execute("SELECT key, numbers FROM posting WHERE chunk = ?", (chunk,)).fetchall()
        else:
            rows = self._db.execute(
                "SELECT p.key, p.numbers FROM json_each(?) AS wanted"
                " CROSS JOIN posting AS p ON p.chunk = ? AND p.key = wanted.value",
                (json.dumps(list(keys)), chunk),
            ).fetchall()
        left = [(without(written, gone), chunk, key) for key, written in rows]
        self._db.executemany(
            "UPDATE posting SET numbers = ? WHERE chunk = ? AND key = ?", [row for row in left if row[0]]
        )
        self._db.executemany(
            "DELETE FROM posting WHERE chunk = ? AND key = ?", [row[1:] for row in left if not row[0]]
        )


def _row(number: int, version: Version) -> tuple[object, ...]:
    return (
        number,
        version.seq,
        version.id,
        version.mtime,
        version.rank,
        version.facets.text,
        pack_facets(version.facets),
        version.document,
    )
