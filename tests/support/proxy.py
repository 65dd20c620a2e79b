"""A TCP proxy before the broker that fails as networks do, if need be at a chosen moment of a conversation."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.support.broker import Broker


class Method(NamedTuple):
    """An AMQP method on its way."""

    name: str
    by_client: bool
    """Whether the client says it, or the broker."""
    number: tuple[int, int]
    """Of its class and of itself."""
    naming: bytes = b""
    """What has to stand in its arguments, such as an exchange's name."""

    def of(self, name: str) -> "Method":
        """The same with `name` in its arguments."""
        return self._replace(name=f"{self.name} {name}", naming=name.encode())


START = Method("connection.start", False, (10, 10))
OPEN = Method("connection.open", True, (10, 40))
CHANNEL_OPEN = Method("channel.open", True, (20, 10))
CHANNEL_OPEN_OK = Method("channel.open-ok", False, (20, 11))
SELECT = Method("confirm.select", True, (85, 10))
QOS_OK = Method("basic.qos-ok", False, (60, 11))
DECLARE = Method("queue.declare", True, (50, 10))
DECLARE_OK = Method("queue.declare-ok", False, (50, 11))
BIND = Method("queue.bind", True, (50, 20))
BIND_OK = Method("queue.bind-ok", False, (50, 21))
UNBIND = Method("queue.unbind", True, (50, 50))
UNBIND_OK = Method("queue.unbind-ok", False, (50, 51))
CONSUME = Method("basic.consume", True, (60, 20))
CONSUME_OK = Method("basic.consume-ok", False, (60, 21))
PUBLISH = Method("basic.publish", True, (60, 40))
CONFIRM = Method("confirm", False, (60, 80))
DELIVER = Method("basic.deliver", False, (60, 60))
ACK = Method("basic.ack", True, (60, 80))


class Trap:
    """Something that happens once, when methods have passed in their order, on whichever connections."""

    def __init__(self, methods: tuple[Method, ...], *, after: bool, stall: bool) -> None:
        """It springs at the last of `methods`, before or `after` that is passed on."""
        self.sprung = asyncio.Event()
        self.after = after
        self.stall = stall
        self._ahead = list(methods)

    def passes(self, by_client: bool, payload: bytes) -> bool:
        """Note a method; returns whether it is the last one."""
        awaited = self._ahead[0]
        if (
            by_client == awaited.by_client
            and struct.unpack_from(">HH", payload) == awaited.number
            and awaited.naming in payload
        ):
            del self._ahead[0]
        return not self._ahead


class Proxy:
    """Passes on what comes, until told otherwise."""

    def __init__(self, target: tuple[str, int], *, amqp: bool) -> None:
        self._target = target
        self._amqp = amqp
        self._flows = asyncio.Event()
        self._flows.set()
        self._shut = False
        self._trap: Trap | None = None
        self._left: int | None = None
        self._stalls_then = False
        self.accepted = asyncio.Event()
        """Set when the first client has connected."""
        self.failed = 0
        """Connections that were refused, stalled or cut by `shut`, `stall`, `cut_after` and `stall_after`."""
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    def stall(self) -> None:
        """Half-open: connections stand and are accepted, but nothing passes."""
        self._flows.clear()

    def resume(self) -> None:
        """End a stall as if the network had been slow: what stood before comes late."""
        self._flows.set()

    def cut(self) -> None:
        """End every connection."""
        for pump in self._pumps:
            pump.cancel()

    def shut(self) -> None:
        """End every connection and let none pass any more."""
        self._shut = True
        self.cut()

    def flow(self) -> None:
        """Let things pass again; what stood before is gone."""
        self._shut = False
        self._trap = self._left = None
        self.cut()
        self._flows.set()

    def cut_at(self, *methods: Method, after: bool) -> Trap:
        """End the connection, and no other, on which the last of `methods` passes; see `Trap`."""
        self._trap = Trap(methods, after=after, stall=False)
        return self._trap

    def stall_at(self, *methods: Method, after: bool) -> Trap:
        """`stall` when the last of `methods` passes."""
        self._trap = Trap(methods, after=after, stall=True)
        return self._trap

    def cut_after(self, number: int) -> None:
        """End the connection on which the last of so many bytes has come from the server, and those that follow."""
        self._left, self._stalls_then = number, False

    def stall_after(self, number: int) -> None:
        """`stall` when so many bytes have come from the server."""
        self._left, self._stalls_then = number, True

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        self.accepted.set()
        with contextlib.suppress(asyncio.CancelledError, OSError), contextlib.closing(writer):
            self.failed += self._shut or not self._flows.is_set()
            await self._flows.wait()
            if self._shut:
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            with contextlib.closing(far_writer):
                pumps = {
                    asyncio.create_task(self._pump(reader, far_writer, by_client=True)),
                    asyncio.create_task(self._pump(far_reader, writer, by_client=False)),
                }
                self._pumps |= pumps
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                self._pumps -= pumps

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, by_client: bool) -> None:
        """Pass on what one side says; returns when the connection is to end."""
        frames = _Frames(b"AMQP\x00\x00\x09\x01" if by_client else b"") if self._amqp else None
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                for piece, method in frames.take(data) if frames else [(data, b"")]:
                    await self._flows.wait()
                    trap = self._trap if method and self._trap and self._trap.passes(by_client, method) else None
                    if trap and not trap.after and await self._spring(trap):
                        return
                    if not by_client and self._left is not None:
                        writer.write(piece[: self._left])
                        self._left -= min(self._left, len(piece))
                        if self._left:
                            continue
                        self.failed += 1
                        if not self._stalls_then:
                            return
                        await writer.drain()
                        self.stall()
                        continue
                    writer.write(piece)
                    if trap and trap.after and await self._spring(trap):
                        return
                await writer.drain()

    async def _spring(self, trap: Trap) -> bool:
        """Do what the trap is for; returns whether the connection ends."""
        self._trap = None
        trap.sprung.set()
        if trap.stall:
            self.stall()
            await self._flows.wait()
        return not trap.stall


class _Frames:
    """Finds the frames of one side of an AMQP connection."""

    def __init__(self, greeting: bytes) -> None:
        """`greeting` comes before the first frame."""
        self._greeting = greeting
        self._rest = b""

    def take(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The frames that are whole now, each with its payload if it is a method."""
        data = self._rest + data
        start = 0
        if self._greeting:
            if len(data) < len(self._greeting):
                self._rest = data
                return
            start = len(self._greeting)
            yield data[:start], b""
            self._greeting = b""
        while len(data) >= start + 7:
            kind, size = data[start], struct.unpack_from(">I", data, start + 3)[0]
            end = start + 7 + size + 1
            if len(data) < end:
                break
            yield data[start:end], data[start + 7 : end - 1] if kind == 1 else b""
            start = end
        self._rest = data[start:]


@asynccontextmanager
async def proxy(broker: Broker, *, management: bool = False) -> AsyncIterator[Proxy]:
    """A proxy on loopback before the broker's AMQP port, or that of its management API."""
    port = broker.management_port if management else broker.amqp_port
    between = Proxy((broker.host, port), amqp=not management)
    server = await asyncio.start_server(between.accept, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        between.flow()
