"""The floor: a bare uvloop protocol that writes ready frames. What it costs is the system call.

It speaks as much as the load generator needs to believe that it has joined a room.
"""

import asyncio
from typing import IO

import uvloop

from benchmarks import tweets
from benchmarks.control import Answer, obey, own_output, paced
from benchmarks.servers import ROOM
from benchmarks.websocket import unmasked

_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    + _ACCEPT
    + b"\r\n\r\n"
)
_OPEN = b'0{"sid":"floor","upgrades":[],"pingTimeout":20000,"pingInterval":25000,"maxPayload":100000}'


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, members: list[asyncio.Transport]) -> None:
        self._members = members
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the request."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each step of the handshake; the load generator sends each in one piece."""
        assert self._transport is not None
        if data.startswith(b"GET "):
            self._transport.write(_UPGRADED + unmasked(_OPEN))
        elif data.endswith(b"]"):
            self._members.append(self._transport)
            self._transport.write(unmasked(b"430[true]"))
        elif data.endswith(b"40"):
            self._transport.write(unmasked(b'40{"sid":"floor"}'))

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client."""
        if self._transport in self._members:
            self._members.remove(self._transport)


class Floor:
    """The commands."""

    def __init__(self, members: list[asyncio.Transport]) -> None:
        self._members = members
        self._frames: list[bytes] = []

    async def prepare(self, *, first: int, count: int) -> Answer:
        """Make frames ready."""
        documents = (tweets.document(number) for number in range(first, first + count))
        self._frames = [unmasked(tweets.frame_text(document, ROOM)) for document in documents]
        return {}

    async def fire(self, *, tweets: int, times: int, every_ms: float) -> Answer:
        """Write `tweets` frames to everybody, in one write each."""

        async def turn(number: int) -> None:
            data = b"".join(self._frames[number * tweets : (number + 1) * tweets])
            for transport in self._members:
                transport.write(data)

        await paced(turn, times=times, every_ms=every_ms)
        return {}


async def main(output: IO[str]) -> None:
    """Serve on a free port."""
    members: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(lambda: Connection(members), "127.0.0.1", 0, backlog=512)
    floor = Floor(members)
    port = server.sockets[0].getsockname()[1]
    await obey(output, {"prepare": floor.prepare, "fire": floor.fire}, port=port)


if __name__ == "__main__":
    uvloop.run(main(own_output()))
