"""Ingest as it is, with a source that yields tweets when it is told to.

    python -m benchmarks.servers.ingest AMQP_URL

A tweet that is for a room says in its text when the source had it, in nanoseconds of the clock that all processes
share. The others come as they were prepared, with the same ids again and again: nobody sees them.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from typing import IO

import msgspec

from benchmarks.control import Answer, obey, own_output
from benchmarks.tweets import SENT
from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from services.ingest.sources import Item, Notes
from services.ingest.sources.report import Report
from shared.events import Document, Tweet
from shared.lifecycle import run
from shared.tasks import first_of

TICK_S = 0.001
"""Tweets that are due by then come of one wake-up."""


class Stream(msgspec.Struct):
    """What is to be yielded."""

    first: int
    """The number of the first tweet."""
    count: int
    per_s: float
    every: int
    """One of so many is for a room: the next one each time."""
    done: "asyncio.Future[float]"
    """Gets the seconds that it took."""


class Told:
    """A source that yields what it is told to."""

    name = "bench"
    can_wait = False
    one_reader = False
    demand = None

    def __init__(self) -> None:
        self.report = Report(self.name, state="live")
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()
        self._tweets: list[Tweet] = []
        self._rooms: Sequence[str] = ()

    async def prepare(self, *, documents: list[Document], rooms: Sequence[str]) -> Answer:
        """The tweets, which have no room's term in them, and the terms of the rooms."""
        self._tweets = [msgspec.convert(document, Tweet) for document in documents]
        self._rooms = rooms
        return {}

    async def stream(self, *, first: int, count: int, per_s: float, every: int) -> Answer:
        """Yield tweets at an even pace, each when it is due; returns when the last one has gone."""
        stream = Stream(first, count, per_s, every, asyncio.get_running_loop().create_future())
        self._streams.put_nowait(stream)
        return {"seconds": await stream.done}

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        """What `stream` is told, one after the other."""
        while True:
            stream = await self._streams.get()
            began = time.monotonic()
            for number in range(stream.count):
                # One sleep may be over a little early.
                while (wait := began + number / stream.per_s - time.monotonic()) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(max(wait, TICK_S))
                yield Item(self._tweet(stream, number))
            stream.done.set_result(time.monotonic() - began)

    def _tweet(self, stream: Stream, number: int) -> Tweet:
        at = stream.first + number
        tweet = self._tweets[at % len(self._tweets)]
        if number % stream.every:
            return tweet
        room = self._rooms[at // stream.every % len(self._rooms)]
        return msgspec.structs.replace(
            tweet,
            id=f"bench:{at}",
            mtime=time.time_ns() // 1_000_000,
            text=f"{SENT}{time.monotonic_ns():019d} {room} {tweet.text}",
        )


class Benchmarked:
    """Ingest as a service that obeys commands besides."""

    def __init__(self, app: IngestApp, source: Told, output: IO[str]) -> None:
        self.health = app.health
        self._app = app
        self._source = source
        self._output = output

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until the commands end."""
        await first_of(self._app.run(stopping), self._obey())

    async def _obey(self) -> None:
        while not self._app.health.ready:  # noqa: ASYNC110 - as from outside, and once
            await asyncio.sleep(0.01)
        await obey(self._output, {"prepare": self._source.prepare, "stream": self._source.stream})


if __name__ == "__main__":
    answers = own_output()
    settings = IngestSettings(amqp_url=sys.argv[1], ops_port=0, log_level="warning")
    source = Told()
    run(Benchmarked(IngestApp(settings, source), source, answers), settings, name="ingest")
