"""Publishes packed batches as ingest does, as quickly as the broker and the routers take them.

    python -m benchmarks.feeder AMQP_URL

The batches were packed beforehand and come again and again with the same bytes: for who counts tweets it makes no
difference that they have the same ids. It never runs far ahead of the routers, so that their queue is neither empty
nor full.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import uvloop

from benchmarks.control import Answer, obey, own_output
from benchmarks.corpus import Batches
from services.ingest.pump import MAX_UNCONFIRMED_BATCHES
from shared import raw
from shared.broker import Channel, Queue, connect
from shared.tasks import together
from shared.topology import RAW_EXCHANGE, ROUTER_QUEUE

AHEAD = 64
"""Batches that may wait for the routers, besides those that these have in hand."""
LOOK_S = 0.01


class Feeder:
    """The commands."""

    def __init__(self, channel: Channel, waiting: Queue) -> None:
        self._channel = channel
        self._waiting = waiting
        self._given: dict[str, Batches] = {}
        self._running: asyncio.Task[None] | None = None
        self._stopping = False
        self._sending = 0
        self._published = 0
        self._looks = self._empty = 0
        self._room = asyncio.Event()

    async def load(self, *, path: str) -> Answer:
        """Read saved batches."""
        self._given[path] = Batches.load(Path(path))
        return {}

    async def start(self, *, path: str, window: int = MAX_UNCONFIRMED_BATCHES) -> Answer:
        """Publish those batches over and over from now on, so many of them unconfirmed at a time."""
        self._stopping = False
        self._published = self._looks = self._empty = 0
        self._running = asyncio.create_task(self._run(self._given[path], window))
        return {}

    async def stop(self) -> Answer:
        """Publish no more; returns how many batches the broker has confirmed: all that were published.

        And at which share of all looks nothing waited for the routers.
        """
        assert self._running is not None
        self._stopping = True
        self._room.set()
        await self._running
        return {"batches": self._published, "empty": self._empty / max(1, self._looks)}

    async def _run(self, given: Batches, window: int) -> None:
        numbers = iter(range(sys.maxsize))
        self._sending = window
        await together(self._look(), *(self._send(given, numbers) for _ in range(window)))

    async def _send(self, given: Batches, numbers: Iterator[int]) -> None:
        while True:
            await self._room.wait()
            if self._stopping:
                self._sending -= 1
                return
            body = given.bodies[next(numbers) % len(given.bodies)]
            await self._channel.publish(
                RAW_EXCHANGE,
                body,
                type=raw.TYPE,
                headers=raw.headers(raw.Link("bench", 0)),
                persistent=True,
                to_some_queue=True,
            )
            self._published += 1

    async def _look(self) -> None:
        """Let the batches wait that are too many for the routers."""
        # Not cancelled: to break off a question to the broker closes its channel.
        while self._sending:
            waiting = (await self._waiting.depth()).messages
            self._looks += 1
            self._empty += not waiting
            if waiting < AHEAD or self._stopping:
                self._room.set()
            else:
                self._room.clear()
            await asyncio.sleep(LOOK_S)


async def main(output: IO[str], amqp_url: str) -> None:
    """Obey until the input ends."""
    async with connect(amqp_url, name="benchmark") as connection:
        queue = await (await connection.channel()).queue(ROUTER_QUEUE)
        feeder = Feeder(await connection.channel(confirms=True), queue)
        await obey(output, {"load": feeder.load, "start": feeder.start, "stop": feeder.stop})


if __name__ == "__main__":
    uvloop.run(main(own_output(), sys.argv[1]))
