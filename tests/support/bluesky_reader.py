"""Reading the source `bluesky` in a test, as the pump does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.ingest.sources import Item
from services.ingest.sources.bluesky import BlueskySource
from services.ingest.sources.pacing import Clock
from shared.events import Event, Tweet
from tests.support.jetstream_server import JetstreamServer, jetstream_server
from tests.support.turned_clock import TurnedClock


class NoNotes:
    """The source keeps none."""

    text = ""

    async def keep(self, text: str) -> None:
        raise AssertionError("Bluesky's source keeps its cursor and nothing else")


def source_of(*servers: JetstreamServer, clock: Clock | None = None, **options: Any) -> BlueskySource:
    values: dict[str, Any] = {"max_catch_up_s": 86_400.0, "jitter": lambda a, _: a, "api": servers[0].api}
    return BlueskySource(hosts=[server.url for server in servers], clock=clock, **values | options)


class Reader:
    """What has been read so far."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.goes = asyncio.Event()
        """While it is clear, nothing is read."""
        self.goes.set()
        self.task: asyncio.Task[None] | None = None

    @property
    def events(self) -> list[Event]:
        return [item.event for item in self.items if item.event is not None]

    @property
    def tweets(self) -> list[Tweet]:
        return [event for event in self.events if isinstance(event, Tweet)]

    @property
    def texts(self) -> list[str]:
        return [tweet.text for tweet in self.tweets]

    @property
    def cursor(self) -> str | None:
        return self.items[-1].cursor if self.items else None

    async def run(self, stream: AsyncIterator[Item]) -> None:
        async for item in stream:
            self.items.append(item)
            await self.goes.wait()
        raise AssertionError("the source has ended")


@asynccontextmanager
async def reading(source: BlueskySource, cursor: str | None = None) -> AsyncIterator[Reader]:
    """Read `source` from `cursor` on; at the end it must not have ended by itself, nor raised."""
    reader = Reader()
    stream = source.read(cursor, NoNotes())
    reader.task = asyncio.create_task(reader.run(stream))
    try:
        yield reader
        if reader.task.done():
            reader.task.result()
    finally:
        reader.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader.task
        await stream.aclose()


@pytest.fixture
def clock() -> TurnedClock:
    """The time of a test: of the source and of the host that it reads."""
    return TurnedClock(step_s=0.5)


@pytest.fixture
async def server(clock: TurnedClock) -> AsyncIterator[JetstreamServer]:
    """One host."""
    async with jetstream_server(now_us=clock.now_us) as server:
        yield server
