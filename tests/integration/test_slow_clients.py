"""Clients that do not take what they are sent: what they miss they are told, and nobody else notices."""

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.gateway.app import GatewayApp
from services.gateway.connection import Connection
from services.gateway.engine import websocket
from tests.support.broker import Broker, free_port
from tests.support.engineio_client import PING, Feed, Poller, RawSocket, all_of, feeding, on
from tests.support.processes import processes
from tests.support.services import gateway, metric

BOUND = 65_536
LONG = "x" * 1000
ROOMS = {"": "all", "nfl": "term.nfl"}


async def stalled(app: GatewayApp, *rooms: str) -> tuple[RawSocket, Connection]:
    """A client that is in some rooms and from now on reads nothing."""
    known = set(app._server.eio.sockets)
    raw = await (await RawSocket.open(app.port, receive_buffer=4096)).join()
    for room in rooms:
        assert await raw.ask("subscribe", room) is True
    (sid,) = set(app._server.eio.sockets) - known
    connection = app._server.eio.sockets[sid]
    assert isinstance(connection, Connection)
    return raw, connection


def check_ledger(events: list[list[Any]], truth: list[list[Any]], room: str) -> None:
    """One gap, and what it says is what is missing."""
    tweets = {event[1]["text"]: event[1]["seq"] for event in truth if event[0] == "newTweet" and event[2] == room}
    mine = [event for event in events if event[0] in ("newTweet", "gap") and event[2] == room]
    gaps = [index for index, event in enumerate(mine) if event[0] == "gap"]
    assert len(gaps) == 1
    before = [event[1]["text"] for event in mine[: gaps[0]]]
    after = [event[1]["text"] for event in mine[gaps[0] + 1 :]]
    sent = list(tweets)
    assert before == sent[: len(before)]
    assert after == sent[len(sent) - len(after) :]
    missing = [tweets[text] for text in sent[len(before) : len(sent) - len(after)]]
    assert missing
    assert mine[gaps[0]][1] == {"missed": len(missing), "from": missing[0], "to": missing[-1]}


@on("uvloop", "asyncio")
async def test_who_reads_again_is_told_what_it_missed_of_each_room_and_goes_on(broker: Broker) -> None:
    async with gateway(broker, send_buffer_bytes=BOUND) as app, feeding(broker) as feed:
        good = await (await RawSocket.open(app.port)).join()
        for room in ROOMS:
            await good.ask("subscribe", room)
        slow, connection = await stalled(app, *ROOMS)
        skipped = metric("roost_gateway_skipped_total")
        for number in range(0, 1000, 20):
            texts = [f"{one} {LONG}" for one in range(number, number + 20)]
            # Half of them are in one room and half in both.
            await feed.send(texts, *list(ROOMS.values())[: 1 + number % 40 // 20])
            while len(good.texts("all")) < number + 20:
                good.take(await good.text())
        assert metric("roost_gateway_skipped_total") > skipped
        assert connection.full
        assert connection.ready is None
        waits = connection._websocket.transport.get_write_buffer_size() if connection._websocket else 0
        assert BOUND < waits < BOUND + 300_000
        await slow.until(lambda: len(slow.named("gap")) == 2)
        assert not connection.full
        await feed.send(["after"], *ROOMS.values())
        for client in (good, slow):
            while any(client.texts(room)[-1] != "after" for room in ("all", "nfl")):
                client.take(await client.text())
        for room in ("all", "nfl"):
            check_ledger(slow.events, good.events, room)
        assert slow.texts("all")[0].startswith("0 ")
        good.cut()
        slow.cut()


@on("uvloop")
async def test_who_never_reads_is_cut_off(broker: Broker) -> None:
    async with gateway(broker, send_buffer_bytes=BOUND, stalled_after_s=0.5) as app, feeding(broker) as feed:
        cut_off = metric("roost_gateway_cut_off_total")
        slow, _ = await stalled(app, "")
        began = time.monotonic()
        while app._server.eio.sockets:
            await feed.send([LONG] * 20)
            assert time.monotonic() - began < 10
        assert metric("roost_gateway_cut_off_total") == cut_off + 1
        assert metric("roost_gateway_stalled") == 0
        assert not app._rooms.all()[0].members
        with contextlib.suppress(EOFError):
            await slow.until(lambda: False)
        assert slow.closing is None, "for a closing frame there was no room"


async def fill(feed: Feed, good: RawSocket) -> None:
    """Send far more than may wait for one client, as fast as one that reads can take it."""
    for number in range(0, 400, 20):
        await feed.send([f"{one} {LONG}" for one in range(number, number + 20)])
        while len(good.texts("all")) < number + 20:
            good.take(await good.text())


@on("uvloop")
async def test_who_polls_again_is_told_what_it_missed(broker: Broker) -> None:
    async with (
        gateway(broker, send_buffer_bytes=BOUND) as app,
        feeding(broker) as feed,
        aiohttp.ClientSession() as http,
    ):
        good = await (await RawSocket.open(app.port)).join()
        await good.ask("subscribe", "")
        poller = await (await Poller.open(http, app.port)).join()
        await poller.subscribe("")
        await fill(feed, good)
        connection = app._server.eio.sockets[poller.sid]
        assert connection.full
        await poller.until(lambda: any(event[0] == "gap" for event in poller.events))
        await feed.send(["after"])
        await poller.until(lambda: poller.texts("all")[-1:] == ["after"])
        await good.until(lambda: good.texts("all")[-1:] == ["after"])
        check_ledger(poller.events, good.events, "all")
        good.cut()


@on("uvloop")
async def test_what_somebody_missed_is_nothing_to_whoever_comes_after_on_the_same_session(broker: Broker) -> None:
    async with (
        gateway(broker, send_buffer_bytes=BOUND) as app,
        feeding(broker) as feed,
        aiohttp.ClientSession() as http,
    ):
        good = await (await RawSocket.open(app.port)).join()
        await good.ask("subscribe", "")
        poller = await (await Poller.open(http, app.port)).join()
        await poller.subscribe("")
        await fill(feed, good)
        assert app._server.eio.sockets[poller.sid].full
        # It leaves, perhaps with a token that was good for the room, and comes again.
        assert (await poller.post("41"))[0] == 200
        assert (await poller.post("40"))[0] == 200
        assert (await poller.post('4277["subscribe","nfl"]'))[0] == 200
        await poller.until(lambda: "4377[true]" in poller.packets)
        await feed.send(["nfl"], "term.nfl")
        await poller.until(lambda: poller.texts("nfl") == ["nfl"])
        assert not [event for event in poller.events if event[0] == "gap"]
        good.cut()


@on("uvloop")
async def test_who_upgrades_while_it_does_not_keep_up_is_told_what_it_missed_and_stays(broker: Broker) -> None:
    async with (
        gateway(broker, send_buffer_bytes=BOUND, stalled_after_s=1) as app,
        feeding(broker) as feed,
        aiohttp.ClientSession() as http,
    ):
        good = await (await RawSocket.open(app.port)).join()
        await good.ask("subscribe", "")
        poller = await (await Poller.open(http, app.port)).join()
        await poller.subscribe("")
        raw = await RawSocket.open(app.port, f"EIO=4&transport=websocket&sid={poller.sid}")
        raw.send("2probe")
        assert await raw.text() == "3probe"
        await fill(feed, good)
        connection = app._server.eio.sockets[poller.sid]
        assert connection.full
        raw.send("5")
        await raw.until(lambda: bool(raw.named("gap")))
        await feed.send(["after"])
        await raw.until(lambda: raw.texts("all")[-1:] == ["after"])
        await good.until(lambda: good.texts("all")[-1:] == ["after"])
        check_ledger(raw.events, good.events, "all")
        assert metric("roost_gateway_stalled") == 0
        assert isinstance(connection, Connection)
        assert connection._cutting is None, "its time is counted no more"
        good.cut()
        raw.cut()


@on("uvloop")
async def test_who_stops_polling_is_bounded_and_cut_off_whatever_it_asks(broker: Broker) -> None:
    async with gateway(broker, send_buffer_bytes=BOUND) as app, aiohttp.ClientSession() as http:
        poller = await (await Poller.open(http, app.port)).join()
        connection = app._server.eio.sockets[poller.sid]
        most = status = 0
        asked = "\x1e".join(f'42{number}["subscribe",7]' for number in range(500))
        for _ in range(200):
            status, _ = await poller.post(asked)
            most = max(most, connection._held_bytes)
            if status != 200:
                break
        assert status == 400
        assert BOUND < most < 2 * BOUND + 100_000
        assert not app._server.eio.sockets
        assert metric("roost_gateway_stalled") == 0


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of what a client asks is read in a second: answers that it does not take pile up sooner."""
    monkeypatch.setattr(websocket, "MESSAGES_PER_S", 1000.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("asks", ["requests", "pings"])
@on("uvloop", "asyncio")
async def test_who_asks_and_takes_no_answers_is_not_read_any_more_and_cut_off(broker: Broker, asks: str) -> None:
    async with gateway(broker, send_buffer_bytes=BOUND, stalled_after_s=1) as app:
        raw, connection = await stalled(app)
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        most = arrived = sent = 0
        while app._server.eio.sockets:
            if raw.writer.transport.get_write_buffer_size() < 1_000_000:
                sent += 1000
                for number in range(1000):
                    if asks == "pings":
                        raw.send_frame(PING, b"x" * 125)
                    else:
                        raw.send(f'42{number}["subscribe",{json.dumps("x" * 30)},7]')
            await asyncio.sleep(0)
            if connection._websocket is not None:
                most = max(most, connection._websocket.transport.get_write_buffer_size())
            arrived = max(arrived, len(connection._inbox._waiting or ()))
        assert sent > 3000
        assert most < BOUND + 300_000
        # What one read of the socket can bring, beside the bound.
        assert arrived < 12_000
        raw.cut()


@on("uvloop")
async def test_a_hundred_stalled_clients_cost_their_bounds_and_nobody_else_a_tweet(broker: Broker) -> None:
    bound, stalled_clients, tweets = 262_144, 100, 600
    port = free_port()
    text = "y" * 3500
    async with processes(broker) as start, feeding(broker) as feed:
        process = await start.start("gateway", port=port, send_buffer_bytes=bound, stalled_after_s=60)
        slow = [RawSocket.open(port, receive_buffer=4096) for _ in range(stalled_clients)]
        good = [RawSocket.open(port) for _ in range(50)]
        async with all_of(slow) as slow_ones, all_of(good) as good_ones:
            for one in (*slow_ones, *good_ones):
                assert await (await one.join()).ask("subscribe", "") is True
            before = resident_bytes(process.pid)
            longest = await stream(feed, good_ones, [f"{number} {text}" for number in range(tweets)])
            assert process.metric("roost_gateway_stalled") == stalled_clients
            grown = resident_bytes(process.pid) - before
            assert grown < stalled_clients * (bound + 65_536), f"{grown / 1e6:.1f} MB"
            assert longest < 2, "seconds that a tweet took, sending included"


async def stream(feed: Feed, readers: list[RawSocket], texts: list[str]) -> float:
    """Send `texts`, ten at a time, and see that all get all; returns the longest time that ten took."""
    longest = 0.0

    async def take(raw: RawSocket, texts: list[str]) -> None:
        for text in texts:
            assert f'"text":"{text}"' in await raw.text()

    for number in range(0, len(texts), 10):
        some = texts[number : number + 10]
        began = time.monotonic()
        await feed.send(some)
        await asyncio.gather(*(take(raw, some) for raw in readers))
        longest = max(longest, time.monotonic() - began)
    return longest


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@on("uvloop")
async def test_a_client_in_many_rooms_of_one_flush_is_sent_each_once(broker: Broker) -> None:
    async with gateway(broker) as app, feeding(broker) as feed:
        raw = await (await RawSocket.open(app.port)).join()
        rooms = [f"room {number}" for number in range(50)]
        for room in rooms:
            assert await raw.ask("subscribe", room) is True
        await feed.send([f"{number}" for number in range(20)], *(f"term.room%20{number}" for number in range(50)))
        await raw.until(lambda: all(len(raw.texts(room)) == 20 for room in rooms))
        assert all(raw.texts(room) == [f"{number}" for number in range(20)] for room in rooms)
        raw.cut()


@on("uvloop", "asyncio")
async def test_who_pings_before_an_upgrade_and_takes_no_answers_is_cut_off_and_may_poll_on(broker: Broker) -> None:
    async with gateway(broker, send_buffer_bytes=BOUND) as app, aiohttp.ClientSession() as http:
        poller = await (await Poller.open(http, app.port)).join()
        raw = await RawSocket.open(app.port, f"EIO=4&transport=websocket&sid={poller.sid}", receive_buffer=4096)
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        while not raw.writer.transport.is_closing():
            if raw.writer.transport.get_write_buffer_size() < 1_000_000:
                for _ in range(1000):
                    raw.send_frame(PING, b"x" * 125)
            await asyncio.sleep(0)
        await poller.subscribe("nfl")
