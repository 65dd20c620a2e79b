"""Posts have a price: what the broker does not take is not bought."""

import asyncio

from services.ingest.pump import Pump, SequenceClock
from shared.broker import RefusedError
from tests.support.sources import MemoryNotes
from tests.support.turned_clock import TurnedClock
from tests.support.waiting import eventually
from tests.support.x_server import post, x_server
from tests.support.x_source import x_source
from tests.unit.test_pump import at_once


async def test_a_broker_that_takes_nothing_ends_the_stream_and_one_that_takes_again_begins_it_anew() -> None:
    clock = TurnedClock()
    full = True
    published: list[bytes] = []
    stopping = asyncio.Event()

    async def publish(body: bytes, after: int) -> None:
        await asyncio.sleep(0)
        if full:
            raise RefusedError("full")
        published.append(body)

    async def keep_place(seq: int, published: int, cursor: str | None) -> None:
        assert cursor is None

    async with x_server() as server:
        pump = Pump(
            x_source(server.url, clock),
            publish,
            keep_place,
            cursor=None,
            published=0,
            notes=MemoryNotes(),
            buffer_events=20_000,
            clock=SequenceClock(),
            connected=at_once,
        )
        running = asyncio.create_task(pump.run(stopping, flush_s=5))
        await eventually(lambda: server.streaming)
        for _ in range(60):
            if server.streaming:
                await server.push(post("nfl"))
            await clock.turn(1)
        assert not server.streaming
        assert server.sent < 20
        full = False

        async def streaming() -> bool:
            await clock.turn(1)
            return server.streaming

        await eventually(streaming)
        await server.push(post("nfl"))
        bought = server.sent
        await eventually(lambda: sum(len(body) > 1 for body in published) > 0 and pump.pending == 0)
        stopping.set()
        await asyncio.wait_for(running, 10)
    assert bought < 21
