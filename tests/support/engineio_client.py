"""Engine.IO by hand: bytes on a TCP connection, long polling, and somebody who feeds the exchange `tweets`."""

import asyncio
import base64
import functools
import inspect
import itertools
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Self

import aiohttp
import msgpack
import pytest
import uvloop

from services.ingest.pump import SequenceClock
from shared import feed
from shared.broker import Channel, connect
from shared.events import to_document
from shared.topology import TWEETS_EXCHANGE
from tests.support.broker import Broker
from tests.support.tweets import tweet

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
PATIENCE_S = 10.0

_clock = SequenceClock()
_numbers = itertools.count()


def on(*loops: str) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run a test on event loops of these kinds; services always run on uvloop."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*, loop_kind: str, **given: object) -> None:
            with asyncio.Runner(loop_factory=LOOPS[loop_kind]) as runner:
                runner.run(_awaited(test(**given)))

        own = inspect.signature(test)
        kind = inspect.Parameter("loop_kind", inspect.Parameter.KEYWORD_ONLY)
        run.__signature__ = own.replace(parameters=[*own.parameters.values(), kind])  # type: ignore[attr-defined]
        del run.__dict__["__wrapped__"]
        marked: Callable[..., None] = pytest.mark.parametrize("loop_kind", loops)(run)
        return marked

    return decorate


async def _awaited(story: Awaitable[None]) -> None:
    await story


class Frame(NamedTuple):
    """One WebSocket frame as it came."""

    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def code(self) -> int:
        """Of a closing frame."""
        return int.from_bytes(self.payload[:2], "big")

    @property
    def reason(self) -> str:
        """Of a closing frame."""
        return self.payload[2:].decode()


def masked(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, length: int | None = None) -> bytes:
    """A frame as clients send it; `length` is what it claims to have."""
    key = os.urandom(4)
    claimed = len(payload) if length is None else length
    head = bytes(((0x80 if fin else 0) | reserved << 4 | opcode,))
    if claimed < 126:
        head += bytes((0x80 | claimed,))
    elif claimed < 65536:
        head += struct.pack("!BH", 0x80 | 126, claimed)
    else:
        head += struct.pack("!BQ", 0x80 | 127, claimed)
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
    return head + key + body.to_bytes(len(payload), "big")


class RawSocket:
    """A WebSocket whose bytes are in the hands of the test. Sees only what it reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.events: list[list[Any]] = []
        """Socket.IO events so far, each a list [name, argument…]."""
        self.acks: dict[int, Any] = {}
        self.closing: Frame | None = None
        """The server's closing frame."""
        self.pings = 0
        self._numbers = itertools.count(1)

    @classmethod
    async def open(
        cls,
        port: int,
        query: str = "EIO=4&transport=websocket",
        *,
        headers: Sequence[tuple[str, str]] = (),
        early: bytes = b"",
        receive_buffer: int | None = None,
    ) -> Self:
        """Connect and shake hands; `early` is sent with the request. Raises `ConnectionError` with the refusal."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        # The limit of the stream is what it reads ahead by itself.
        limit = 64 * 1024 if receive_buffer is None else receive_buffer
        reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
        given = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        } | dict(headers)
        lines = [f"GET /socket.io/?{query} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
        writer.write("\r\n".join([*lines, "", ""]).encode() + early)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        if not head.startswith(b"HTTP/1.1 101"):
            length = [line.partition(b":")[2] for line in head.split(b"\r\n") if b"content-length" in line.lower()]
            body = await reader.readexactly(int(length[0])) if length else b""
            writer.close()
            raise ConnectionError(head.split(b"\r\n")[0].decode(), body.decode())
        return cls(reader, writer)

    def send(self, text: str) -> None:
        """Send a text message."""
        self.writer.write(masked(TEXT, text.encode()))

    def send_frame(self, opcode: int, payload: bytes = b"", **how: Any) -> None:
        """Send any frame."""
        self.writer.write(masked(opcode, payload, **how))

    async def frame(self) -> Frame:
        """The next frame; raises `EOFError` at the end of the connection."""
        try:
            first, size = await asyncio.wait_for(self.reader.readexactly(2), PATIENCE_S)
            assert not size & 0x80, "servers do not mask"
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            payload = await asyncio.wait_for(self.reader.readexactly(size), PATIENCE_S)
        except ConnectionError:
            raise EOFError from None
        assert not first & 0x70, "no bit is reserved for anything here"
        return Frame(first & 0x0F, payload, bool(first & 0x80))

    async def text(self) -> str:
        """The next text message, pings of Engine.IO aside; raises `EOFError` at the end."""
        while True:
            frame = await self.frame()
            if frame.opcode == CLOSE:
                self.closing = frame
                raise EOFError(f"closed: {frame.code} {frame.reason}")
            if frame.opcode == TEXT and frame.payload == b"2":
                self.pings += 1
                self.send("3")
            elif frame.opcode == TEXT:
                return frame.payload.decode()

    async def join(self) -> Self:
        """Say CONNECT and wait for the answer."""
        self.send("40")
        while not (await self.text()).startswith("40"):
            pass
        return self

    async def ask(self, *event: object) -> Any:
        """Send an event and return its acknowledgement; other events that come are kept."""
        number = next(self._numbers)
        self.send(f"42{number}{json.dumps(event)}")
        while number not in self.acks:
            self.take(await self.text())
        return self.acks.pop(number)

    def take(self, text: str) -> None:
        """Keep what a message says."""
        if text.startswith("42"):
            self.events.append(json.loads(text[2:]))
        elif text.startswith("43"):
            number, _, arguments = text[2:].partition("[")
            self.acks[int(number)] = json.loads("[" + arguments)[0]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read until `condition()` is true."""
        while not condition():
            self.take(await self.text())

    async def until_closed(self) -> Frame:
        """Read to the end, answering the closing handshake; returns the closing frame."""
        try:
            while True:
                self.take(await self.text())
        except EOFError:
            assert self.closing is not None, "it was cut off"
        self.send_frame(CLOSE, self.closing.payload[:2])
        rest = await asyncio.wait_for(self.reader.read(), PATIENCE_S)
        assert rest == b"", "nothing comes after a closing frame"
        self.writer.close()
        return self.closing

    def texts(self, room: str) -> list[str]:
        """Texts of the new tweets of a room, in the order of arrival."""
        return [event[1]["text"] for event in self.events if event[0] == "newTweet" and event[2] == room]

    def named(self, name: str) -> list[list[Any]]:
        """The arguments of each event of a name."""
        return [event[1:] for event in self.events if event[0] == name]

    def cut(self) -> None:
        """Vanish: the connection is reset."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Poller:
    """A long-polling client."""

    def __init__(self, http: aiohttp.ClientSession, port: int, sid: str) -> None:
        self.http = http
        self.port = port
        self.sid = sid
        self.packets: list[str] = []
        """All packets so far, as they came."""

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, port: int) -> Self:
        """A new session, before CONNECT."""
        async with http.get(url(port)) as response:
            assert response.status == 200, await response.text()
            return cls(http, port, json.loads((await response.text())[1:])["sid"])

    async def join(self) -> Self:
        """Say CONNECT and wait for the answer."""
        await self.post("40")
        await self.until(lambda: any(packet.startswith("40") for packet in self.packets))
        return self

    async def post(self, payload: str) -> tuple[int, str]:
        """POST a payload; returns status and body."""
        async with self.http.post(url(self.port, self.sid), data=payload.encode()) as response:
            return response.status, await response.text()

    async def poll(self) -> int:
        """One poll; returns its status. Pings are answered."""
        async with self.http.get(url(self.port, self.sid)) as response:
            body = await response.text()
            if response.status == 200:
                packets = body.split("\x1e") if body else []
                self.packets += packets
                if "2" in packets:
                    await self.post("3")
            return response.status

    async def until(self, condition: Callable[[], bool]) -> None:
        """Poll until `condition()` is true."""
        while not condition():
            assert await asyncio.wait_for(self.poll(), PATIENCE_S) == 200

    @property
    def events(self) -> list[list[Any]]:
        """Socket.IO events so far."""
        return [json.loads(packet[2:]) for packet in self.packets if packet.startswith("42")]

    def texts(self, room: str) -> list[str]:
        """Texts of the new tweets of a room, in the order of arrival."""
        return [event[1]["text"] for event in self.events if event[0] == "newTweet" and event[2] == room]

    async def subscribe(self, room: str) -> None:
        """Join a room and wait until that is so."""
        number = next(_numbers)
        await self.post(f"42{number}{json.dumps(['subscribe', room])}")
        await self.until(lambda: f"43{number}[true]" in self.packets)


def url(port: int, sid: str | None = None) -> str:
    """Of long polling."""
    return f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling" + (f"&sid={sid}" if sid else "")


class Feed:
    """Publishes to the exchange `tweets`, as a router does."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def send(self, texts: Sequence[str], *keys: str) -> None:
        """One message of tweets with these texts, under `keys`."""
        documents = [msgpack.packb(to_document(tweet(text), _clock.next())) for text in texts]
        for message in feed.messages(keys or ("all",), documents):
            await self._channel.publish(
                TWEETS_EXCHANGE,
                message.body,
                routing_key=message.routing_key,
                type=feed.TYPE,
                headers=message.headers,
            )


@asynccontextmanager
async def feeding(broker: Broker) -> AsyncIterator[Feed]:
    """A way to publish tweets without a router."""
    async with connect(broker.amqp_url("router"), name="test router") as connection:
        yield Feed(await connection.channel(confirms=True))


@asynccontextmanager
async def all_of(opening: Sequence[Awaitable[RawSocket]]) -> AsyncIterator[list[RawSocket]]:
    """Open sockets together, and abort them in the end."""
    async with AsyncExitStack() as stack:
        opened = await asyncio.gather(*opening)
        for one in opened:
            stack.callback(one.writer.transport.abort)
        yield list(opened)
