"""A gateway on a real broker: rooms, and what clients are answered."""

import asyncio

import aio_pika
import aiohttp
import msgpack
import pytest

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from tests.support.broker import Broker
from tests.support.browsers import browser
from tests.support.exchange import publish
from tests.support.services import gateway, router, running
from tests.support.tweets import PHOTO, deleted, edited, tweet
from tests.support.waiting import eventually


def keys(broker: Broker) -> list[str]:
    """The keys that gateways have bound, but for those that each one always has."""
    return sorted(
        key
        for destination, key in broker.bindings()
        if destination.startswith("gateway.") and not key.startswith("action.")
    )


async def test_each_room_gets_its_tweets_and_no_others(broker: Broker) -> None:
    rooms = ["", "nfl", "url", "word/nfl", "tag/vögel", "from/roost", "lang/de", "has_media", "super bowl", "100%"]
    events = {
        "the NFL": tweet("the NFL"),
        "inflation": tweet("inflation", lang="de"),
        "linked": tweet("linked", urls=("https://example.org",)),
        "#Vögel": tweet("#Vögel", hashtags=("Vögel",), screen_name="Roost"),
        "photo": tweet("photo", media=(PHOTO,)),
        "Super Bowl at 100%": tweet("Super Bowl at 100%"),
    }
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        for room in rooms:
            assert await client.call("subscribe", room) is True
        await publish(broker, *events.values())
        await eventually(lambda: len(client.texts("all")) == len(events))
        await eventually(lambda: len(client.events) == 6 + 2 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1)
    assert set(client.texts("all")) == set(events)
    assert set(client.texts("nfl")) == {"the NFL", "inflation"}
    assert client.texts("word/nfl") == ["the NFL"]
    assert client.texts("has_url") == ["linked"]
    assert client.texts("tag/vögel") == client.texts("from/roost") == ["#Vögel"]
    assert client.texts("lang/de") == ["inflation"]
    assert client.texts("has_media") == ["photo"]
    assert client.texts("super bowl") == client.texts("100%25") == ["Super Bowl at 100%"]


async def test_an_edit_changes_a_tweet_where_it_was_shown_and_a_deletion_takes_it_away(broker: Broker) -> None:
    original = tweet("nyc in the morning")
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        await client.call("subscribe", "nyc")
        await client.call("subscribe", "evening")
        await publish(broker, original)
        await eventually(lambda: client.page("nyc") == {original.id: "nyc in the morning"})
        await publish(broker, edited(original, "the city in the evening"))
        await eventually(lambda: client.page("nyc") == {original.id: "the city in the evening"})
        await eventually(lambda: client.page("evening") == {original.id: "the city in the evening"})
        await publish(broker, deleted(original))
        await eventually(lambda: client.page("nyc") == client.page("evening") == {})
        await publish(broker, original, tweet("nyc again"))
        await eventually(lambda: list(client.page("nyc").values()) == ["nyc again"])
    assert [event for event, _, room in client.events if room == "evening"] == ["newTweet", "destroyTweet"]
    assert all(set(payload) == {"id", "mtime"} for event, payload, _ in client.events if event == "destroyTweet")


async def test_a_room_is_bound_once_however_many_are_in_it_and_let_go_after_the_last(broker: Broker) -> None:
    async with gateway(broker, unbind_after_s=0.1) as app:
        async with browser(app.port) as one, browser(app.port) as other:
            await asyncio.gather(*(client.call("subscribe", "nfl") for client in (one, other)))
            assert keys(broker) == ["term.nfl"]
            assert await one.call("unsubscribe", "NFL") is True
            assert await one.call("unsubscribe", "never/joined") is True
            assert keys(broker) == ["term.nfl"]
        await eventually(lambda: keys(broker) == [])


async def test_who_comes_back_soon_finds_the_room_still_bound(broker: Broker) -> None:
    async with router(broker), gateway(broker, unbind_after_s=60) as app:
        async with browser(app.port) as client:
            await client.call("subscribe", "nfl")
        async with browser(app.port) as client:
            assert keys(broker) == ["term.nfl"]
            await client.call("subscribe", "nfl")
            await publish(broker, tweet("nfl"))
            await eventually(lambda: client.texts("nfl") == ["nfl"])


async def test_an_acknowledgement_names_the_room_or_says_what_is_wrong(broker: Broker) -> None:
    async with gateway(broker, max_rooms=2) as app, browser(app.port) as client:
        assert await client.call("subscribe", {"room": "/Word/NFL"}) == {
            "room": "word/nfl",
            "label": "word.nfl",
            "url": "/word/nfl",
            "seq": None,
        }
        assert await client.call("subscribe", {"room": "%F0%9F%8F%88"}) == {
            "room": "🏈",
            "label": "term.🏈",
            "url": "/%F0%9F%8F%88",
            "seq": None,
        }
        for request, code in {
            7: "bad_request",
            None: "bad_request",
            "x" * 101: "bad_room",
            "%FF": "bad_room",
            "third": "too_many_rooms",
        }.items():
            refusal = await client.call("subscribe", request)
            assert refusal["error"]["code"] == code
            assert refusal["error"]["message"]
        assert (await client.call("subscribe", {"rooms": ["nfl"]}))["error"]["code"] == "bad_request"
        assert (await client.call("unsubscribe", ["nfl"]))["error"]["code"] == "bad_request"
        assert keys(broker) == ["term.🏈", "word.nfl"]


async def test_long_polling_clients_get_the_same(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port, transports=("polling",)) as client:
        await client.call("subscribe", "nfl")
        for number in range(20):
            await publish(broker, tweet(f"nfl {number}"))
        await eventually(lambda: client.texts("nfl") == [f"nfl {number}" for number in range(20)])


async def test_a_stopping_gateway_sends_its_clients_elsewhere(broker: Broker) -> None:
    app = GatewayApp(GatewaySettings(amqp_url=broker.amqp_url("gateway"), port=0))
    async with running(app) as stopping:
        await eventually(lambda: app.health.ready)
        port = app.port
        async with (
            browser(port, reconnect=True) as client,
            browser(port, transports=("polling",), reconnect=True) as old,
        ):
            await client.call("subscribe", "nfl")
            stopping.set()
            await eventually(lambda: not client.connected and not old.connected)
            # The same address, as behind a load balancer: who was only sent away comes back.
            async with gateway(broker, port=port):
                await eventually(lambda: client.connected and old.connected)


async def test_the_page_stands_at_every_room_and_nothing_foreign_can_run_in_it(broker: Broker) -> None:
    async with gateway(broker) as app, aiohttp.ClientSession(f"http://127.0.0.1:{app.port}") as http:
        pages = set()
        for path in ("/", "/nfl", "/word/nfl", "/tag/%F0%9F%8F%88", "/a/b/c", "/term/socket.io"):
            async with http.get(path) as response:
                assert response.status == 200
                assert response.content_type == "text/html"
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                pages.add(await response.text())
        assert len(pages) == 1
        for path, status in {
            "/_/static/app.js": 200,
            "/_/static/../app.py": 404,
            "/_/static/%2e%2e/app.py": 404,
            "/_/nothing": 404,
            "/favicon.ico": 200,
            "/robots.txt": 200,
        }.items():
            async with http.get(path) as response:
                assert response.status == status, path


async def test_the_rooms_can_be_listed(broker: Broker) -> None:
    async with gateway(broker) as app, browser(app.port) as one, browser(app.port) as other:
        await one.call("subscribe", "nfl")
        await one.call("subscribe", "")
        await other.call("subscribe", "nfl")
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{app.port}/_/api/rooms") as response:
            assert await response.json() == {
                "rooms": [
                    {"room": "nfl", "label": "term.nfl", "url": "/nfl", "members": 2},
                    {"room": "all", "label": "all", "url": "/", "members": 1},
                ]
            }


@pytest.mark.parametrize(
    "broken",
    [
        {"action": "create"},
        [],
        7,
        {"action": "create", "id": "x", "mtime": "soon"},
        # Documents in order, of which no JSON can be made.
        {"action": "create", "id": "x", "mtime": 1, "seq": 1, "created_at": msgpack.Timestamp(1)},
        {"action": "create", "id": "x", "mtime": 1, "seq": 1, "text": b"bytes"},
    ],
)
async def test_what_a_gateway_can_not_read_stops_nobody(broker: Broker, broken: object) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        await client.call("subscribe", "nfl")
        connection = await aio_pika.connect(broker.amqp_url("admin"))
        async with connection:
            exchange = await (await connection.channel()).get_exchange("tweets")
            await exchange.publish(aio_pika.Message(msgpack.packb([broken])), "term.nfl")
        await publish(broker, tweet("nfl goes on"))
        await eventually(lambda: client.texts("nfl") == ["nfl goes on"])
