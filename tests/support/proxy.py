"""A TCP proxy before the broker that can be made to fail as networks do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.broker import Broker


class Proxy:
    """Passes on what comes, until told otherwise."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self.accepted = asyncio.Event()
        """Set when the first client has connected."""
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    def stall(self) -> None:
        """Half-open: connections stand and are accepted, but nothing passes."""
        self._flows.clear()

    def resume(self) -> None:
        """End a stall as if the network had been slow: what stood before comes late."""
        self._flows.set()

    def flow(self) -> None:
        """Let things pass again; what stood before is gone."""
        for pump in self._pumps:
            pump.cancel()
        self._flows.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        self.accepted.set()
        with contextlib.suppress(asyncio.CancelledError, OSError), contextlib.closing(writer):
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            with contextlib.closing(far_writer):
                pumps = {
                    asyncio.create_task(self._pump(reader, far_writer)),
                    asyncio.create_task(self._pump(far_reader, writer)),
                }
                self._pumps |= pumps
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                self._pumps -= pumps

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def proxy(broker: Broker) -> AsyncIterator[Proxy]:
    """A proxy on loopback before the broker's AMQP port."""
    between = Proxy((broker.host, broker.amqp_port))
    server = await asyncio.start_server(between.accept, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        between.flow()
