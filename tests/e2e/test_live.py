"""Live sources as real processes: what a crash, an absent broker and a restart cost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.conftest import empty_queues
from tests.support.broker import Broker
from tests.support.jetstream_server import JetstreamServer, jetstream_server
from tests.support.ledger import Ledger, ledger
from tests.support.processes import processes
from tests.support.proxy import proxy
from tests.support.waiting import eventually
from tests.support.x_server import TOKEN, post, x_server

__all__ = ["empty_queues"]


def of_bluesky(*hosts: JetstreamServer) -> dict[str, Any]:
    """Settings of an ingest that reads these hosts."""
    urls = ",".join(host.url for host in hosts)
    return {"source": "bluesky", "bluesky_hosts": urls, "bluesky_api": hosts[0].api}


@asynccontextmanager
async def talking(host: JetstreamServer, said: list[str]) -> AsyncIterator[None]:
    """People post at a host all the time; `said` has the ids of their posts."""

    async def talk() -> None:
        while True:
            message = host.post(f"nfl number {len(said)}")
            said.append(f"bsky:{message['did']}/{message['commit']['rkey']}")
            await asyncio.sleep(0.002)  # the pace at which they do

    talker = asyncio.create_task(talk())
    try:
        yield
    finally:
        talker.cancel()


def ids(taken: Ledger) -> set[str]:
    return {str(document["id"]) for document, _ in taken.events}


def grown(said: list[str], number: int) -> Callable[[], bool]:
    """Whether `number` more have been said than now."""
    wanted = len(said) + number
    return lambda: len(said) >= wanted


async def test_an_ingest_killed_at_work_leaves_nothing_out(broker: Broker) -> None:
    said: list[str] = []
    async with jetstream_server() as host, processes(broker) as start, ledger(broker) as taken:
        async with talking(host, said):
            ingest = await start.start("ingest", **of_bluesky(host))
            # Before anybody listened for the first time is nobody's loss.
            said.clear()
            for _ in range(2):
                await eventually(grown(said, 300))
                ingest.kill()
                await eventually(grown(said, 200))
                ingest = await start.start("ingest", **of_bluesky(host))
            await eventually(grown(said, 200))
        await eventually(lambda: set(said) <= ids(taken), what="every post was published")
        assert await ingest.stop() == 0


async def test_a_second_ingest_takes_over_at_once_and_leaves_nothing_out(broker: Broker) -> None:
    said: list[str] = []
    async with jetstream_server() as host, processes(broker) as start, ledger(broker) as taken:
        async with talking(host, said):
            first = await start.start("ingest", **of_bluesky(host))
            said.clear()
            second = await start.start("ingest", **of_bluesky(host))
            await eventually(grown(said, 300))
            assert second.metric("roost_source_events_total") == 0
            first.kill()
            await eventually(lambda: second.metric("roost_ingest_active") == 1)
            await eventually(grown(said, 200))
        await eventually(lambda: set(said) <= ids(taken), what="every post was published")


async def test_a_broker_that_goes_away_and_comes_back_costs_nothing(broker: Broker) -> None:
    said: list[str] = []
    async with (
        jetstream_server() as host,
        processes(broker) as start,
        ledger(broker) as taken,
        proxy(broker) as between,
    ):
        url = f"amqp://ingest:ingest@127.0.0.1:{between.port}/"
        async with talking(host, said):
            ingest = await start.start("ingest", amqp_url=url, buffer_events=100, **of_bluesky(host))
            said.clear()
            await eventually(grown(said, 200))
            between.stall()
            # More than fits the buffer, so the host is not read on.
            await eventually(grown(said, 500))
            between.flow()
            await eventually(grown(said, 200))
            # And away while ingest is killed: what was read and not confirmed is read again.
            between.stall()
            await eventually(grown(said, 100))
            ingest.kill()
            between.flow()
            await start.start("ingest", amqp_url=url, **of_bluesky(host))
            await eventually(grown(said, 100))
        await eventually(lambda: set(said) <= ids(taken), what="every post was published", within_s=30)


@pytest.mark.parametrize("kill", [True, False])
async def test_the_budget_of_a_day_holds_over_restarts(broker: Broker, kill: bool) -> None:
    async with x_server() as server, processes(broker) as start, ledger(broker) as taken:
        settings = {"source": "x", "x_api": server.url, "x_bearer_token": TOKEN, "x_rules": "nfl", "x_budget": 20}
        for _ in range(2):
            ingest = await start.start("ingest", **settings)
            await eventually(lambda ingest=ingest: server.streaming or "budget" in ingest.log())
            wanted = min(20, len(taken.events) + 12)
            for _ in range(12):
                await server.push(post("nfl"))
            await eventually(lambda wanted=wanted: len(taken.events) >= wanted or not server.streaming)
            if kill:
                ingest.kill()
            else:
                assert await ingest.stop() == 0
            await eventually(lambda: not server.streaming)
        assert len(taken.events) <= 20
        assert len(taken.events) == 20 or kill
        connects = server.connects
        ingest = await start.start("ingest", **settings)
        await eventually(lambda: "budget" in ingest.log())
        assert server.connects == connects
