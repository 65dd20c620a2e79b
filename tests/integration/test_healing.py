"""What goes away comes back: the broker, a connection, a queue. Everything works again by itself."""

import asyncio
import time

import aio_pika
import pytest

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from shared.broker import BrokerLostError, connect
from shared.lifecycle import Service
from shared.sources import SourceStatus
from tests.integration.test_gateway_sources import heard, listener
from tests.integration.test_gateway_sources import ingest as sources_of
from tests.integration.test_ingest import Posts
from tests.support.broker import Broker
from tests.support.browsers import browser
from tests.support.exchange import consumer, publish
from tests.support.proxy import proxy
from tests.support.services import gateway, metric, router, running, until_ready
from tests.support.tweets import tweet
from tests.support.waiting import eventually


async def test_after_a_restart_of_the_broker_every_wanted_binding_is_back_and_tweets_and_sources_are_heard_of(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A broker takes its time to restart; nobody waits longer than that.
    monkeypatch.setattr("shared.broker.session.LONGEST_DELAY_S", 0.5)
    source = Posts(can_wait=True, number=0)
    ingest = IngestApp(IngestSettings(amqp_url=broker.amqp_url("ingest")), source)
    async with (
        router(broker) as routing,
        gateway(broker) as app,
        running(ingest),
        browser(app.port) as client,
        listener(app.port) as listening,
    ):
        for room in ("nfl", "url", "tag/a.b"):
            await client.call("subscribe", room)
        assert client.status == [True]
        await asyncio.to_thread(broker.restart)
        await eventually(lambda: client.status[:2] == [True, False], what="the page is told that the broker is away")
        assert client.connected
        assert await asyncio.wait_for(client.call("subscribe", "while/away"), 10) is True
        for service in (routing, app, ingest):
            await until_ready(service)
        await eventually(lambda: client.status == [True, False, True])
        keys = sorted(key for destination, key in broker.bindings() if destination.startswith("gateway."))
        assert keys == ["action.destroy", "action.update", "has_url", "tag.a%2Eb", "term.nfl", "term.while/away"]

        async def arrives() -> bool:
            await publish(broker, tweet("nfl after the restart"))
            return "nfl after the restart" in client.texts("nfl")

        await eventually(arrives)
        await heard(broker)
        async with sources_of(broker) as say:
            await say(SourceStatus(source="x", state="away", detail="no answer"))
        await eventually(lambda: ("x", "away", "no answer") in listening.states())


@pytest.mark.slow
async def test_a_connection_that_falls_silent_is_given_up_and_nothing_published_on_it_is_lost(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.broker.connection.HEARTBEAT_S", 1)
    source = Posts(can_wait=True, number=20_000)
    losses = metric("roost_broker_losses_total")
    async with proxy(broker) as between, router(broker), consumer(broker, ["term.post"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
        settings = IngestSettings(amqp_url=f"amqp://ingest:ingest@127.0.0.1:{between.port}/", buffer_events=500)
        async with running(app := IngestApp(settings, source)):
            await eventually(lambda: len(taken.texts()) > 1000)
            between.stall()
            await eventually(lambda: not app.health.ready, what="the silence is noticed", within_s=20)
            await eventually(lambda: metric("roost_broker_losses_total") > losses, what="it is given up", within_s=20)
            assert source.read_so_far < 20_000
            between.flow()
            await eventually(lambda: len(set(taken.texts())) == 20_000, within_s=30)
            assert app.health.ready


async def test_a_router_whose_queue_was_deleted_takes_it_up_again(broker: Broker) -> None:
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection, router(broker) as app, consumer(broker, ["term.again"]) as taken:
        channel = await connection.channel()
        await channel.queue_delete("router.raw")
        queue = await channel.declare_queue("router.raw", durable=True, arguments={"x-queue-type": "classic"})
        await queue.bind("tweets.raw", "")
        await eventually(lambda: not app.health.ready)
        await until_ready(app)
        await publish(broker, tweet("and again"))
        await eventually(lambda: taken.texts() == ["and again"])


async def test_an_ingest_that_finds_its_source_taken_is_ready_again_when_it_stands_by(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.app.PATIENCE_S", 3.0)
    async with proxy(broker) as between:
        url = f"amqp://ingest:ingest@127.0.0.1:{between.port}/"
        first = IngestApp(IngestSettings(amqp_url=url), Posts(can_wait=True, number=0))
        other = Posts(can_wait=True, number=0)
        second = IngestApp(IngestSettings(amqp_url=broker.amqp_url("ingest")), other)
        async with running(first):
            await until_ready(first)
            async with running(second):
                await until_ready(second)
                between.shut()
                await eventually(lambda: not first.health.ready)
                await eventually(lambda: other.reads == 1, what="the other one has taken over")
                between.flow()
                # As long as it believes that it has the source, and can publish nothing, it is not ready.
                await eventually(lambda: first.health.state()["broker"])
                assert not first.health.ready
                await until_ready(first)
                assert metric("roost_ingest_active") == 0
            await eventually(lambda: metric("roost_ingest_active") == 1)
            await until_ready(first)


async def test_a_mistake_in_classification_costs_one_batch_and_not_the_router(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with router(broker, prefetch=1), consumer(broker, ["term.fine"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
        with monkeypatch.context() as patched:
            patched.setattr("services.router.matcher.Matcher.keys_of", lambda *_: 1 / 0)
            dead = metric("roost_router_dead_lettered_total")
            await publish(broker, tweet("fine, but unlucky"))
            await eventually(lambda: metric("roost_router_dead_lettered_total") == dead + 1)
        await publish(broker, tweet("fine"))
        await eventually(lambda: taken.texts() == ["fine"])


async def test_whoever_is_told_of_a_loss_sees_the_connection_lost(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the library has stumbled")

    async with connect(broker.amqp_url("ingest"), name="test") as connection:
        channel = await connection.channel(confirms=True)
        monkeypatch.setattr(aio_pika.Exchange, "publish", fail)
        with pytest.raises(BrokerLostError, match="stumbled"):
            await channel.publish("tweets.raw", b"", type="raw")
        with pytest.raises(BrokerLostError, match="stumbled"):
            await asyncio.wait_for(connection.lost(), 1)


@pytest.mark.parametrize("name", ["ingest", "router", "gateway"])
async def test_a_service_that_connects_to_a_silent_host_stops_at_once(broker: Broker, name: str) -> None:
    async with proxy(broker) as between:
        between.stall()
        url = f"amqp://{name}:{name}@127.0.0.1:{between.port}/"
        services: dict[str, Service] = {
            "ingest": IngestApp(IngestSettings(amqp_url=url), Posts(can_wait=True, number=0)),
            "router": RouterApp(RouterSettings(amqp_url=url)),
            "gateway": GatewayApp(GatewaySettings(amqp_url=url, port=0)),
        }
        async with running(services[name]):
            await asyncio.wait_for(between.accepted.wait(), 5)
            began = time.monotonic()
        assert time.monotonic() - began < 6
