"""The peer in Python: python-socketio on aiohttp and uvloop, as its documentation has it, with its defaults.

    python -m benchmarks.servers.stock [AMQP_URL]

With a broker's address it is one of several servers that share their rooms by `AsyncAioPikaManager`.
"""

import asyncio
import sys
from typing import IO

import socketio
import uvloop
from aiohttp import web

from benchmarks import tweets
from benchmarks.control import Answer, obey, own_output, paced
from benchmarks.servers import ROOM
from shared.events import Document


class Stock:
    """The commands."""

    def __init__(self, server: socketio.AsyncServer) -> None:
        self._server = server
        self._documents: list[Document] = []

    async def prepare(self, *, first: int, count: int) -> Answer:
        """Make documents."""
        self._documents = [tweets.document(number) for number in range(first, first + count)]
        return {}

    async def fire(self, *, tweets: int, times: int, every_ms: float) -> Answer:
        """Emit `tweets` tweets at once, each time."""

        async def turn(number: int) -> None:
            some = self._documents[number * tweets : (number + 1) * tweets]
            await asyncio.gather(*(self._server.emit("newTweet", (document, ROOM), room=ROOM) for document in some))

        await paced(turn, times=times, every_ms=every_ms)
        return {}


def make_server(amqp_url: str | None) -> socketio.AsyncServer:
    """The server, which lets clients into the rooms that they ask for."""
    manager = socketio.AsyncAioPikaManager(amqp_url) if amqp_url else None
    server = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager)

    async def subscribe(sid: str, room: str) -> bool:
        await server.enter_room(sid, room)
        return True

    server.on("subscribe", subscribe)
    return server


async def main(output: IO[str], amqp_url: str | None) -> None:
    """Serve on a free port."""
    server = make_server(amqp_url)
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stock = Stock(server)
    await obey(output, {"prepare": stock.prepare, "fire": stock.fire}, port=runner.addresses[0][1])


if __name__ == "__main__":
    uvloop.run(main(own_output(), sys.argv[1] if len(sys.argv) > 1 else None))
