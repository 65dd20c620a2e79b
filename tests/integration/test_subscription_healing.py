"""Breaks under subscriptions: they are mended from the archive, or get one honest gap."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.gateway.app import PREFETCH, GatewayApp
from services.gateway.settings import GatewaySettings
from tests.integration.test_history import knows_archive
from tests.integration.test_subscriptions import NFL, TEXT, names, shown, texts
from tests.support.archive import archive
from tests.support.broker import Broker
from tests.support.browsers import Client, browser
from tests.support.exchange import publish, publish_one_by_one
from tests.support.management import Policy
from tests.support.proxy import Proxy, proxy
from tests.support.services import gateway, metric, router, running, until_ready
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually


@asynccontextmanager
async def behind_proxy(broker: Broker) -> AsyncIterator[tuple[GatewayApp, Proxy]]:
    """A gateway whose connection to the broker can be broken."""
    async with proxy(broker) as between:
        url = f"amqp://gateway:gateway@127.0.0.1:{between.port}/"
        async with gateway(broker, amqp_url=url) as app:
            yield app, between


def page(client: Client, uid: str, held: dict[str, int] | None = None) -> dict[str, str]:
    """What a subscription's page shows: id → text."""
    return {id: document["text"] for id, document in shown(client.told.get(uid, ()), held).items()}


async def test_what_came_while_the_broker_was_away_is_brought_once_and_without_a_gap(
    broker: Broker, tmp_path: Path
) -> None:
    async with router(broker), archive(broker, tmp_path), behind_proxy(broker) as (app, between):
        await knows_archive(app)
        async with browser(app.port) as client, browser(app.port) as holder:
            await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
            await client.call("subscribe", {"uid": "two", **TEXT, "createQuery": {"term": ["nfl", "nyc"]}})
            one, gone, lost = tweet("nfl one"), tweet("nfl gone"), tweet("nfl that loses its term")
            await publish(broker, one, gone, lost)
            await eventually(lambda: len(page(client, "a")) == len(page(client, "two")) == 3)
            held = {one.id: one.mtime, gone.id: gone.mtime}
            await holder.call("subscribe", {"uid": "held", **TEXT, "documents": held})
            await eventually(lambda: all(room.recent.covered_from is not None for room in app._rooms.all()))
            between.shut()
            await eventually(lambda: client.status[-1] is False)
            new = [tweet(f"nfl {number}") for number in range(20)]
            both, brief = tweet("nfl in nyc"), tweet("nfl brief")
            await publish(broker, *new, tweet("of something else"), both, brief)
            await publish(broker, edited(one, "nfl one 2"), deleted(gone), edited(lost, "no more"), deleted(brief))
            # Who comes meanwhile is no worse off.
            await client.call("subscribe", {"uid": "late", **TEXT, **NFL})
            await publish(broker, tweet("nfl last"))
            between.flow()
            await eventually(lambda: client.status[-1] is True, within_s=30)
            wanted = {one.id: "nfl one 2", lost.id: "no more", both.id: both.text} | {t.id: t.text for t in new}
            await eventually(lambda: set(page(client, "a").values()) == {*wanted.values(), "nfl last"})
            await eventually(lambda: page(client, "two") == page(client, "a"))
            await eventually(lambda: page(holder, "held", held) == {one.id: "nfl one 2"})
            await eventually(lambda: "nfl last" in texts(client, "late"))
            assert sorted(names(holder, "held")) == ["destroy", "save"]
            assert not any(client.of(uid, "gap") for uid in ("a", "two", "late"))
            # And it hears on.
            await publish(broker, tweet("nfl after"), *map(deleted, new))
            await eventually(lambda: len(page(client, "a")) == 5)
            await eventually(lambda: page(client, "two") == page(client, "a"))


async def test_without_an_archive_each_subscription_gets_one_gap(broker: Broker) -> None:
    async with router(broker), behind_proxy(broker) as (app, between), browser(app.port) as client:
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        await client.call("subscribe", {"uid": "two", **TEXT, "createQuery": {"term": ["nfl", "nyc"]}})
        one = tweet("nfl one")
        await publish(broker, one)
        await eventually(lambda: texts(client, "a") == texts(client, "two") == ["nfl one"])
        seen = client.of("a", "create")[0]["seq"]
        between.shut()
        await eventually(lambda: client.status[-1] is False)
        between.flow()
        await eventually(lambda: client.status[-1] is True, within_s=30)
        await eventually(lambda: len(client.told["a"]) >= 2 and len(client.told["two"]) >= 2)
        await publish(broker, edited(one, "nfl goes on"))
        await eventually(lambda: texts(client, "a", "save") == texts(client, "two", "save") == ["nfl goes on"])
        gap = {"missed": None, "from": seen, "to": None}
        assert client.of("a", "gap") == client.of("two", "gap") == [gap]


async def test_whoever_holds_documents_alone_is_told_of_a_gap_too(broker: Broker) -> None:
    async with router(broker), behind_proxy(broker) as (app, between), browser(app.port) as client:
        one = tweet("one")
        await client.call("subscribe", {"uid": "a", **TEXT, "documents": {one.id: one.mtime}})
        assert names(client, "a") == ["gap"], "nobody can say what has become of it until now"
        await publish(broker, edited(one, "seen"))
        await eventually(lambda: texts(client, "a", "save") == ["seen"])
        seen = client.of("a", "save")[0]["seq"]
        between.shut()
        await eventually(lambda: client.status[-1] is False)
        await publish(broker, edited(one, "never seen", later_ms=2000))
        between.flow()
        await eventually(lambda: client.status[-1] is True, within_s=30)
        await eventually(lambda: len(client.of("a", "gap")) == 2)
        assert client.of("a", "gap")[1] == {"missed": None, "from": seen, "to": None}
        await publish(broker, deleted(one, later_ms=3000))
        await eventually(lambda: names(client, "a") == ["gap", "save", "gap", "destroy"])


async def test_what_a_full_queue_dropped_is_brought_once(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A second look at the room, just opened, would bring it as well.
    monkeypatch.setattr("services.gateway.seams.LOOKS_S", ())
    full = {"max-length": 20, "overflow": "drop-head"}
    async with (
        Policy(broker, r"^gateway\.[0-9a-f]+$", **full),
        router(broker),
        archive(broker, tmp_path),
        behind_proxy(broker) as (app, between),
        browser(app.port) as client,
    ):
        await knows_archive(app)
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        first = tweet("nfl first")
        await publish(broker, first)
        await eventually(lambda: len(page(client, "a")) == 1)
        overflows = metric("roost_gateway_overflows_total")
        between.stall()
        new = [tweet(f"nfl {number}") for number in range(PREFETCH + 100)]
        # The change is among what is dropped.
        await publish_one_by_one(broker, *new[: PREFETCH + 20], edited(first, "changed"), *new[PREFETCH + 20 :])
        between.resume()
        await eventually(lambda: len(page(client, "a")) == len(new) + 1, within_s=30)
        await eventually(lambda: page(client, "a")[first.id] == "changed")
        assert metric("roost_gateway_overflows_total") > overflows
        assert not client.of("a", "gap")


async def test_what_a_router_did_not_know_to_be_wanted_comes_a_little_later(broker: Broker, tmp_path: Path) -> None:
    async with archive(broker, tmp_path), gateway(broker) as app, browser(app.port) as client:
        await knows_archive(app)
        await client.call("subscribe", {"uid": "a", **TEXT, "createQuery": {"term": "nfl", "lang": "en"}})
        # With no router at all, the archive is the only one who has it.
        kept, gone = tweet("nfl kept"), tweet("nfl gone")
        await publish(broker, kept, gone, tweet("nfl", lang="de"), tweet("nothing"), deleted(gone))
        await eventually(lambda: page(client, "a") == {kept.id: "nfl kept"})
        async with router(broker):
            await publish(broker, edited(kept, "changed"))
            await eventually(lambda: page(client, "a") == {kept.id: "changed"})
        assert not client.of("a", "gap")


@pytest.mark.parametrize("archived", [True, False])
async def test_who_comes_while_an_archive_is_away_or_was_never_there_is_answered_and_told(
    broker: Broker, tmp_path: Path, archived: bool
) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as first:
        await first.call("subscribe", {"uid": "a", **TEXT, **NFL})
        one, other = tweet("nfl one"), tweet("nfl other")
        await publish(broker, one, other)
        await eventually(lambda: len(first.told.get("a", ())) == 2)
        since = first.of("a", "create")[0]["seq"]
        await publish(broker, edited(one, "changed"), deleted(other))
        await eventually(lambda: len(first.told["a"]) == 4)

        async def comes_back(asked: dict[str, Any], port: int) -> Client:
            async with browser(port) as client:
                held = {one.id: one.mtime, other.id: other.mtime}
                request = {"uid": "b", **TEXT, "documents": held, **asked}
                assert (await asyncio.wait_for(client.call("subscribe", request), 5))["uid"] == "b"
            return client

        if archived:
            # One that begins only now, and knows of nothing before.
            async with archive(broker, tmp_path):
                await knows_archive(app)
                await publish(broker, tweet("of something else"))
                client = await comes_back({**NFL, "since": since - 1}, app.port)
        else:
            client = await comes_back({**NFL, "since": since - 1}, app.port)
        assert sorted(names(client, "b")) == ["destroy", "gap", "save"], "what is in memory comes all the same"
        assert names(client, "b")[0] == "gap"
        [gap] = client.of("b", "gap")
        assert gap["from"] == since - 1
        # What becomes of the documents is known: nothing is missing of what is asked for here.
        client = await comes_back({}, app.port)
        assert sorted(names(client, "b")) == ["destroy", "save"]


async def test_who_comes_back_to_a_gateway_that_has_not_found_the_broker_yet_is_brought_all(
    broker: Broker, tmp_path: Path
) -> None:
    async with router(broker), archive(broker, tmp_path), proxy(broker) as between:
        async with gateway(broker) as app, browser(app.port) as client:
            await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
            one = tweet("nfl one")
            await publish(broker, one)
            await eventually(lambda: len(page(client, "a")) == 1)
            since = client.of("a", "create")[0]["seq"]
        new = tweet("nfl new")
        await publish(broker, edited(one, "changed"), new)
        between.stall()
        url = f"amqp://gateway:gateway@127.0.0.1:{between.port}/"
        starting = GatewayApp(GatewaySettings(amqp_url=url, port=0, unbind_after_s=0.2))
        async with running(starting):
            await eventually(lambda: starting.port)
            async with browser(starting.port) as client:
                request = {"uid": "a", **TEXT, **NFL, "documents": {one.id: one.mtime}, "since": since}
                coming = asyncio.create_task(client.call("subscribe", request))
                await eventually(between.accepted.is_set)
                await eventually(lambda: bool(starting._clients._subscribing._of))
                between.resume()
                await coming
                await eventually(lambda: page(client, "a", {one.id: one.mtime}).keys() == {one.id, new.id})
                assert not client.of("a", "gap")


@pytest.mark.slow
async def test_a_broker_that_is_started_again_costs_nothing(broker: Broker, tmp_path: Path) -> None:
    async with router(broker) as routing, archive(broker, tmp_path) as past, gateway(broker) as app:
        await knows_archive(app)
        async with browser(app.port) as client:
            await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
            one = tweet("nfl one")
            await publish(broker, one)
            await eventually(lambda: len(page(client, "a")) == 1)
            await asyncio.to_thread(broker.restart)
            for service in (routing, past, app):
                await until_ready(service)
            new = tweet("nfl new")
            await publish(broker, edited(one, "changed"), new)
            await eventually(lambda: page(client, "a") == {one.id: "changed", new.id: "nfl new"}, within_s=30)
            assert client.connected
            assert not client.of("a", "gap")
