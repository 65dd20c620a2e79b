"""What subscriptions may cost: documents that are followed, places, requests; and nothing once they are over."""

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.gateway.connection import Connection
from services.gateway.subscriptions.fields import Projection
from services.gateway.subscriptions.interest import Interest
from services.gateway.subscriptions.query import Query
from tests.integration.test_history import knows_archive
from tests.integration.test_subscriptions import NFL, TEXT, names, nothing_left, texts
from tests.support.archive import archive
from tests.support.broker import Broker
from tests.support.browsers import Client, browser
from tests.support.engineio_client import Poller, RawSocket, all_of, feeding
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually
from tests.support.wire import refused


def alternatives(*terms: str) -> dict[str, Any]:
    """New tweets with one of some terms."""
    return {**TEXT, "createQuery": {"term": list(terms)}}


def let_go(client: Client, uid: str) -> list[str]:
    """The ids that a subscription was told not to be told of any more, in their order."""
    return [id for payload in client.of(uid, "unfollow") for id in payload["ids"]]


def created(raw: RawSocket, uid: str) -> list[str]:
    """The texts of all that came to a subscription because it is new."""
    return [document["text"] for (document,) in raw.named(f"{uid}:tweet:create")]


async def test_where_queries_for_all_are_forbidden_a_query_has_to_name_a_label(broker: Broker) -> None:
    async with router(broker), gateway(broker, queries_for_all=False) as app, browser(app.port) as client:
        for query in ({}, {"user.screen_name": "ann"}, {"has_url": False}, {"lang": "en", "has_media": False}):
            answer = await client.call("subscribe", {"uid": "a", **TEXT, "createQuery": query})
            if "lang" in query:
                assert answer["labels"] == ["lang.en"]
            else:
                assert refused(answer) == "not_allowed"
                assert "a label" in answer["error"]["message"]
        # Who asks for no new ones asks for none of all.
        held = tweet("held")
        await client.call("subscribe", {"uid": "b", **TEXT, "documents": {held.id: held.mtime}})
        await publish(broker, edited(held, "changed"))
        await eventually(lambda: texts(client, "b", "save") == ["changed"])


async def test_of_what_a_page_held_the_oldest_are_let_go_with_a_notice(broker: Broker) -> None:
    async with (
        router(broker),
        gateway(broker, max_followed_each=10) as app,
        browser(app.port) as first,
        browser(app.port) as client,
    ):
        await first.call("subscribe", {"uid": "a", **TEXT, **NFL})
        tweets = [tweet(f"nfl {number}") for number in range(9)]
        await publish(broker, *tweets)
        await eventually(lambda: len(first.told.get("a", ())) == 9)
        unknown = {f"test:unknown {number}": 1 for number in range(4)}
        held = {one.id: one.mtime for one in reversed(tweets)} | unknown
        await client.call("subscribe", {"uid": "b", **TEXT, "documents": held})
        # There is no archive: of those that the gateway has not heard of, something may have been missed.
        assert names(client, "b") == ["gap", "unfollow"]
        # Of those that nobody knows nobody knows how old they are.
        assert let_go(client, "b") == list(unknown)[:3]
        await publish(broker, edited(tweet("", id="test:unknown 0", mtime=2), "of no interest"))
        await publish(broker, *(edited(one, f"{one.text} changed") for one in tweets))
        await eventually(lambda: len(client.of("b", "save")) == 9)
        assert len(first.of("a", "save")) == 9
        assert "unfollow" not in names(first, "a")
        # A subscription of its own ends what it followed.
        assert len(app._clients._subscribing._followed) == 9 + 10
        await client.call("unsubscribe", "b")
        assert len(app._clients._subscribing._followed) == 9


async def test_of_what_came_the_oldest_are_let_go_and_whoever_has_them_is_told(broker: Broker) -> None:
    before = metric("roost_gateway_let_go_total")
    async with (
        router(broker),
        gateway(broker, max_followed_each=10) as app,
        browser(app.port) as first,
        browser(app.port) as later,
    ):
        await first.call("subscribe", {"uid": "a", **TEXT, **NFL})
        tweets = [tweet(f"nfl {number}") for number in range(25)]
        await publish(broker, *tweets[:8])
        await eventually(lambda: len(first.told.get("a", ())) == 8)
        await later.call("subscribe", {"uid": "b", **TEXT, **NFL})
        await publish(broker, *tweets[8:])
        await eventually(lambda: len(later.of("b", "create")) == 17)
        await eventually(lambda: len(first.of("a", "create")) == 25)
        assert let_go(first, "a") == [one.id for one in tweets[:15]]
        assert let_go(later, "b") == [one.id for one in tweets[8:15]]
        assert metric("roost_gateway_let_go_total") == before + 15 + 7
        await publish(broker, *(deleted(one) for one in tweets))
        for client, uid in ((first, "a"), (later, "b")):
            await eventually(lambda client=client, uid=uid: len(client.of(uid, "destroy")) == 10)
            gone = {document["id"] for document in client.of(uid, "destroy")}
            assert gone == {one.id for one in tweets[15:]}
        assert len(app._clients._subscribing._followed) == 0


async def test_of_what_all_follow_together_the_oldest_are_let_go(broker: Broker) -> None:
    async with router(broker), gateway(broker, max_followed=100) as app, browser(app.port) as client:
        for number in range(6):
            documents = {f"test:{number}.{each}": 1 for each in range(30)}
            await client.call("subscribe", {"uid": f"{number}", **TEXT, "documents": documents})
            assert len(app._clients._subscribing._followed) <= 100
        told = [["gap", "unfollow"]] * 3 + [["gap"]] * 3
        await eventually(lambda: [names(client, f"{number}") for number in range(6)] == told)
        for number in range(3):
            assert let_go(client, f"{number}") == [f"test:{number}.{each}" for each in range(30)]
        await publish(broker, *(edited(tweet("", id=f"test:{number}.7", mtime=1), "new") for number in range(6)))
        await eventually(lambda: all(client.of(f"{number}", "save") for number in (3, 4, 5)))
        assert not any(client.of(f"{number}", "save") for number in (0, 1, 2))


async def test_a_subscription_takes_a_place_for_each_label_that_it_binds(broker: Broker) -> None:
    async with gateway(broker, max_rooms_per_client=4, max_rooms_per_address=6) as app:
        async with browser(app.port) as client, browser(app.port) as other:
            await client.call("subscribe", "nfl")
            assert (await client.call("subscribe", {"uid": "a", **alternatives("x", "y")}))["uid"] == "a"
            assert refused(await client.call("subscribe", {"uid": "b", **alternatives("z", "y")})) == "too_many_rooms"
            assert (await client.call("subscribe", {"uid": "b", **TEXT}))["labels"] == []
            assert refused(await client.call("subscribe", "nyc")) == "too_many_rooms"
            assert refused(await other.call("subscribe", {"uid": "a", **alternatives("x", "y", "z")}))
            assert (await other.call("subscribe", {"uid": "a", **alternatives("x", "y")}))["uid"] == "a"
            assert refused(await other.call("subscribe", {"uid": "b", **TEXT})) == "too_many_rooms"
            # What is given back is there for something else.
            await client.call("unsubscribe", "a")
            assert await client.call("subscribe", "nyc") is True
            assert (await other.call("subscribe", {"uid": "b", **TEXT}))["uid"] == "b"
        await eventually(lambda: nothing_left(app))


async def test_one_that_is_refused_leaves_the_one_of_the_same_uid_as_it_was(broker: Broker) -> None:
    settings = {"max_rooms_per_client": 2, "queries_for_all": False}
    async with router(broker), gateway(broker, **settings) as app, browser(app.port) as client:
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        held = tweet("nfl held")
        await publish(broker, held)
        await eventually(lambda: texts(client, "a") == ["nfl held"])
        for asked, code in (
            (alternatives("x", "y", "z"), "too_many_rooms"),
            ({**TEXT, "createQuery": {}}, "not_allowed"),
            ({**TEXT, "fields": ["nothing"]}, "bad_request"),
        ):
            assert refused(await client.call("subscribe", {"uid": "a", **asked})) == code
        await publish(broker, edited(held, "changed"), tweet("nfl new"))
        await eventually(lambda: len(client.told["a"]) == 3)
        # In its place there is room for as many as there are altogether.
        assert (await client.call("subscribe", {"uid": "a", **alternatives("x", "y")}))["uid"] == "a"


async def test_rooms_that_subscriptions_open_count_among_all(broker: Broker) -> None:
    async with gateway(broker, max_rooms=3, unbind_after_s=60) as app, browser(app.port) as client:
        assert (await client.call("subscribe", {"uid": "a", **alternatives("x", "y")}))["uid"] == "a"
        assert refused(await client.call("subscribe", {"uid": "b", **alternatives("u", "v")})) == "too_many_rooms"
        assert (await client.call("subscribe", {"uid": "b", **alternatives("x", "z")}))["uid"] == "b"
        assert len(app._rooms) == 3
        # One that is only still bound makes place.
        await client.call("unsubscribe", "b")
        assert (await client.call("subscribe", {"uid": "b", **alternatives("w", "y")}))["uid"] == "b"
        assert sorted(room.key for room in app._rooms.all()) == ["term.w", "term.x", "term.y"]


async def test_documents_that_have_to_be_looked_for_count_as_more_requests(broker: Broker) -> None:
    async with gateway(broker) as app, browser(app.port) as client:
        documents = {f"test:{number}": 1 for number in range(1000)}
        answers = [await client.call("subscribe", {"uid": "a", **TEXT, "documents": documents}) for _ in range(20)]
        codes = [refused(answer) if "error" in answer else "ok" for answer in answers]
        assert codes[:5] == ["ok"] * 5
        assert "too_fast" in codes
        assert "try again in" in next(one["error"]["message"] for one in answers if "error" in one)


async def test_two_hundred_equal_ones_are_one_work_and_leave_nothing_behind(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = {"matches": 0, "projections": 0}
    match, project = Query.matches, Projection.__call__

    def matches(*arguments: Any) -> bool:
        work["matches"] += 1
        return match(*arguments)

    def projects(*arguments: Any) -> Any:
        work["projections"] += 1
        return project(*arguments)

    monkeypatch.setattr(Query, "matches", matches)
    monkeypatch.setattr(Projection, "__call__", projects)
    settings = {"max_connections_per_address": 500, "max_rooms_per_address": 500}
    async with gateway(broker, **settings) as app, feeding(broker) as feed:
        async with all_of([RawSocket.open(app.port) for _ in range(200)]) as clients:
            await asyncio.gather(*(client.join() for client in clients))
            asked = {"collection": "tweet", "fields": ["text"], "createQuery": {"term": "nfl", "lang": ["en", "de"]}}
            # However it is written.
            query = {"lang": ["DE", "en", "en"], "term": ["NFL"]}
            same = {"collection": "tweet", "fields": ["text", "text"], "createQuery": query}
            for number, client in enumerate(clients):
                answer = await client.ask("subscribe", {"uid": f"u{number % 2}", **(same if number % 3 else asked)})
                assert answer["labels"] == ["term.nfl"]
            work.update(matches=0, projections=0)
            await feed.send(["nfl one", "nfl two"], "term.nfl", "lang.en")
            told = [lambda raw=raw, uid=f"u{at % 2}": len(created(raw, uid)) == 2 for at, raw in enumerate(clients)]
            await asyncio.gather(*(raw.until(condition) for raw, condition in zip(clients, told, strict=True)))
            assert work == {"matches": 2, "projections": 2}
            assert len(app._clients._subscribing._followed) == 2
            assert metric("roost_gateway_subscriptions") == 200
            for number, client in enumerate(clients):
                if number % 4 == 0:
                    assert await client.ask("unsubscribe", f"u{number % 2}") is True
                client.cut()
        await eventually(lambda: not app._server.eio.sockets)
        await eventually(lambda: nothing_left(app))
        await eventually(lambda: {key for _, key in broker.bindings() if key == "term.nfl"} == set())
        assert metric("roost_gateway_subscriptions") == 0
        del clients, client
        await eventually(lambda: gc.collect() >= 0 and not any(isinstance(o, Connection) for o in gc.get_objects()))


async def test_who_goes_while_the_archive_is_waited_for_leaves_nothing(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.subscriptions.entering.RESUME_PATIENCE_S", 3.0)
    async with archive(broker, tmp_path):
        pass
    # There has been one, so it may come back.
    asked = {"uid": "a", **TEXT, **NFL, "since": 1}
    async with gateway(broker) as app, browser(app.port) as patient, aiohttp.ClientSession() as http:
        subscribing = app._clients._subscribing
        waiting = asyncio.create_task(patient.call("subscribe", asked))
        hasty = await (await Poller.open(http, app.port)).join()
        subscribed = asyncio.create_task(hasty.post(f'42["subscribe",{json.dumps(asked)}]'))
        await eventually(lambda: len(subscribing._of) == 2)
        # Who sends two requests at a time is sent away.
        assert (await hasty.post("3"))[0] == 400
        await eventually(lambda: len(subscribing._of) == 1)
        assert not waiting.done()
        assert (await waiting)["uid"] == "a"
        await subscribed
        assert patient.told["a"] == [("gap", {"missed": None, "from": 1, "to": None})]
        [interest] = subscribing._interests.values()
        assert interest.awaiting == 0
        assert [len(audience.members) for audience in interest.audiences.values()] == [1]
        await patient.call("unsubscribe", "a")
        await eventually(lambda: nothing_left(app))


async def test_who_subscribes_again_and_again_leaves_nothing_in_memory(broker: Broker, tmp_path: Path) -> None:
    async with router(broker), archive(broker, tmp_path), gateway(broker, subscribes_per_s=1000) as app:
        await knows_archive(app)
        async with browser(app.port) as client:
            await client.call("subscribe", {"uid": "all", "collection": "tweet", "createQuery": {}})
            await publish(broker, *(tweet(f"nfl {number}") for number in range(50)))
            await eventually(lambda: len(client.of("all", "create")) == 50)
            since = client.of("all", "create")[0]["seq"]
            for number in range(20):
                fields = ["text", "lang"][number % 2 :]
                asked = {"uid": "a", "collection": "tweet", "fields": fields, "createQuery": {"lang": "en"}}
                await client.call("subscribe", {**asked, "since": since})
                assert len(client.of("a", "create")) == 50 * (number + 1)
            await client.call("unsubscribe", "a")
        await eventually(lambda: nothing_left(app))
        documents = app._fanout._versions._known.values()
        assert len(documents) == 50
        assert not [view for known in documents for view in known.shown if isinstance(view, Interest)]
