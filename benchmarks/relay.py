"""Stands between servers and the broker and counts the bytes that the broker sends them.

python -m benchmarks.relay HOST PORT
"""

import asyncio
import contextlib
import sys
from typing import IO

import uvloop

from benchmarks.control import Answer, obey, own_output


class Relay:
    """Passes everything on, and counts."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._from_broker = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until one of its ends closes it."""
        with contextlib.suppress(OSError), contextlib.closing(writer):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            with contextlib.closing(far_writer):
                pumps = [
                    asyncio.create_task(self._pump(reader, far_writer, counted=False)),
                    asyncio.create_task(self._pump(far_reader, writer, counted=True)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()

    async def bytes(self) -> Answer:
        """Bytes from the broker so far: the contents of TCP, with all of AMQP's frames."""
        return {"bytes": self._from_broker}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if counted:
                    self._from_broker += len(data)
                writer.write(data)
                await writer.drain()


async def main(output: IO[str], host: str, port: int) -> None:
    """Listen on a free port."""
    relay = Relay(host, port)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    await obey(output, {"bytes": relay.bytes}, port=server.sockets[0].getsockname()[1])


if __name__ == "__main__":
    uvloop.run(main(own_output(), sys.argv[1], int(sys.argv[2])))
