"""The management API is where a router takes its snapshots. It may fail alone, or in the middle of one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.router.app import RouterApp
from services.router.settings import RouterSettings
from shared import demand
from tests.support.broker import Broker
from tests.support.exchange import consumer, publish
from tests.support.proxy import Proxy, proxy
from tests.support.services import metric, running, until_ready
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.whole import through


@asynccontextmanager
async def router_behind(broker: Broker, management: Proxy, amqp: Proxy | None = None) -> AsyncIterator[RouterApp]:
    url = through(amqp.port, "router") if amqp else broker.amqp_url("router")
    management_url = f"http://router:router@127.0.0.1:{management.port}"
    async with running(app := RouterApp(RouterSettings(amqp_url=url, management_url=management_url))):
        yield app


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots often, and given up soon."""
    monkeypatch.setattr(demand, "SNAPSHOT_SILENCE_S", 0.3)
    monkeypatch.setattr(demand, "SNAPSHOT_INTERVAL_S", 0.2)
    monkeypatch.setattr(demand, "SNAPSHOT_SHARE", 1)
    monkeypatch.setattr(demand, "RETRY_S", 0.1)


async def test_a_running_router_does_not_need_the_management_api_and_follows_what_people_want(
    broker: Broker, impatient: None
) -> None:
    async with (
        proxy(broker, management=True) as management,
        proxy(broker) as amqp,
        router_behind(broker, management, amqp) as app,
        consumer(broker, ["term.early"]) as early,
    ):
        await until_ready(app)
        await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
        management.shut()
        async with consumer(broker, ["term.late"]) as late:
            await eventually(lambda: metric("roost_router_wanted_keys") >= 2)
            await publish(broker, tweet("early and late"))
            await eventually(lambda: late.texts() == early.texts() == ["early and late"])
            assert app.health.ready
            # Nor when it has to connect anew meanwhile: what it knew will do.
            amqp.cut()
            await eventually(lambda: not app.health.ready)
            await until_ready(app)
            await publish(broker, tweet("early and late again"))
            await eventually(
                lambda: "early and late again" in late.texts() and "early and late again" in early.texts()
            )
        drift = metric("roost_demand_drift_total")
        management.flow()
        await until_ready(app)
        assert metric("roost_demand_drift_total") == drift


@pytest.mark.parametrize("fault", ["cut in the middle", "silent in the middle", "silent", "away"])
async def test_a_router_that_starts_waits_for_a_whole_snapshot_however_the_api_fails(
    broker: Broker, impatient: None, fault: str
) -> None:
    async with (
        consumer(broker, [f"term.number{number}" for number in range(300)]) as taken,
        proxy(broker, management=True) as management,
    ):
        if fault == "cut in the middle":
            management.cut_after(1_000)
        elif fault == "silent in the middle":
            management.stall_after(1_000)
        elif fault == "silent":
            management.stall()
        else:
            management.shut()
        async with router_behind(broker, management) as app:
            await eventually(lambda: app.health.state()["broker"])
            await eventually(lambda: management.failed >= 2, what="it has tried again")
            assert not app.health.ready
            management.flow()
            await until_ready(app)
            await publish(broker, tweet("number299"))
            await eventually(lambda: "number299" in taken.texts())


async def test_the_connection_to_the_broker_may_be_lost_while_a_snapshot_is_under_way(
    broker: Broker, impatient: None
) -> None:
    async with (
        consumer(broker, [f"term.number{number}" for number in range(300)]) as taken,
        proxy(broker, management=True) as management,
        proxy(broker) as amqp,
    ):
        management.stall_after(1_000)
        async with router_behind(broker, management, amqp) as app:
            await eventually(lambda: management.failed >= 1, what="a snapshot is under way")
            losses = metric("roost_broker_losses_total")
            amqp.cut()
            await eventually(lambda: metric("roost_broker_losses_total") > losses)
            assert not app.health.ready
            management.flow()
            await until_ready(app)
            await publish(broker, tweet("number299"))
            await eventually(lambda: "number299" in taken.texts())
