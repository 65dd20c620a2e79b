"""The files of the archive together. Only the writer's thread uses this; readers are given a `State`."""

import bisect
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from services.archive.batches import Batch
from services.archive.coverage import Coverage, Hole, Span
from services.archive.segment import SUFFIX, FormatError, Held, Segment, is_corrupt
from services.archive.versions import Version
from shared import metrics
from shared.lifecycle import StartError

log = structlog.get_logger()

LARGEST_SHARE = 32
"""A file is at most about this part of all that may be kept."""

CORRUPT = ".corrupt"


class State(NamedTuple):
    """What readers have to know; another one after each change."""

    segments: tuple[Segment, ...]
    """Oldest first."""
    coverage: Coverage
    complete_to: int
    """The newest `seq` that the archive has."""
    beginning: int | None
    """Its oldest `seq`; None while it is empty."""
    floor: int
    """What was before this `seq` is forgotten; 0 where nothing is."""

    def missing(self, after: int, last: int, *, since: int | None) -> Hole | None:
        """The smallest (from, to] that has all of (after, last] that may be missing.

        For somebody who has all up to `since` that is also what the archive has forgotten or never had. For others
        its beginning is the end.
        """
        if since is None or after < since:
            low = self.beginning - 1 if self.beginning is not None else self.complete_to
            after = max(after, low if since is None else min(low, since))
        holes = [hole] if (hole := self.coverage.missing(after, max(last, after))) else []
        if since is not None and after < self.floor - 1:
            holes.append((after, self.floor - 1))
        if since is not None and not self.coverage.spans:
            # Of batches without links nobody knows what was before the first.
            first = self.beginning - 1 if self.beginning is not None else max(last, after + 1)
            holes += [(after, first)] if after < first else []
        return (min(begin for begin, _ in holes), max(end for _, end in holes)) if holes else None


class Store:
    """The archive on the disk."""

    def __init__(
        self,
        folder: Path,
        *,
        keep_us: int,
        keep_bytes: int,
        segment_us: int,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`open` has to be called, too. Times are in microseconds, as `seq` is."""
        self._folder = folder
        self._keep_us = keep_us
        self._keep_bytes = keep_bytes
        self._segment_us = segment_us
        self._now_us = now_us
        self._lock: int | None = None
        self._segments: list[Segment] = []
        self._recently: Coverage = Coverage()
        self._to_sweep: dict[Segment, list[str]] = {}
        self._sizes: dict[Segment, int] = {}
        self.state = State((), Coverage(), 0, None, 0)
        """Threads may take it at any time."""

    # its life

    def lock(self) -> None:
        """Take the folder; raises `StartError` where another archive has it or it can't be had."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(f"ROOST_ARCHIVE_FOLDER: {self._folder}: {error.strerror or error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(f"ROOST_ARCHIVE_FOLDER: another archive has {self._folder}") from None

    def open(self) -> None:
        """Open all files; raises `sqlite3.OperationalError` where the disk does not let us."""
        self.close_files()
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=_start_of):
            segment = self._opened(path)
            if segment is not None:
                self._segments.append(segment)
        if not self._segments:
            self._begin_segment(0)
        self._measure()
        newest = self._segments[-1]
        self._recently = Coverage.of(newest.covered())
        coverage = Coverage.of(one for segment in self._segments for one in segment.covered())
        ends = [ends for segment in self._segments if (ends := segment.ends())]
        covered = [spans[-1].last for spans in coverage.spans.values()]
        complete_to = max([*covered, *(greatest for _, greatest in ends), self._segments[-1].start - 1, 0])
        self._publish(coverage, complete_to, ends[0][0] if ends else None)

    def close_files(self) -> None:
        """Close the files, and set those aside that are corrupt."""
        for segment in self._segments:
            segment.close()
            if segment.corrupt is not None:
                set_aside(segment.path, segment.corrupt)
        self._segments = []
        self._to_sweep = {}

    def close(self) -> None:
        """Close the files, tidily, and give the folder back."""
        for segment in self._segments:
            try:
                segment.checkpoint()
            except sqlite3.Error as error:
                log.warning("not tidied up", file=segment.path.name, reason=str(error))
        self.close_files()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # writing

    def add(self, batches: Sequence[Batch]) -> None:
        """Keep what batches bring. When this returns, readers find it.

        Raises `sqlite3.Error`; then `open` has to be called before anything else, and nothing is kept or some.
        """
        state = self.state
        if self._is_full(self._segments[-1], max(batch.last for batch in batches)):
            self._begin_segment(state.complete_to + 1)
        newest = self._segments[-1]
        by_segment: dict[Segment, list[Version]] = {newest: []}
        floor = self._segments[0].start
        for version in _newest_versions(batches):
            if version.seq >= newest.start:
                by_segment[newest].append(version)
            elif version.seq >= floor:
                by_segment.setdefault(self._segment_of(version.seq), []).append(version)
        # The newest is the last one: it has what says that all of a batch is there.
        for segment in sorted(by_segment, key=lambda segment: segment.start):
            with segment.transaction():
                segment.insert(by_segment[segment])
                if segment is newest:
                    coverage = self._cover(newest, batches)
        complete_to = max([state.complete_to, *(batch.last for batch in batches)])
        least = [version.seq for batch in batches for version in batch.versions if version.seq >= floor]
        beginning = min([*least, *(() if state.beginning is None else (state.beginning,))], default=None)
        self._publish(coverage, complete_to, beginning)

    def _cover(self, newest: Segment, batches: Iterable[Batch]) -> Coverage:
        coverage = self.state.coverage
        for batch in batches:
            if batch.link is None or batch.last <= batch.link.after:
                continue
            source, span = batch.link.source, Span(batch.link.after, batch.last)
            coverage, _, _ = coverage.add(source, span)
            before = self._recently
            self._recently, whole, absorbed = before.add(source, span)
            if self._recently is not before:
                newest.cover(source, whole, absorbed)
        return coverage

    def _is_full(self, segment: Segment, coming: int) -> bool:
        """Whether what has come up to the `seq` that is coming is enough for the newest file."""
        state = self.state
        if state.beginning is None or state.complete_to < segment.start:
            return False
        if coming - (segment.start or state.beginning) >= self._segment_us:
            return True
        return segment.size() > self._keep_bytes // LARGEST_SHARE

    def _segment_of(self, seq: int) -> Segment:
        starts = [segment.start for segment in self._segments]
        return self._segments[max(0, bisect.bisect_right(starts, seq) - 1)]

    # looking after it

    def sweep(self) -> None:
        """Remove, from all files, the versions that newer ones in other files have replaced."""
        due, self._to_sweep = self._to_sweep, {}
        for segment in self._segments:
            if segment.unswept:
                # Not before the next time: who began to read before the newer version came has to find the older.
                self._to_sweep[segment] = segment.unswept
                segment.unswept = []
        for segment, ids in due.items():
            self._sweep(ids)
            if not segment.unswept and segment not in self._to_sweep:
                with segment.transaction():
                    segment.sweep_done()

    def _sweep(self, ids: Sequence[str]) -> None:
        best: dict[str, Held] = {}
        found: list[tuple[Segment, Held]] = []
        for segment in self._segments:
            for held in segment.held(set(ids)):
                found.append((segment, held))
                if held.id not in best or held.age > best[held.id].age:
                    best[held.id] = held
        old: dict[Segment, list[Held]] = {}
        for segment, held in found:
            if held is not best[held.id]:
                old.setdefault(segment, []).append(held)
        for segment, several in old.items():
            with segment.transaction():
                segment.remove(several)

    def clean(self) -> None:
        """Take all traces of what was removed off the disk."""
        for segment in self._segments:
            segment.clean()
            if segment.removed:
                segment.checkpoint()
        self._measure()
        self._tell()

    def forget(self) -> None:
        """Unlink the files that are too old, and the oldest where all are too large."""
        state = self.state
        horizon = self._now_us() - self._keep_us
        if state.beginning is not None and state.complete_to < horizon and self._segments[-1].ends():
            self._begin_segment(state.complete_to + 1)
        self._measure()
        total = sum(self._sizes.values())
        while len(self._segments) > 1:
            oldest, following = self._segments[:2]
            if following.start > horizon and total <= self._keep_bytes:
                break
            log.info("forgotten", file=oldest.path.name, bytes=self._sizes[oldest])
            total -= self._sizes.pop(oldest)
            self._segments.pop(0)
            self._to_sweep.pop(oldest, None)
            oldest.close()
            _unlink(oldest.path)
            ends = [ends[0] for segment in self._segments if (ends := segment.ends())]
            state = self.state
            self._publish(state.coverage, state.complete_to, ends[0] if ends else None)
        self._tell()

    def free_bytes(self) -> int:
        """What is left on the disk."""
        return shutil.disk_usage(self._folder).free

    def forget_oldest(self) -> bool:
        """Unlink the oldest file, if there are several; returns whether there are. Then `open` has to be called."""
        paths = sorted(self._folder.glob(f"*{SUFFIX}"), key=_start_of)
        if len(paths) < 2:
            return False
        self.close_files()
        _unlink(paths[0])
        return True

    # files

    def _begin_segment(self, start: int) -> None:
        if self._segments:
            last = self._segments[-1]
            with last.transaction():
                last.close_chunk()
        self._segments.append(Segment(self._folder / f"{start}{SUFFIX}", start))
        self._recently = Coverage()

    def _opened(self, path: Path) -> Segment | None:
        start = _start_of(path)
        try:
            return Segment(path, start)
        except FormatError as error:
            raise StartError(f"ROOST_ARCHIVE_FOLDER: {error}") from None
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            set_aside(path, str(error))
            return None

    def _publish(self, coverage: Coverage, complete_to: int, beginning: int | None) -> None:
        floor = self._segments[0].start
        if beginning is not None:
            beginning = max(beginning, floor)
        self.state = State(tuple(self._segments), coverage, complete_to, beginning, floor)
        newest = self._segments[-1]
        self._sizes[newest] = newest.size()
        self._tell()

    def _measure(self) -> None:
        """Look how large all files are; how large the newest is is looked at with each commit, too."""
        self._sizes = {segment: segment.size() for segment in self._segments}

    def _tell(self) -> None:
        metrics.ARCHIVE_TWEETS.set(sum(segment.tweets for segment in self._segments))
        metrics.ARCHIVE_FILES.set(len(self._segments))
        metrics.ARCHIVE_BYTES.set(sum(self._sizes.values()))
        metrics.ARCHIVE_OLDEST.set((self.state.beginning or 0) / 1e6)


def set_aside(path: Path, reason: str) -> None:
    """Rename a file that can't be read; what it had is missing from now on."""
    log.error("a file of the archive is corrupt, set aside", file=path.name, reason=reason)
    metrics.ARCHIVE_CORRUPT.inc()
    path.rename(f"{path}{CORRUPT}")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _unlink(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _start_of(path: Path) -> int:
    try:
        return int(path.name.removesuffix(SUFFIX))
    except ValueError:
        raise StartError(f"ROOST_ARCHIVE_FOLDER: {path} is none of the archive's files") from None


def _newest_versions(batches: Iterable[Batch]) -> list[Version]:
    """Of each tweet the newest version, the first of equal ones."""
    found: dict[str, Version] = {}
    for batch in batches:
        for version in batch.versions:
            known = found.get(version.id)
            if known is None or version.age > known.age:
                found[version.id] = version
    return list(found.values())
