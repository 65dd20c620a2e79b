"""From a source to the broker: numbers events, makes batches, holds what is not confirmed yet, keeps the cursor.

Batches grow with the load: they leave no faster than one in a moment, unless they are full, and an event that comes
when none has left lately is published at once.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

import structlog

from services.ingest.sources import Notes, Source
from services.ingest.sources.unreadable import Unreadables
from shared import metrics, raw
from shared.broker import BrokerLostError, RefusedError
from shared.events import Event
from shared.tasks import first_of, forever, together

log = structlog.get_logger()

MAX_BATCH_EVENTS = 1000
MAX_BATCH_BYTES = 512 * 1024
MAX_ENTRY_BYTES = 256 * 1024
"""An event larger than this is no tweet: X's longest posts have 25,000 characters. Every consumer would have to
hold it, and a router to search it."""
LINGER_S = 0.005
"""Between two batches, unless the second is full: so long an event waits at most for others. Each batch costs ingest,
the broker and a router a millisecond, whatever is in it: more than 200 a second would keep them busy with nothing."""
MAX_UNCONFIRMED_BATCHES = 8
"""Batches published and not yet confirmed, at the same time."""
CONFIRM_PATIENCE_S = 5.0
"""Time without a confirm after which it is said that something is wrong."""
REFUSED_PAUSE_S = 0.5
"""Pause before a batch that a full queue refused is published again."""

KEEP_INTERVAL_S = 1.0
"""How often the place in the source is kept, while it moves."""
UNKEPT_US = 5_000_000
"""More than the numbers that can have been given and published after the last one that was kept."""

Publish = Callable[[bytes, int], Awaitable[None]]
"""Publishes one batch, with the `seq` of the last event before it, and returns when the broker has confirmed it;
raises `RefusedError`, `BrokerLostError`."""

KeepPlace = Callable[[int, int, str | None], Awaitable[None]]
"""Keeps the last number given, the one up to which all is confirmed, and the cursor up to there; returns when the
broker has them."""


class SequenceClock:
    """Numbers events: microseconds since the epoch, strictly increasing also when the clock steps back."""

    def __init__(self, now_us: Callable[[], int] = lambda: time.time_ns() // 1000, *, kept: int = 0) -> None:
        """`kept` is the number that an earlier run kept last: all its numbers are passed by."""
        self._now_us = now_us
        self.last = kept + UNKEPT_US if kept else 0
        """The number that was given last."""

    def next(self) -> int:
        """The next number."""
        self.last = max(self._now_us(), self.last + 1)
        return self.last


class _Entry(NamedTuple):
    event: raw.Entry | None
    """None where there is nothing to publish and only the cursor moves on."""
    seq: int
    cursor: str | None


class _Batch:
    def __init__(self, entries: list[_Entry], after: int) -> None:
        self.after = after
        self.last = max([after, *(entry.seq for entry in entries if entry.event is not None)])
        self.events = [entry.event for entry in entries if entry.event is not None]
        self.number = len(entries)
        self.cursor = next((entry.cursor for entry in reversed(entries) if entry.cursor is not None), None)
        self.sent = self.failed = self.confirmed = False


class Pump:
    """Moves events from one source to the broker, in batches and each at least once; but those are dropped that come
    while the buffer is full from a source that can't wait.

    The cursor that is kept is one up to which everything is confirmed. A source that goes on from it repeats what
    was read and not kept any more, and leaves nothing out.
    """

    def __init__(
        self,
        source: Source,
        publish: Publish,
        keep_place: KeepPlace,
        *,
        cursor: str | None,
        published: int,
        notes: Notes,
        buffer_events: int,
        clock: SequenceClock,
        connected: Callable[[], Awaitable[object]],
        held_up: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Go on from `cursor`; up to it, and to the number `published`, all was confirmed.

        `held_up` is told when the broker takes no batches, and when it does again. `connected` is waited for before a
        batch is published: then all that were on their way when the connection was lost know of it.
        """
        self._source = source
        self._publish = publish
        self._keep_place = keep_place
        self._cursor = cursor
        self._notes = notes
        self._limit = buffer_events
        self._clock = clock
        self._buffer: deque[_Entry] = deque()
        self._last_taken = self._published = published
        self._unconfirmed = 0
        self._under_way: deque[_Batch] = deque()
        self._buffered_bytes = 0
        self._taking = asyncio.Lock()
        self._full = asyncio.Event()
        """Set where nothing is waited for: a batch is full, or the buffer, or the end has come."""
        self._next_at = 0.0
        """When the next batch may leave that is not full, by the loop's clock."""
        self._confirmed = asyncio.Condition()
        self._moved = asyncio.Event()
        self._filled = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._ended = False
        self._held_up = held_up
        self._connected = connected
        self._is_held_up = False
        self._unreadables = Unreadables(source.name)

    async def run(self, stopping: asyncio.Event, *, flush_s: float) -> None:
        """Pump until `stopping`; what is read by then has `flush_s` seconds to be confirmed.

        A source that ends is not the end: the pump waits to be stopped. A source that raises is.
        """
        try:
            async with asyncio.timeout(None) as deadline:

                async def read_until_stopping() -> None:
                    await first_of(stopping.wait(), self._read())
                    self._ended = True
                    self._filled.set()
                    self._full.set()
                    deadline.reschedule(asyncio.get_running_loop().time() + flush_s)

                senders = (self._send() for _ in range(MAX_UNCONFIRMED_BATCHES))
                await first_of(together(read_until_stopping(), *senders), self._keep_places())
                # Once more and in any case: the last time may have been cut off in the middle.
                await self._keep_place(self._clock.last, self._published, self._cursor)
        except TimeoutError:
            if not deadline.expired():
                raise  # of the source
            log.warning("stopped before the broker had confirmed all", events=self.pending)

    @property
    def pending(self) -> int:
        """Events read and not yet confirmed."""
        return len(self._buffer) + self._unconfirmed

    async def _read(self) -> None:
        async with aclosing(self._source.read(self._cursor, self._notes)) as items:
            async for event, cursor in items:
                entry = None if event is None else self._pack(event)
                if entry is not None and self.pending >= self._limit and not self._source.can_wait:
                    metrics.INGEST_DROPPED.inc()
                    entry = None
                if entry is None and cursor is None:
                    continue
                self._buffer.append(_Entry(entry, self._clock.last, cursor))
                self._buffered_bytes += entry.size if entry else 0
                self._filled.set()
                is_full = len(self._buffer) >= MAX_BATCH_EVENTS or self._buffered_bytes >= MAX_BATCH_BYTES
                if is_full or self.pending >= self._limit:
                    self._full.set()
                metrics.INGEST_BUFFERED.set(self.pending)
                if self._source.can_wait and (self._is_held_up or self.pending >= self._limit):
                    # Not read on also while nothing is confirmed: what is read may have its price.
                    self._space.clear()
                    await self._space.wait()
        log.info("the source has ended", source=self._source.name)
        await forever()

    def _pack(self, event: Event) -> raw.Entry | None:
        metrics.SOURCE_EVENTS.labels(source=self._source.name).inc()
        try:
            entry = raw.entry(event, self._clock.next())
        except (ValueError, OverflowError) as error:
            self._unreadables.skip("unpackable", f"{event.id[:100]}: {error}")
            return None
        if entry.size > MAX_ENTRY_BYTES:
            self._unreadables.skip(
                "too_large", f"{event.id[:100]}: {entry.size} bytes, and {MAX_ENTRY_BYTES} is the most"
            )
            return None
        return entry

    async def _send(self) -> None:
        while True:
            async with self._taking:
                if not await self._something_to_take():
                    return
                batch = self._take()
                if batch.events:
                    self._next_at = asyncio.get_running_loop().time() + LINGER_S
            if batch.events:
                await self._until_confirmed(batch)
            self._unconfirmed -= batch.number
            metrics.INGEST_PUBLISHED.inc(len(batch.events))
            metrics.INGEST_BUFFERED.set(self.pending)
            await self._confirm(batch)
            if self.pending < self._limit:
                self._space.set()

    async def _something_to_take(self) -> bool:
        """Wait for the next batch; False where the end has come instead."""
        while not self._buffer:
            if self._ended:
                return False
            self._filled.clear()
            await self._filled.wait()
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_at:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_at):
                    await self._full.wait()
        return True

    def _take(self) -> _Batch:
        entries: list[_Entry] = []
        size = 0
        while self._buffer and len(entries) < MAX_BATCH_EVENTS and size < MAX_BATCH_BYTES:
            entry = self._buffer.popleft()
            entries.append(entry)
            size += entry.event.size if entry.event else 0
        self._buffered_bytes -= size
        if len(self._buffer) < MAX_BATCH_EVENTS and self._buffered_bytes < MAX_BATCH_BYTES and not self._ended:
            self._full.clear()
        batch = _Batch(entries, self._last_taken)
        self._last_taken = batch.last
        self._under_way.append(batch)
        self._unconfirmed += batch.number
        return batch

    async def _confirm(self, batch: _Batch) -> None:
        # Batches are confirmed in any order; the cursor moves over those of which all earlier ones are.
        batch.confirmed = True
        while self._under_way and self._under_way[0].confirmed:
            confirmed = self._under_way.popleft()
            self._cursor = confirmed.cursor or self._cursor
            self._published = confirmed.last
            self._moved.set()
        async with self._confirmed:
            self._confirmed.notify_all()

    async def _keep_places(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._keep_place(self._clock.last, self._published, self._cursor)
            await asyncio.sleep(KEEP_INTERVAL_S)

    async def _until_confirmed(self, batch: _Batch) -> None:
        loop = asyncio.get_running_loop()
        body = raw.pack(batch.events)
        patience = loop.call_later(
            CONFIRM_PATIENCE_S,
            self._hold_up,
            f"nothing confirmed for {CONFIRM_PATIENCE_S:.0f} s: is the broker away, or has it raised an alarm?",
        )
        try:
            while True:
                await self._connected()
                await self._turn(batch)
                try:
                    await self._publish(body, batch.after)
                except RefusedError as error:
                    batch.failed = True
                    metrics.INGEST_REFUSED.inc()
                    self._hold_up(str(error))
                    await asyncio.sleep(REFUSED_PAUSE_S)
                except BrokerLostError:
                    # `publish` waits for the next connection. Whether the broker has the batch nobody knows, so it
                    # goes out again; readers drop the second copy by (id, mtime).
                    batch.failed = True
                    continue
                else:
                    break
        finally:
            patience.cancel()
        if self._is_held_up:
            self._is_held_up = False
            self._held_up(False)
            log.info("the broker takes batches again")

    async def _turn(self, batch: _Batch) -> None:
        """Wait until all earlier batches are on their way, and those confirmed that had to go again.

        One that has to go again itself waits until all earlier ones are confirmed.
        So each reader gets a batch after the ones before it, and takes none for lost that only comes later.
        """
        async with self._confirmed:
            await self._confirmed.wait_for(
                lambda: all(
                    earlier.confirmed or (earlier.sent and not earlier.failed and not batch.failed)
                    for earlier in itertools.takewhile(lambda earlier: earlier is not batch, self._under_way)
                )
            )
            batch.sent = True
            self._confirmed.notify_all()

    def _hold_up(self, reason: str) -> None:
        if not self._is_held_up:
            self._is_held_up = True
            self._held_up(True)
            meanwhile = "the source waits" if self._source.can_wait else "what does not fit the buffer is dropped"
            log.warning("the broker takes no batches", reason=reason, meanwhile=meanwhile)
