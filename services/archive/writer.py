"""The one thread that writes: what has come while the last transaction was under way makes the next one."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from services.archive.batches import Batch
from services.archive.store import Store
from shared import metrics

log = structlog.get_logger()

LINGER_S = 0.05
"""How long the first of a transaction waits for others, unless a mark waits for it."""
MOST_VERSIONS = 2_000
"""Of one transaction, about."""
RETRY_S = 1.0
"""Pause after the disk did not let us write."""
TIDY_S = 10.0
"""How often what was removed is taken off the disk. What was replaced goes after two to three times this."""
LEAST_FREE_BYTES = 4 * 1024 * 1024
"""A disk with less than that is full."""

FORGET_S = 10.0
"""How often is looked for what is too old or too much."""


class _Item(NamedTuple):
    batch: Batch | None
    """None for a mark."""
    done: "asyncio.Future[int]"


class Writer:
    """Writes batches in the order in which they are given."""

    def __init__(
        self, store: Store, *, able: Callable[[bool], None], tidy_s: float = TIDY_S, retry_s: float = RETRY_S
    ) -> None:
        """`able` is told, on the event loop, when the disk can't be written to, and when it can again."""
        self._store = store
        self._able = able
        self._tidy_s = tidy_s
        self._retry_s = retry_s
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="archive writer")
        self._stopping = threading.Event()
        self._begun = asyncio.Event()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._opened = self._told = False
        self.working = False
        """Whether the disk can be written to."""

    def start(self) -> None:
        """Open the files and begin."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what was given, tidy up and end. Where the disk does not work, end."""
        self._stopping.set()
        self._items.put(None)
        await asyncio.to_thread(self._thread.join)

    async def add(self, batch: Batch) -> None:
        """Returns when readers find what the batch brings, for good."""
        await self._give(batch)

    async def mark(self) -> int:
        """Returns, when all that was given before is found, the newest `seq` of the archive."""
        return await self._give(None)

    def drop_waiting(self, error: Exception) -> None:
        """Forget what was not begun yet; who waits for it gets the error."""
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._items.get_nowait()
                if item is not None and not item.done.done():
                    item.done.set_exception(error)

    async def begun(self) -> None:
        """Wait until the files could be opened."""
        await self._begun.wait()

    async def failed(self) -> None:
        """Wait until something goes wrong that is not the disk's fault, and raise it."""
        await asyncio.shield(self._failed)

    async def _give(self, batch: Batch | None) -> int:
        done: asyncio.Future[int] = self._loop.create_future()
        self._items.put(_Item(batch, done))
        return await done

    # on the thread

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._call(self._fail, error)
        finally:
            self._store.close()

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _work(self) -> None:
        tidy = forget = 0.0
        last: _Item | None
        while True:
            now = time.monotonic()
            if now >= tidy:
                self._persist(self._tidy)
                tidy = time.monotonic() + self._tidy_s
            if now >= forget:
                self._persist(self._store.forget)
                forget = time.monotonic() + FORGET_S
            try:
                last = self._items.get(timeout=max(0.0, tidy - time.monotonic()))
            except queue.Empty:
                continue
            if last is None or self._transaction(last) is None:
                return

    def _transaction(self, first: _Item) -> _Item | None:
        """Write `first` and what is behind it; returns None where that is the end."""
        items: list[_Item] = [first]
        versions = len(first.batch.versions) if first.batch else 0
        hurry = first.batch is None
        until = time.monotonic() + LINGER_S
        last: _Item | None = first
        while versions < MOST_VERSIONS:
            try:
                last = self._items.get(timeout=0 if hurry else max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if last is None:
                break
            items.append(last)
            versions += len(last.batch.versions) if last.batch else 0
            hurry = hurry or last.batch is None
        batches = [item.batch for item in items if item.batch]
        if batches:
            began = time.perf_counter()
            if not self._persist(lambda: self._store.add(batches)):
                return None
            metrics.ARCHIVE_WRITE_SECONDS.observe(time.perf_counter() - began)
            metrics.ARCHIVE_WRITTEN.inc(versions)
        complete_to = self._store.state.complete_to
        metrics.ARCHIVE_COMPLETE_TO.set(complete_to / 1e6)
        self._call(_finish, [item.done for item in items], complete_to)
        return last

    def _tidy(self) -> None:
        if any(segment.corrupt for segment in self._store.state.segments):
            self._store.open()
        self._store.sweep()
        self._store.clean()

    def _persist(self, work: Callable[[], object]) -> bool:
        """Do it, again and again until the disk lets us; False where the end comes first."""
        while True:
            try:
                if not self._opened:
                    self._store.open()
                    self._opened = True
                work()
            except (sqlite3.Error, OSError) as error:
                self._opened = False
                if self.working or not self._told:
                    self._told = True
                    log.error("the disk can't be written to, trying again until it can", reason=str(error))
                self._set_working(False)
                self._make_room()
                if self._stopping.wait(self._retry_s):
                    return False
            else:
                if self._told:
                    self._told = False
                    log.info("the disk can be written to again")
                self._set_working(True)
                return True

    def _make_room(self) -> None:
        """Where the disk is full the oldest has to go: a full disk does not heal by itself."""
        try:
            if self._store.free_bytes() < LEAST_FREE_BYTES and self._store.forget_oldest():
                log.warning(
                    "the disk is full, the oldest tweets are forgotten to make room: see ROOST_ARCHIVE_KEEP_BYTES"
                )
        except (sqlite3.Error, OSError) as error:
            log.warning("no room could be made on the disk", reason=str(error))

    def _set_working(self, working: bool) -> None:
        if working != self.working:
            self.working = working
            self._call(self._tell, working)

    def _tell(self, working: bool) -> None:
        self._able(working)
        if working:
            self._begun.set()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            log.debug("the event loop has ended before the writer")


def _finish(dones: list["asyncio.Future[int]"], complete_to: int) -> None:
    for done in dones:
        if not done.done():
            done.set_result(complete_to)
