"""From a source to the broker: numbers events, makes batches, holds what is not confirmed yet.

Batches grow with the load by themselves: one is made of all that has come while the earlier ones were under way.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from services.ingest.sources import Source
from shared import metrics, raw
from shared.broker import BrokerLostError, RefusedError
from shared.events import Event
from shared.tasks import first_of, forever, together

log = structlog.get_logger()

MAX_BATCH_EVENTS = 500
MAX_BATCH_BYTES = 256 * 1024
MAX_ENTRY_BYTES = 256 * 1024
"""An event larger than this is no tweet: X's longest posts have 25,000 characters. Every consumer would have to
hold it, and a router to search it."""
MAX_UNCONFIRMED_BATCHES = 8
"""Batches published and not yet confirmed, at the same time."""
CONFIRM_PATIENCE_S = 5.0
"""Time without a confirm after which it is said that something is wrong."""
REFUSED_PAUSE_S = 0.5
"""Pause before a batch that a full queue refused is published again."""

Publish = Callable[[bytes], Awaitable[None]]
"""Publishes one batch and returns when the broker has confirmed it; raises `RefusedError`, `BrokerLostError`."""


class SequenceClock:
    """Numbers events: microseconds since the epoch, strictly increasing also when the clock steps back."""

    def __init__(self, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._now_us = now_us
        self._last = 0

    def next(self) -> int:
        """The next number."""
        self._last = max(self._now_us(), self._last + 1)
        return self._last


class Pump:
    """Moves events from one source to the broker, each at least once and in batches."""

    def __init__(
        self,
        source: Source,
        publish: Publish,
        *,
        buffer_events: int,
        clock: SequenceClock,
        held_up: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`held_up` is told when the broker takes no batches, and when it does again."""
        self._source = source
        self._publish = publish
        self._limit = buffer_events
        self._clock = clock
        self._buffer: deque[bytes] = deque()
        self._unconfirmed = 0
        self._filled = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._ended = False
        self._held_up = held_up
        self._is_held_up = False
        self._skipped: set[str] = set()

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
                    deadline.reschedule(asyncio.get_running_loop().time() + flush_s)

                await together(read_until_stopping(), *(self._send() for _ in range(MAX_UNCONFIRMED_BATCHES)))
        except TimeoutError:
            if not deadline.expired():
                raise  # of the source
            log.warning("stopped before the broker had confirmed all", events=self.pending)

    @property
    def pending(self) -> int:
        """Events read and not yet confirmed."""
        return len(self._buffer) + self._unconfirmed

    async def _read(self) -> None:
        events = metrics.SOURCE_EVENTS.labels(source=self._source.name)
        async for event in self._source.events():
            events.inc()
            try:
                entry = raw.pack_entry(event, self._clock.next())
            except (ValueError, OverflowError) as error:
                self._skip(event, "unpackable", str(error))
                continue
            if len(entry) > MAX_ENTRY_BYTES:
                self._skip(event, "too large", f"{len(entry)} bytes, and {MAX_ENTRY_BYTES} is the most")
                continue
            if self.pending >= self._limit and not self._source.can_wait:
                metrics.INGEST_DROPPED.inc()
                continue
            self._buffer.append(entry)
            self._filled.set()
            metrics.INGEST_BUFFERED.set(self.pending)
            if self.pending >= self._limit and self._source.can_wait:
                self._space.clear()
                await self._space.wait()
        log.info("the source has ended", source=self._source.name)
        await forever()

    def _skip(self, event: Event, reason: str, detail: str) -> None:
        metrics.SOURCE_UNREADABLE.labels(source=self._source.name, reason=reason).inc()
        if reason not in self._skipped:
            self._skipped.add(reason)
            log.warning("events like this can't be published", id=event.id[:100], reason=reason, detail=detail)

    async def _send(self) -> None:
        while True:
            while not self._buffer:
                if self._ended:
                    return
                self._filled.clear()
                await self._filled.wait()
            batch = self._take()
            self._unconfirmed += len(batch)
            await self._until_confirmed(raw.join(batch))
            self._unconfirmed -= len(batch)
            metrics.INGEST_PUBLISHED.inc(len(batch))
            metrics.INGEST_BUFFERED.set(self.pending)
            if self.pending < self._limit:
                self._space.set()

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._buffer and len(batch) < MAX_BATCH_EVENTS and size < MAX_BATCH_BYTES:
            entry = self._buffer.popleft()
            batch.append(entry)
            size += len(entry)
        return batch

    async def _until_confirmed(self, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        patience = loop.call_later(
            CONFIRM_PATIENCE_S,
            self._hold_up,
            f"nothing confirmed for {CONFIRM_PATIENCE_S:.0f} s: is the broker away, or has it raised an alarm?",
        )
        try:
            while True:
                try:
                    await self._publish(body)
                except RefusedError:
                    metrics.INGEST_REFUSED.inc()
                    self._hold_up("the broker's queue is full")
                    await asyncio.sleep(REFUSED_PAUSE_S)
                except BrokerLostError:
                    # `publish` waits for the next connection. Whether the broker has the batch nobody knows, so it
                    # goes out again; readers drop the second copy by (id, mtime).
                    continue
                else:
                    break
        finally:
            patience.cancel()
        if self._is_held_up:
            self._is_held_up = False
            self._held_up(False)
            log.info("the broker takes batches again")

    def _hold_up(self, reason: str) -> None:
        if not self._is_held_up:
            self._is_held_up = True
            self._held_up(True)
            meanwhile = "the source waits" if self._source.can_wait else "what does not fit the buffer is dropped"
            log.warning("the broker takes no batches", reason=reason, meanwhile=meanwhile)
