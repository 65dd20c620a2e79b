"""The source X under test: read by a task, on a clock that the test turns."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from services.ingest.sources import Notes
from services.ingest.sources.pacing import Clock
from services.ingest.sources.x import XSource
from services.ingest.sources.x_api.rules import Wishes
from shared.events import Tweet
from tests.support.demands import become
from tests.support.sources import MemoryNotes
from tests.support.turned_clock import TurnedClock
from tests.support.waiting import eventually
from tests.support.x_server import TOKEN, XServer


async def turned_until(clock: TurnedClock, condition: Callable[[], object], *, within_s: float = 3600.0) -> None:
    """Let time pass, second by second, until `condition()` is true; fail after so many seconds of the clock."""
    end = clock.seconds + within_s
    while not condition():
        assert clock.seconds < end, f"not within {within_s} s"
        await clock.turn(1)


class Reader:
    """Reads a source as the pump does, and notes what it got."""

    def __init__(self, source: XSource, notes: Notes) -> None:
        self.source = source
        self.tweets: list[Tweet] = []
        self.reading = asyncio.Event()
        """While it is not set, nothing is taken."""
        self.reading.set()
        self._stream = source.read(None, notes)
        self._task = asyncio.create_task(self._read())

    @property
    def texts(self) -> list[str]:
        return [tweet.text for tweet in self.tweets]

    def failed(self) -> bool:
        """Whether the source has ended or raised, which it never should."""
        return self._task.done()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.aclose()

    async def _read(self) -> None:
        async for item in self._stream:
            assert isinstance(item.event, Tweet)
            assert item.cursor is None
            self.tweets.append(item.event)
            await self.reading.wait()


def x_source(server_url: str, clock: Clock | None, **options: Any) -> XSource:
    """A source for the emulator: rules `nfl`, a large budget, and no jitter, unless told otherwise."""
    values: dict[str, Any] = {"rules": ["nfl"], "wishes": None, "budget": 10_000, "jitter": lambda low, high: low}
    return XSource(bearer_token=TOKEN, api=server_url, clock=clock, **(values | options))


def wishing(*allow: str, min_bindings: int = 0) -> dict[str, Any]:
    """Options of a source whose rules follow from demand."""
    return {"rules": None, "wishes": Wishes(allow=allow, min_bindings=min_bindings)}


@asynccontextmanager
async def reading_x(
    server: XServer, clock: Clock | None, *, notes: Notes | None = None, **options: Any
) -> AsyncIterator[Reader]:
    """A source that is being read; where its rules follow from demand, nobody watches anything yet."""
    reader = Reader(x_source(server.url, clock, **options), notes or MemoryNotes())
    try:
        if reader.source.demand is not None:
            become(reader.source.demand, [])
            await eventually(lambda: reader.source.report.state != "connecting", what="X was asked for its rules")
            server.rule_requests.clear()
        yield reader
        assert not reader.failed()
    finally:
        await reader.stop()


async def streaming(server: XServer) -> None:
    """Wait until somebody listens."""
    await eventually(lambda: server.streaming, what="a connection to the stream")


def warnings(lines: Sequence[Any]) -> list[Any]:
    """Those of the captured log lines that call for attention."""
    return [line for line in lines if line["log_level"] in ("warning", "error", "critical")]
