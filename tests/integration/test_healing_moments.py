"""Connections that are cut, or fall silent, in the middle of one particular thing, before or after it has passed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from tests.support import proxy as methods
from tests.support.broker import Broker
from tests.support.exchange import Consumer, consumer, publish
from tests.support.ledger import Ledger, ledger
from tests.support.proxy import Method, Proxy, Trap, proxy
from tests.support.services import metric, running, until_ready
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.whole import Spoken, through, whole, wrong_bindings_of_ingest, wrong_bindings_of_router

pytestmark = pytest.mark.slow

Moment = tuple[Method, ...]
"""The last of methods that pass in this order."""

PUBLISH_RAW = methods.PUBLISH.of("tweets.raw")
PUBLISH_STATE = methods.PUBLISH.of("ingest.state")
PUBLISH_TWEETS = methods.PUBLISH.of("tweets")

OF_INGEST: list[Moment] = [
    (methods.START,),
    (methods.OPEN,),
    (methods.CHANNEL_OPEN,),
    (methods.CHANNEL_OPEN_OK,),
    (methods.SELECT,),
    (methods.DECLARE,),
    (methods.DECLARE_OK,),
    (methods.BIND,),
    (methods.BIND_OK,),
    (methods.CONSUME,),
    (methods.CONSUME_OK,),
    (methods.DELIVER,),
    (methods.ACK,),
    (PUBLISH_STATE,),
    (PUBLISH_STATE, methods.CONFIRM),
    (PUBLISH_RAW,),
    (PUBLISH_RAW, methods.CONFIRM),
]

OF_ROUTER: list[Moment] = [
    (methods.CHANNEL_OPEN,),
    (methods.DECLARE,),
    (methods.BIND,),
    (methods.UNBIND,),
    (methods.UNBIND_OK,),
    (methods.QOS_OK,),
    (methods.BIND.of("tweets.raw"),),
    (methods.CONSUME.of("router.raw"),),
    (methods.CONSUME.of("router.raw"), methods.CONSUME_OK),
    (methods.DELIVER.of("tweets.raw"),),
    (PUBLISH_TWEETS,),
    (PUBLISH_TWEETS, methods.CONFIRM),
    (methods.ACK,),
]

OF_GATEWAY_COMING_BACK: list[Moment] = [
    (methods.OPEN,),
    (methods.CHANNEL_OPEN,),
    (methods.DECLARE,),
    (methods.DECLARE_OK,),
    (methods.CONSUME,),
    (methods.CONSUME_OK,),
    (methods.BIND.of("term.nfl"),),
    (methods.BIND.of("term.nfl"), methods.BIND_OK),
]

OF_GATEWAY_AT_WORK: list[Moment] = [
    (methods.BIND.of("term.new"),),
    (methods.BIND.of("term.new"), methods.BIND_OK),
    (methods.UNBIND.of("term.old"),),
    (methods.UNBIND.of("term.old"), methods.UNBIND_OK),
    (methods.DELIVER.of("term.nfl"),),
    (methods.DELIVER.of("term.nfl"), methods.ACK),
]


def named(moment: Moment) -> str:
    return ", ".join(method.name for method in moment)


def cuts(moments: list[Moment]) -> pytest.MarkDecorator:
    """Each of these moments, before and after the broker or the service has got to know of it."""
    both = [
        pytest.param(one, after, id=f"{'after' if after else 'before'} {named(one)}")
        for one in moments
        for after in (False, True)
    ]
    return pytest.mark.parametrize(("moment", "after"), both)


@asynccontextmanager
async def ingest_behind(broker: Broker, between: Proxy) -> AsyncIterator[tuple[IngestApp, Spoken, Ledger]]:
    """An ingest of 30 tweets, and all that it has published."""
    source = Spoken()
    for number in range(30):
        source.say(f"tweet {number}")
    app = IngestApp(IngestSettings(amqp_url=through(between.port, "ingest")), source)
    async with ledger(broker) as taken, running(app):
        yield app, source, taken


async def ingest_has_lost_nothing(broker: Broker, app: IngestApp, source: Spoken, taken: Ledger) -> None:
    source.say("one more")
    await eventually(
        lambda: {one.id for one in source.said} == {document["id"] for document, _ in taken.events},
        what="all that was said is published",
    )
    await until_ready(app)
    await eventually(lambda: not wrong_bindings_of_ingest(broker))


@asynccontextmanager
async def router_behind(broker: Broker, between: Proxy) -> AsyncIterator[tuple[RouterApp, Consumer]]:
    """A router that finds five batches, and a consumer who wants them."""
    url, management_url = through(between.port, "router"), broker.management_url("router")
    async with consumer(broker, ["term.post"]) as taken:
        for number in range(5):
            await publish(broker, tweet(f"post {number}"))
        async with running(app := RouterApp(RouterSettings(amqp_url=url, management_url=management_url))):
            yield app, taken


async def router_has_lost_nothing(broker: Broker, app: RouterApp, taken: Consumer) -> None:
    await publish(broker, tweet("post 5"))
    await eventually(lambda: set(taken.texts()) == {f"post {number}" for number in range(6)})
    await until_ready(app)
    await eventually(lambda: not wrong_bindings_of_router(broker))


async def springs(trap: Trap) -> None:
    await eventually(trap.sprung.is_set, what="the moment has come")


@cuts(OF_INGEST)
async def test_ingest_loses_nothing_wherever_it_is_cut_off(broker: Broker, moment: Moment, after: bool) -> None:
    async with proxy(broker) as between:
        trap = between.cut_at(*moment, after=after)
        async with ingest_behind(broker, between) as (app, source, taken):
            await springs(trap)
            await ingest_has_lost_nothing(broker, app, source, taken)


@cuts(OF_ROUTER)
async def test_a_router_loses_nothing_wherever_it_is_cut_off(broker: Broker, moment: Moment, after: bool) -> None:
    async with proxy(broker) as between:
        trap = between.cut_at(*moment, after=after)
        async with router_behind(broker, between) as (app, taken):
            await springs(trap)
            await router_has_lost_nothing(broker, app, taken)


@cuts(OF_GATEWAY_COMING_BACK)
async def test_a_gateway_that_is_cut_off_while_it_comes_back_comes_back(
    broker: Broker, moment: Moment, after: bool
) -> None:
    async with proxy(broker) as between, whole(broker, gateway=through(between.port, "gateway")) as roost:
        trap = between.cut_at(*moment, after=after)
        between.cut()
        await springs(trap)
        await roost.works()


@cuts(OF_GATEWAY_AT_WORK)
async def test_a_gateway_has_its_rooms_bound_once_wherever_it_is_cut_off(
    broker: Broker, moment: Moment, after: bool
) -> None:
    async with proxy(broker) as between, whole(broker, gateway=through(between.port, "gateway")) as roost:
        assert await roost.page.call("subscribe", "old") is True
        losses = metric("roost_broker_losses_total")
        trap = between.cut_at(*moment, after=after)
        assert await roost.page.call("unsubscribe", "old") is True
        assert await roost.page.call("subscribe", "new") is True
        roost.rooms.append("new")
        roost.source.say("nfl, to be delivered")
        await springs(trap)
        await eventually(lambda: metric("roost_broker_losses_total") > losses)
        await roost.works()


@pytest.fixture
def short_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.broker.connection.HEARTBEAT_S", 1)


@pytest.mark.usefixtures("short_heartbeat")
async def test_ingest_loses_nothing_when_its_connection_falls_silent(broker: Broker) -> None:
    async with proxy(broker) as between:
        losses = metric("roost_broker_losses_total")
        trap = between.stall_at(PUBLISH_RAW, methods.CONFIRM, after=False)
        async with ingest_behind(broker, between) as (app, source, taken):
            await springs(trap)
            await eventually(lambda: not app.health.ready, what="it says that it can't work")
            await eventually(lambda: metric("roost_broker_losses_total") > losses)
            between.flow()
            await ingest_has_lost_nothing(broker, app, source, taken)


@pytest.mark.usefixtures("short_heartbeat")
@pytest.mark.parametrize("moment", [(methods.BIND,), (PUBLISH_TWEETS,)], ids=named)
async def test_a_router_loses_nothing_when_its_connections_fall_silent(broker: Broker, moment: Moment) -> None:
    async with proxy(broker) as between:
        losses = metric("roost_broker_losses_total")
        trap = between.stall_at(*moment, after=False)
        async with router_behind(broker, between) as (app, taken):
            await springs(trap)
            await eventually(lambda: not app.health.ready, what="it says that it can't work")
            await eventually(lambda: metric("roost_broker_losses_total") > losses)
            between.flow()
            await router_has_lost_nothing(broker, app, taken)


@pytest.mark.usefixtures("short_heartbeat")
async def test_a_gateway_whose_connection_falls_silent_while_it_binds_has_all_rooms_bound_once(
    broker: Broker,
) -> None:
    async with proxy(broker) as between, whole(broker, gateway=through(between.port, "gateway")) as roost:
        trap = between.stall_at(methods.BIND.of("term.new"), after=True)
        roost.rooms.append("new")
        # Answered when the broker has bound it, or turns out to be away.
        assert await roost.page.call("subscribe", "new") is True
        assert trap.sprung.is_set()
        await eventually(lambda: not roost.gateway.health.ready)
        between.flow()
        await roost.works()
