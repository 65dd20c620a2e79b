"""What is asked of the archive, answered from its files on threads of their own."""

import asyncio
import queue
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice

import structlog

from services.archive.reading import FAR, NOWHERE, Reader, Stretch, TooSlowError
from services.archive.segment import Segment, is_corrupt
from services.archive.store import State
from services.archive.versions import DESTROYED, Version
from shared import metrics
from shared.events import Action
from shared.history import (
    MAX_ANSWER_BYTES,
    MAX_IDS,
    MAX_LABELS,
    MAX_LIMIT,
    Answer,
    LabelsQuery,
    Place,
    Query,
    StatesQuery,
    TweetsQuery,
)
from shared.labels import Label, LabelError, parse_key
from shared.labels.action import ActionFamily

log = structlog.get_logger()

THREADS = 2

AT_ONCE = 51, 1024
"""Versions of which is asked at a time whether other files have newer ones: at first, and at most. Mostly 50 are
asked for, and one more tells whether these are all."""

LOOK_WITHIN_S = 1.0
"""How long is looked for one answer: two frequent words that hardly ever stand together would be looked for in all
that there is. The answer says how far it reaches, and who wants more goes on from there."""

TRIES = 5
"""A file may be forgotten between the moment in which it is listed and the one in which it is opened."""


class Queries:
    """Answers queries."""

    def __init__(self, state: Callable[[], State]) -> None:
        """`state` tells what there is now."""
        self._state = state
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="archive reader")
        # The one that read last comes first: its part of the files is in memory already.
        self._readers: queue.LifoQueue[Reader] = queue.LifoQueue()
        for _ in range(THREADS):
            self._readers.put(Reader())

    async def answer(self, query: Query) -> Answer:
        """The answer; one with an `error` where there is no other."""
        with metrics.ARCHIVE_QUERY_SECONDS.time():
            return await asyncio.get_running_loop().run_in_executor(self._threads, self.answer_now, query)

    def answer_now(self, query: Query) -> Answer:
        """`answer` for a caller that may block."""
        try:
            for tries in range(TRIES):
                try:
                    return self._answer(query, self._state())
                except sqlite3.OperationalError as error:
                    if tries + 1 == TRIES:
                        raise
                    log.debug("a file could not be read, once more", reason=str(error))
        except LabelError as error:
            return Answer(error=str(error))
        except sqlite3.Error as error:
            log.warning("a query could not be answered", reason=str(error))
            return Answer(error=f"the archive can't read its disk: {error}")
        raise AssertionError

    def close(self) -> None:
        """Finish the queries under way and close the files."""
        self._threads.shutdown()
        while not self._readers.empty():
            self._readers.get().close()

    def _answer(self, query: Query, state: State) -> Answer:
        reader = self._readers.get()
        try:
            reader.keep(state.segments)
            if isinstance(query, StatesQuery):
                return self._states(query, state, reader)
            if isinstance(query, LabelsQuery):
                return self._labels(query, state, reader)
            return self._tweets(query, state, reader)
        finally:
            self._readers.put(reader)

    def _tweets(self, query: TweetsQuery, state: State, reader: Reader) -> Answer:
        if not 1 <= query.limit <= MAX_LIMIT:
            return Answer(error=f"limit is {query.limit}, and should be 1 to {MAX_LIMIT}")
        label = parse_key(query.label)
        before = FAR if query.before is None else Place(_seq(query.before.seq), query.before.id)
        documents: list[bytes] = []
        size = 0
        from_seq = newer = 0
        since = None if query.since is None else _seq(query.since)
        # What is older has to be looked at only where it may be wanted.
        after = since if since is not None and not query.least else NOWHERE
        until_s = time.monotonic() + LOOK_WITHIN_S
        with closing(self._newest_versions(label, Stretch(before, after), state, reader, until_s)) as versions:
            try:
                for version in versions:
                    if since is not None and version.seq <= since:
                        if len(documents) >= query.least:
                            from_seq = version.seq if len(documents) > newer else since
                            break
                    elif len(documents) < query.limit:
                        newer += 1
                    size += len(version.document)
                    if len(documents) == query.limit or (documents and size > MAX_ANSWER_BYTES):
                        from_seq = version.seq
                        break
                    documents.append(version.document)
                else:
                    from_seq = max(after, 0)
            except TooSlowError as error:
                from_seq = error.from_seq
        asked = from_seq if since is None or from_seq > since or newer < query.least else since
        last = min(before.seq, state.complete_to)
        missing = state.missing(asked, last, since=since)
        return Answer(documents=documents, complete_to=state.complete_to, from_seq=from_seq, missing=missing)

    def _labels(self, query: LabelsQuery, state: State, reader: Reader) -> Answer:
        if not 1 <= query.limit <= MAX_LIMIT:
            return Answer(error=f"limit is {query.limit}, and should be 1 to {MAX_LIMIT}")
        if len(query.labels) > MAX_LABELS:
            return Answer(error=f"{len(query.labels)} labels, and {MAX_LABELS} are the most")
        found: dict[str, Version] = {}
        from_seq = since = _seq(query.since)
        last = state.complete_to if query.until is None else _seq(query.until)
        before = FAR if query.until is None else Place(last + 1, "")
        until_s = time.monotonic() + LOOK_WITHIN_S
        for key in query.labels:
            stretch = Stretch(before, since)
            several: list[Version] = []
            with closing(self._newest_versions(parse_key(key), stretch, state, reader, until_s)) as versions:
                try:
                    several.extend(islice(versions, query.limit + 1))
                except TooSlowError as error:
                    from_seq = max(from_seq, error.from_seq)
            if len(several) > query.limit:
                from_seq = max(from_seq, several.pop().seq)
            for version in several:
                known = found.get(version.id)
                if known is None or version.age > known.age:
                    found[version.id] = version
        documents: list[bytes] = []
        size = 0
        for version in sorted(found.values(), key=lambda version: (version.seq, version.id), reverse=True):
            size += len(version.document)
            if documents and size > MAX_ANSWER_BYTES:
                from_seq = max(from_seq, version.seq)
                break
            documents.append(version.document)
        missing = state.missing(from_seq, min(last, state.complete_to), since=since)
        return Answer(documents=documents, complete_to=state.complete_to, from_seq=from_seq, missing=missing)

    def _newest_versions(
        self, label: Label, stretch: Stretch, state: State, reader: Reader, until_s: float
    ) -> Generator[Version]:
        """The versions of a label that are the newest of their tweets, newest first.

        Raises `TooSlowError` past `until_s` of the monotonic clock.
        """
        ends = label == Label(ActionFamily.name, Action.DESTROY.value)
        at_once, most = AT_ONCE
        segments = state.segments
        for at in reversed(range(len(segments))):
            segment = segments[at]
            if segment.start > stretch.before.seq:
                continue
            if at + 1 < len(segments) and segments[at + 1].start <= stretch.after:
                return
            others = [other for other in segments if other is not segment]
            with self._reading(segment), closing(reader.newest_first(segment, label, stretch, until_s)) as versions:
                late: TooSlowError | None = None
                while late is None:
                    several: list[Version] = []
                    try:
                        several.extend(islice(versions, at_once))
                    except TooSlowError as error:
                        late = error
                    if not several and late is None:
                        break
                    outdated = self._outdated(several, others, reader)
                    for version in several:
                        if version.id not in outdated and (version.rank != DESTROYED or ends):
                            yield version
                    at_once = min(most, at_once * 2)
                if late is not None:
                    raise late

    def _outdated(self, versions: list[Version], others: list[Segment], reader: Reader) -> set[str]:
        """The ids of those of which another file has a newer version, or the same at an earlier place."""
        found = set()
        known = {version.id: version for version in versions}
        for segment in others:
            with self._reading(segment):
                for held in reader.held(segment, list(known)):
                    version = known[held.id]
                    if held.age > version.age or (held.age == version.age and held.seq < version.seq):
                        found.add(held.id)
        return found

    def _states(self, query: StatesQuery, state: State, reader: Reader) -> Answer:
        if len(query.ids) > MAX_IDS:
            return Answer(error=f"{len(query.ids)} ids, and {MAX_IDS} are the most")
        newest: dict[str, Version] = {}
        for segment in state.segments:
            with self._reading(segment):
                for version in reader.states(segment, query.ids):
                    known = newest.get(version.id)
                    if known is None or version.age > known.age:
                        newest[version.id] = version
        return Answer(documents=[version.document for version in newest.values()], complete_to=state.complete_to)

    @contextmanager
    def _reading(self, segment: Segment) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if is_corrupt(error):
                segment.corrupt = str(error)
            raise


def _seq(asked: int) -> int:
    """The `seq` that a number stands for. Beyond both ends, where SQLite could not follow, is nothing."""
    return min(max(asked, NOWHERE), FAR.seq)
