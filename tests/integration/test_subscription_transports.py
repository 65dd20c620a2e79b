"""Subscriptions over every transport, and for those who do not keep up."""

import itertools
from typing import Any

import aiohttp

from services.gateway.app import GatewayApp
from services.gateway.connection import Connection
from services.ingest.pump import SequenceClock
from shared.events import Event, to_document
from tests.integration.test_subscriptions import NFL, TEXT, publish_documents, shown, texts
from tests.support.broker import Broker
from tests.support.browsers import browser
from tests.support.engineio_client import Poller, RawSocket, on
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

BOUND = 65_536
LONG = "x" * 1000

_clock = SequenceClock()


async def put(broker: Broker, *events: Event) -> None:
    """Put events on the exchange `tweets`, as a router does that knows of /nfl."""
    documents = [to_document(event, _clock.next()) for event in events]
    for action, some in itertools.groupby(documents, lambda document: document["action"]):
        await publish_documents(broker, [f"action.{action}", "term.nfl"], *some)


def told(raw: RawSocket | Poller, uid: str) -> list[tuple[str, Any]]:
    """What a subscription was told."""
    return [
        (name.rpartition(":")[2], payload) for name, payload, *_ in raw.events if name.startswith(f"{uid}:tweet:")
    ]


@on("uvloop", "asyncio")
async def test_polling_and_upgrading_clients_get_the_same(broker: Broker) -> None:
    async with (
        router(broker),
        gateway(broker) as app,
        browser(app.port, transports=("polling",)) as polling,
        browser(app.port, transports=("polling", "websocket")) as upgrading,
        browser(app.port) as socket,
    ):
        clients = (polling, upgrading, socket)
        held = tweet("held")
        await publish(broker, held)
        for client in clients:
            answer = await client.call("subscribe", {"uid": "a", **TEXT, **NFL, "documents": {held.id: held.mtime}})
            assert answer["labels"] == ["term.nfl"]
        one, other = tweet("nfl one"), tweet("nfl other")
        await publish(broker, one, other)
        await publish(broker, edited(one, "changed"), deleted(other), edited(held, "held, changed"))
        for client in clients:
            await eventually(lambda client=client: len(client.told.get("a", ())) == 6)
            # There is no archive: before, something may have happened to what it holds.
            assert client.told["a"][0] == ("gap", {"missed": None, "from": None, "to": None})
            page = shown(client.told["a"], {held.id: held.mtime})
            assert {document["text"] for document in page.values()} == {"changed", "held, changed"}
            assert await client.call("unsubscribe", "a") is True
        await eventually(lambda: not len(app._rooms))
        assert len(app._clients._subscribing._followed) == 0


async def stalled(app: GatewayApp) -> tuple[RawSocket, Connection]:
    """A client that from now on reads nothing."""
    known = set(app._server.eio.sockets)
    raw = await (await RawSocket.open(app.port, receive_buffer=4096)).join()
    (sid,) = set(app._server.eio.sockets) - known
    connection = app._server.eio.sockets[sid]
    assert isinstance(connection, Connection)
    return raw, connection


@on("uvloop")
async def test_who_reads_again_is_told_what_each_subscription_missed_and_what_went(broker: Broker) -> None:
    skipped = metric("roost_gateway_skipped_total")
    async with gateway(broker, send_buffer_bytes=BOUND) as app, browser(app.port) as good:
        slow, connection = await stalled(app)
        brief = {"collection": "tweet", "fields": []}
        first, held = tweet(f"nfl first {LONG}"), tweet("held")
        asked = {"uid": "a", **TEXT, **NFL, "documents": {held.id: held.mtime}}
        for client in (good.call, slow.ask):
            assert (await client("subscribe", asked))["uid"] == "a"
        assert (await slow.ask("subscribe", {"uid": "brief", **brief, **NFL}))["uid"] == "brief"
        # There is no archive: before, something may have happened to what they hold.
        assert [name for name, _ in told(slow, "a")] == ["gap"]
        slow.events.clear()
        await put(broker, first)
        await slow.until(lambda: len(told(slow, "a")) == len(told(slow, "brief")) == 1)
        some = [tweet(f"nfl {number} {LONG}") for number in range(400)]
        for begin in range(0, 400, 50):
            await put(broker, *some[begin : begin + 50])
            await eventually(lambda begin=begin: len(good.of("a", "create")) == 1 + begin + 50)
        assert connection.full
        await put(broker, edited(first, "nfl changed"), deleted(held), deleted(some[0]), deleted(some[399]))
        await eventually(lambda: len(good.of("a", "destroy")) == 3)
        assert metric("roost_gateway_skipped_total") > skipped
        await slow.until(lambda: all(len(slow.named(f"{uid}:tweet:gap")) == 1 for uid in ("a", "brief")))
        last = tweet("nfl last")
        await put(broker, last)
        await slow.until(lambda: all(told(slow, uid)[-1][1].get("id") == last.id for uid in ("a", "brief")))
        truth = good.told["a"]
        seqs = [document["seq"] for name, document in truth if name in ("create", "save")]
        for uid, destroyed in (("a", {held.id, some[0].id, some[399].id}), ("brief", {some[0].id, some[399].id})):
            events = told(slow, uid)
            names = [name for name, _ in events]
            at = names.index("gap")
            came = [document["seq"] for name, document in events if name in ("create", "save")]
            missing = [seq for seq in seqs if seq not in came]
            # To whoever asks for no field an edit changes nothing.
            edits = {document["seq"] for document in good.of("a", "save")}
            missing = missing if uid == "a" else [seq for seq in missing if seq not in edits]
            assert events[at][1] == {"missed": len(missing), "from": missing[0], "to": missing[-1]}
            assert {document["id"] for name, document in events if name == "destroy"} == destroyed
            assert names.count("destroy") == len(destroyed)
            assert len(set(came)) == len(came)
        slow.cut()


@on("uvloop")
async def test_who_polls_again_is_told_what_it_missed_unless_it_has_unsubscribed(broker: Broker) -> None:
    async with (
        gateway(broker, send_buffer_bytes=BOUND) as app,
        browser(app.port) as good,
        aiohttp.ClientSession() as http,
    ):
        poller = await (await Poller.open(http, app.port)).join()
        await good.call("subscribe", {"uid": "a", **TEXT, **NFL})
        for number, uid in enumerate(("a", "b")):
            asked = f'42{number}["subscribe",{{"uid":"{uid}","collection":"tweet","createQuery":{{"term":"nfl"}}}}]'
            assert (await poller.post(asked))[0] == 200
        await poller.until(lambda: any(packet.startswith("431") for packet in poller.packets))
        some = [tweet(f"nfl {number} {LONG}") for number in range(200)]
        for begin in range(0, 200, 20):
            # Not more in one piece than ends whoever polls too little.
            await put(broker, *some[begin : begin + 20])
            await eventually(lambda begin=begin: len(good.of("a", "create")) == begin + 20)
        assert app._server.eio.sockets[poller.sid].full
        assert (await poller.post('42["unsubscribe","b"]'))[0] == 200
        await put(broker, deleted(some[0]))
        await eventually(lambda: len(good.of("a", "destroy")) == 1)
        await poller.until(lambda: told(poller, "a")[-1:] == [("destroy", {"id": some[0].id})])
        came = sum(name == "create" for name, _ in told(poller, "a"))
        [gap] = [payload for name, payload in told(poller, "a") if name == "gap"]
        assert gap["missed"] == 200 - came
        assert {name for name, _ in told(poller, "b")} <= {"create"}
        assert texts(good, "a") == [one.text for one in some]
