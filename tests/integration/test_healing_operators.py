"""What an operator does to a broker under load: whatever is deleted, undone or closed is there again by itself."""

import asyncio
from collections.abc import Callable

import pytest

from tests.integration.test_router import is_depth
from tests.support.broker import Broker
from tests.support.exchange import consumer, publish
from tests.support.management import bound_to, load_definitions, queues, request
from tests.support.services import metric, router, until_ready
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.whole import whole


async def delete(broker: Broker, kind: str, name: str) -> None:
    await asyncio.to_thread(request, broker, "DELETE", f"/api/{kind}/%2F/{name}")


@pytest.fixture(autouse=True)
def no_archive(broker: Broker) -> None:
    """An archive of an earlier test may have left its queue, which takes what `router.raw` does not."""
    for name in queues(broker, "archive.raw"):
        request(broker, "DELETE", f"/api/queues/%2F/{name}")


def gateways_own(broker: Broker) -> str:
    return next(name for name in queues(broker, "gateway.") if name.count(".") == 1)


@pytest.mark.parametrize(
    "find",
    [
        pytest.param(lambda broker: queues(broker, "router.events.")[0], id="the router's for events"),
        pytest.param(lambda broker: "ingest.state.list", id="ingest's state"),
        pytest.param(gateways_own, id="the gateway's"),
        pytest.param(lambda broker: f"{gateways_own(broker)}.overflow", id="the gateway's for what it missed"),
    ],
)
async def test_a_queue_that_was_deleted_is_there_again_and_bound(
    broker: Broker, find: Callable[[Broker], str]
) -> None:
    async with whole(broker) as roost:
        name = find(broker)
        losses = metric("roost_broker_losses_total")
        # The management API refuses to for exclusive ones.
        await asyncio.to_thread(broker.ctl, "delete_queue", name)
        await eventually(lambda: metric("roost_broker_losses_total") > losses)
        await roost.works()


async def test_the_queue_of_raw_batches_is_made_anew_and_what_is_published_meanwhile_waits(broker: Broker) -> None:
    async with whole(broker) as roost:
        await delete(broker, "queues", "router.raw")
        for number in range(20):
            roost.source.say(f"nfl, said without a queue {number}")
        await roost.works()
        await roost.loses_nothing()
    policy = request(broker, "GET", "/api/queues/%2F/router.raw?columns=policy,durable,arguments")
    assert policy["durable"]
    assert policy["arguments"] == {"x-queue-type": "classic"}


async def test_a_binding_of_the_raw_batches_that_was_undone_is_made_anew(broker: Broker) -> None:
    async with whole(broker) as roost:
        await delete(broker, "bindings", "e/tweets.raw/q/router.raw/~")
        roost.source.say("nfl, said without a binding")
        await roost.works()
        await roost.loses_nothing()


async def test_a_binding_of_ingests_state_that_was_undone_is_made_anew(broker: Broker) -> None:
    async with whole(broker) as roost:
        await delete(broker, "bindings", "e/ingest.state/q/ingest.state.list/list")
        roost.source.say("nfl, and the place in the source moves")
        await eventually(lambda: bound_to(broker, "ingest.state", "ingest.state.list"))
        await roost.works()


@pytest.mark.parametrize("exchange", ["tweets.raw", "ingest.state"])
async def test_an_exchange_that_was_deleted_is_used_again_when_it_is_there_again(
    broker: Broker, exchange: str
) -> None:
    async with whole(broker) as roost:
        losses = metric("roost_broker_losses_total")
        await delete(broker, "exchanges", exchange)
        try:
            roost.source.say("nfl, said without an exchange")
            await eventually(lambda: metric("roost_broker_losses_total") > losses)
            await eventually(lambda: not all(service.health.ready for service in roost.services))
        finally:
            await load_definitions(broker)
        await roost.works()
        await roost.loses_nothing()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bindings are made sure of all the time, and what has failed is soon tried again."""
    monkeypatch.setattr("shared.broker.connection.REBIND_EVERY_S", 0.2)
    monkeypatch.setattr("services.gateway.bindings.AUDIT_S", 0.2)
    monkeypatch.setattr("services.gateway.notices.SETTLE_S", 0.2)
    monkeypatch.setattr("services.gateway.notices.RETRY_S", 0.2)
    monkeypatch.setattr("services.ingest.app.LOOK_FOR_EXCHANGE_S", 0.2)


async def test_the_rooms_of_an_exchange_that_was_deleted_are_bound_to_the_new_one(
    broker: Broker, often: None
) -> None:
    async with whole(broker) as roost:
        await delete(broker, "exchanges", "tweets")
        try:
            await eventually(lambda: not roost.router.health.ready)
            await eventually(lambda: not roost.gateway.health.ready)
        finally:
            await load_definitions(broker)
        await roost.works()


@pytest.mark.parametrize(
    "exchange", ["sources", "archive.answers", pytest.param("gateway.overflow", marks=pytest.mark.slow)]
)
async def test_an_exchange_of_the_surroundings_that_was_deleted_is_listened_to_again(
    broker: Broker, often: None, exchange: str
) -> None:
    async with whole(broker) as roost:
        await delete(broker, "exchanges", exchange)
        try:
            await roost.works()
        finally:
            await load_definitions(broker)
        await eventually(lambda: bound_to(broker, exchange, "gateway."))
        await roost.works()


async def test_without_the_exchange_of_tweets_the_router_leaves_raw_batches_in_their_queue(broker: Broker) -> None:
    async with router(broker) as app:
        async with consumer(broker, ["term.before"]):
            await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
            await delete(broker, "exchanges", "tweets")
            try:
                await eventually(lambda: not app.health.ready)
                await publish(broker, tweet("before it is there again"))
                await eventually(lambda: is_depth(broker, 1))
            finally:
                await load_definitions(broker)
        await until_ready(app)
        await eventually(lambda: is_depth(broker, 0))
        async with consumer(broker, ["term.after"]) as taken:
            await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
            await publish(broker, tweet("after that"))
            await eventually(lambda: taken.texts() == ["after that"])


@pytest.mark.parametrize("purpose", ["sources", "answers"])
async def test_a_queue_that_only_serves_the_surroundings_is_there_again_and_tweets_flow_meanwhile(
    broker: Broker, often: None, purpose: str
) -> None:
    def find() -> str:
        return next((name for name in queues(broker, "gateway.") if purpose in name.split(".")), "")

    async with whole(broker) as roost:
        await eventually(find)
        name = find()
        await asyncio.to_thread(broker.ctl, "delete_queue", name)
        await roost.works()
        await eventually(lambda: find() not in ("", name))
        await roost.loses_nothing()


async def test_without_the_exchange_for_what_sources_say_tweets_flow(broker: Broker, often: None) -> None:
    async with whole(broker) as roost:
        losses = metric("roost_broker_losses_total")
        await delete(broker, "exchanges", "sources")
        try:
            # The next word of the source closes the channel, once.
            roost.source.report.away("something new to tell")
            roost.source.report.live()
            await eventually(lambda: metric("roost_broker_losses_total") > losses)
            losses = metric("roost_broker_losses_total")
            await roost.works()
            await roost.loses_nothing()
            assert metric("roost_broker_losses_total") == losses
        finally:
            await load_definitions(broker)
        await roost.works()


@pytest.mark.parametrize("user", ["ingest", "router", "gateway"])
async def test_connections_that_an_operator_closes_are_opened_again(broker: Broker, user: str) -> None:
    async with whole(broker) as roost:
        losses = metric("roost_broker_losses_total")
        await asyncio.to_thread(broker.ctl, "close_all_user_connections", user, "maintenance")
        await eventually(lambda: metric("roost_broker_losses_total") > losses)
        await roost.works()
