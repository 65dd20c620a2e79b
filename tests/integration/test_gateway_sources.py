"""What ingest says of its source reaches clients, rooms and whoever asks over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aio_pika
import aiohttp
import pytest
import socketio
from structlog.testing import capture_logs

from deploy.sources import ask, lines
from services.gateway.sources import Sources
from shared import sources
from shared.broker import connect
from shared.sources import SourceStatus
from shared.topology import SOURCES_EXCHANGE
from tests.support.broker import Broker
from tests.support.browsers import browser
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import tweet
from tests.support.waiting import eventually

SPENT = "the daily budget is used up; it goes on at 00:00 UTC"


class Listener:
    """A client that remembers what it was told of sources."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self.sources: list[dict[str, Any]] = []
        self.asking: list[tuple[dict[str, Any], str]] = []
        self._client = client
        client.on("source", self._on_source)
        client.on("asking", self._on_asking)

    async def subscribe(self, room: str) -> None:
        assert await self._client.call("subscribe", room, timeout=10) is True

    def states(self) -> list[tuple[str, str, str]]:
        return [(one["source"], one["state"], one["detail"]) for one in self.sources]

    def seconds(self, room: str) -> list[tuple[str, float | None]]:
        return [(one["source"], one["seconds"]) for one, name in self.asking if name == room]

    async def _on_source(self, source: dict[str, Any]) -> None:
        self.sources.append(source)

    async def _on_asking(self, asking: dict[str, Any], room: str) -> None:
        self.asking.append((asking, room))


@asynccontextmanager
async def listener(port: int) -> AsyncIterator[Listener]:
    client = socketio.AsyncClient(reconnection=False)
    listening = Listener(client)
    await client.connect(f"http://localhost:{port}", transports=["websocket"], wait_timeout=10)
    try:
        yield listening
    finally:
        await client.disconnect()


@asynccontextmanager
async def ingest(broker: Broker) -> AsyncIterator[Any]:
    """A function that says something of a source as ingest does: with its rights."""
    async with connect(broker.amqp_url("ingest"), name="test ingest") as connection:
        channel = await connection.channel(confirms=True)

        async def say(status: SourceStatus | bytes) -> None:
            body = status if isinstance(status, bytes) else sources.pack(status)
            await channel.publish(SOURCES_EXCHANGE, body, type=sources.TYPE)

        yield say


async def heard(broker: Broker) -> None:
    """Wait until the gateway listens: its queue for it is bound a moment after it is ready."""

    def listening() -> bool:
        rows = broker.get(f"/api/exchanges/%2F/{SOURCES_EXCHANGE}/bindings/source") or []
        return any(str(row["destination"]).startswith("gateway.sources.") for row in rows)

    await eventually(lambda: asyncio.to_thread(listening), what="the gateway listens")


async def test_everybody_is_told_of_a_change_and_who_comes_later_of_what_is_wrong(broker: Broker) -> None:
    async with gateway(broker) as app, ingest(broker) as say, listener(app.port) as early:
        await heard(broker)
        await say(SourceStatus(source="bsky", state="live"))
        await say(SourceStatus(source="x", state="spent", detail=SPENT, resumes_in_s=600))
        await eventually(lambda: early.states() == [("bsky", "live", ""), ("x", "spent", SPENT)])
        assert early.sources[1]["resumes_in_s"] == 600
        async with listener(app.port) as late:
            await eventually(lambda: late.states() == [("x", "spent", SPENT)])
            for _ in range(20):
                await say(SourceStatus(source="x", state="spent", detail=SPENT, resumes_in_s=590))
            await say(SourceStatus(source="x", state="live"))
            await eventually(lambda: late.states()[-1] == ("x", "live", ""))
            assert len(late.sources) == 2, "a status that is repeated is told to nobody"
        await eventually(lambda: len(early.sources) == 3)


async def test_a_room_is_told_whether_it_is_asked_for_and_no_other_room_is(broker: Broker) -> None:
    async with gateway(broker) as app, ingest(broker) as say, listener(app.port) as nfl, listener(app.port) as other:
        await heard(broker)
        await nfl.subscribe("NFL")
        await other.subscribe("tag/ai")
        await say(SourceStatus(source="x", asking={"term.nfl": 40.0}, not_asked=("all",), not_asked_count=1))
        await eventually(lambda: nfl.seconds("nfl") == [("x", 40)])
        async with listener(app.port) as late:
            await late.subscribe("nfl")
            await late.subscribe("")
            await late.subscribe("nyc")
            await eventually(lambda: len(late.asking) == 2)
            [(source, seconds)] = late.seconds("nfl")
            assert source == "x"
            assert seconds is not None
            assert 20 < seconds <= 40
            assert late.seconds("all") == [("x", None)]
            for left in (39.5, 39, 38.5):
                await say(SourceStatus(source="x", asking={"term.nfl": left}, not_asked=("all",), not_asked_count=1))
            await say(SourceStatus(source="x"))
            await eventually(lambda: late.seconds("all") == [("x", None), ("x", 0)])
            await eventually(lambda: late.seconds("nfl")[1:] == [("x", 0)])
            assert late.seconds("nyc") == []
        assert nfl.seconds("nfl") == [("x", 40), ("x", 0)]
        assert other.asking == []


async def test_the_sources_can_be_listed(broker: Broker) -> None:
    async with gateway(broker) as app, ingest(broker) as say, aiohttp.ClientSession() as http:
        await heard(broker)

        async def listed() -> Any:
            async with http.get(f"http://127.0.0.1:{app.port}/_/api/sources") as response:
                assert response.headers["Content-Security-Policy"]
                return (await response.json())["sources"]

        assert await listed() == []
        await say(SourceStatus(source="x", asking={"term.nfl": 40}, not_asked=("term.inf",), not_asked_count=7))
        # Not the metric, in which another test's gateway may still have its say.
        await eventually(listed)
        assert await listed() == [
            {
                "source": "x",
                "state": "live",
                "detail": "",
                "resumes_in_s": None,
                "asking": 1,
                "not_asked": 7,
                "not_asked_labels": ["term.inf"],
            }
        ]
        answer = await asyncio.to_thread(ask, f"http://127.0.0.1:{app.port}")
        assert lines(answer) == ["source   x: live; asking for 1 label; not asked for 7 labels: term.inf, …"]
    assert await asyncio.to_thread(ask, f"http://127.0.0.1:{app.port}") is None, "nobody answers any more"


async def test_a_source_that_falls_silent_is_gone(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.app.Sources", partial(Sources, forgotten_after_s=0.5))
    monkeypatch.setattr("services.gateway.notices.FORGET_EVERY_S", 0.05)
    async with gateway(broker) as app, ingest(broker) as say, listener(app.port) as client:
        await heard(broker)
        await client.subscribe("nfl")
        await say(SourceStatus(source="x", state="away", detail="no answer", asking={"term.nfl": 40}))
        await eventually(lambda: client.states() == [("x", "away", "no answer"), ("x", "gone", "")])
        await eventually(lambda: client.seconds("nfl") == [("x", 40), ("x", 0)])
        assert metric("roost_gateway_sources") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        sources.pack(SourceStatus(source="")),
        sources.pack(SourceStatus(source="x", asking={"term.nfl": float("nan")})),
        sources.pack(SourceStatus(source="x", state="on fire")),  # type: ignore[arg-type]
    ],
    ids=["empty", "no MessagePack", "deep", "no name", "no number", "no state"],
)
async def test_what_can_not_be_read_is_counted_and_stops_nobody(broker: Broker, body: bytes) -> None:
    async with gateway(broker) as app, ingest(broker) as say, listener(app.port) as client:
        await heard(broker)
        unreadable = metric("roost_gateway_unreadable_total")
        await say(body)
        await say(SourceStatus(source="x", state="away", detail="no answer"))
        await eventually(lambda: client.states() == [("x", "away", "no answer")])
        assert metric("roost_gateway_unreadable_total") == unreadable + 1


async def test_a_broker_with_older_definitions_costs_only_what_sources_say(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.notices.SETTLE_S", 0.05)
    monkeypatch.setattr("services.gateway.notices.RETRY_S", 0.05)
    admin = await aio_pika.connect(broker.amqp_url("admin"))
    async with admin:
        channel = await admin.channel()
        await channel.exchange_delete(SOURCES_EXCHANGE)
        try:
            with capture_logs() as logs:
                async with router(broker), gateway(broker) as app, browser(app.port) as client:
                    await client.call("subscribe", "nfl")
                    said = "lacks the exchange sources"
                    await eventually(lambda: any(said in line["event"] for line in logs))
                    await publish(broker, tweet("nfl goes on"))
                    await eventually(lambda: client.texts("nfl") == ["nfl goes on"])
                    assert app.health.ready
                    await channel.declare_exchange(SOURCES_EXCHANGE, aio_pika.ExchangeType.FANOUT, durable=True)
                    await heard(broker)
                    assert client.status == [True], "nobody was cut off"
            assert sum(said in line["event"] for line in logs) == 1, "it is said once"
        finally:
            await channel.declare_exchange(SOURCES_EXCHANGE, aio_pika.ExchangeType.FANOUT, durable=True)
