"""Puts tweets on the exchange `tweets` as a router does: classified, packed, confirmed by the broker.

    python -m benchmarks.publisher AMQP_URL

`emit` is the same for the peer: what any program calls to have python-socketio's servers send something.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import IO

import socketio
import uvloop

from benchmarks import tweets
from benchmarks.control import Answer, obey, own_output, paced
from benchmarks.tweets import SIZE
from shared import feed
from shared.broker import Channel, connect
from shared.topology import TWEETS_EXCHANGE


class Publisher:
    """The commands. `rooms` are terms; they have their tweets by turns."""

    def __init__(self, channel: Channel, amqp_url: str) -> None:
        self._channel = channel
        self._url = amqp_url
        self._peers: socketio.AsyncAioPikaManager | None = None

    async def publish(self, *, rooms: Sequence[str], first: int, count: int, size: int = SIZE) -> Answer:
        """Publish `count` tweets as quickly as the broker takes them; it has them all at the end."""
        async with asyncio.TaskGroup() as publishing:
            for number in range(first, first + count):
                document = tweets.document(number, size)
                publishing.create_task(self._publish(tweets.message([document], [_key(rooms, number)])))
        return {}

    async def stream(self, *, rooms: Sequence[str], first: int, per_s: float, seconds: float) -> Answer:
        """Publish timed tweets at an even pace; returns how many."""
        count = round(per_s * seconds)
        async with asyncio.TaskGroup() as publishing:

            async def turn(number: int) -> None:
                message = tweets.message([tweets.timed(first + number)], [_key(rooms, first + number)])
                publishing.create_task(self._publish(message))

            await paced(turn, times=count, every_ms=1000 / per_s)
        return {"count": count}

    async def emit(self, *, rooms: Sequence[str], first: int, count: int) -> Answer:
        """Have the peer's servers send `count` tweets."""
        if self._peers is None:
            self._peers = socketio.AsyncAioPikaManager(self._url, write_only=True)
        for number in range(first, first + count):
            room = rooms[number % len(rooms)]
            await self._peers.emit("newTweet", (tweets.document(number), room), room=room)
        return {}

    async def _publish(self, message: feed.Message) -> None:
        await self._channel.publish(
            TWEETS_EXCHANGE, message.body, routing_key=message.routing_key, type=feed.TYPE, headers=message.headers
        )


def _key(rooms: Sequence[str], number: int) -> str:
    return f"term.{rooms[number % len(rooms)]}"


async def main(output: IO[str], amqp_url: str) -> None:
    """Obey until the input ends."""
    async with connect(amqp_url, name="benchmark") as connection:
        publisher = Publisher(await connection.channel(confirms=True), amqp_url)
        await obey(output, {"publish": publisher.publish, "stream": publisher.stream, "emit": publisher.emit})


if __name__ == "__main__":
    uvloop.run(main(own_output(), sys.argv[1]))
