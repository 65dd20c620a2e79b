"""One client that sends as much as it can, and that nobody else waits for it."""

import asyncio
import time

import aiohttp
import pytest

from tests.support.broker import Broker, free_port
from tests.support.engineio_client import PING, RawSocket
from tests.support.processes import processes

FLOODS = {"pongs": "3", "connects": "40", "requests": '421["subscribe","x"]', "pings": ""}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_of_small_frames_holds_nobody_up(broker: Broker, flood: str) -> None:
    port = free_port()
    async with processes(broker) as start, aiohttp.ClientSession() as http:
        gateway = await start.start("gateway", port=port)
        raw = await (await RawSocket.open(port)).join()

        async def pour() -> None:
            # In pieces, so that this side's loop is not what is measured.
            while not raw.writer.transport.is_closing():
                if raw.writer.transport.get_write_buffer_size() < 500_000:
                    for _ in range(200):
                        raw.send(FLOODS[flood]) if FLOODS[flood] else raw.send_frame(PING)
                await asyncio.sleep(0.001)

        pouring = asyncio.create_task(pour())
        waits = []
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            began = time.monotonic()
            async with http.get(f"http://127.0.0.1:{port}/robots.txt") as response:
                assert response.status == 200
            waits.append(time.monotonic() - began)
        pouring.cancel()
        raw.cut()
        assert max(waits) < 0.5, "seconds for a page while somebody floods"
        assert "broker is away" not in gateway.log()
