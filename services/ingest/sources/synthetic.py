"""The source `synthetic`: an endless stream of made-up posts at a steady rate, for trying Roost out."""

from collections.abc import AsyncGenerator

from services.ingest.sources import Item, Notes, SourceError
from services.ingest.sources.demo.timeline import SOURCE, Timeline
from services.ingest.sources.pacing import Clock, SystemClock
from services.ingest.sources.report import Report

MIN_RATE = 0.1
MAX_RATE = 100_000.0
MAX_ARREARS_S = 1.0
"""After a stall no more than this is caught up; what else was due is never written."""
_MIN_SLEEP_S = 0.002
"""At high rates several events come of one wake-up."""
_EVENTS_BETWEEN_BREATHS = 100
"""So often others get to run while many events are due."""


class SyntheticSource:
    """Posts of the demo as if they came from a live stream: what nobody takes in time is gone.

    The ids of a run begin with the moment of its start, so that a restarted stream is new to everyone.
    """

    name = SOURCE
    can_wait = False
    demand = None
    one_reader = False

    def __init__(self, *, rate: float, seed: int, start_ms: int | None = None, clock: Clock | None = None) -> None:
        """`rate` is in events per second. Raises `SourceError` for one that is out of bounds.

        With the same seed and the same `start_ms`, milliseconds since the epoch, ids and texts are the same.
        Without it the run begins now.
        """
        if not MIN_RATE <= rate <= MAX_RATE:
            raise SourceError(f"ROOST_INGEST_RATE: {rate} is not between {MIN_RATE} and {MAX_RATE:.0f}")
        self._rate = rate
        self._clock = clock or SystemClock()
        self.report = Report(self.name, state="live")
        run = self._clock.now_ms() if start_ms is None else start_ms
        self._timeline = Timeline(seed=seed, rate=rate, run=run)

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        """Events without end, each at its time: the n-th is due n / rate seconds after the first."""
        clock, rate = self._clock, self._rate
        start = clock.monotonic()
        sent = 0
        while True:
            now = clock.monotonic()
            due = int((now - start) * rate) + 1 - sent
            if due <= 0:
                await clock.sleep(max(start + sent / rate - now, _MIN_SLEEP_S))
                continue
            if due > rate * MAX_ARREARS_S + 1:
                start, sent = now - MAX_ARREARS_S, 0
                continue
            for _ in range(min(due, _EVENTS_BETWEEN_BREATHS)):
                sent += 1
                yield Item(self._timeline.draw(clock.now_ms()))
            if due > _EVENTS_BETWEEN_BREATHS:
                await clock.sleep(0)
