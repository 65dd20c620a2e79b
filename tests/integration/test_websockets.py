"""What goes over one WebSocket beside tweets: frames, heartbeats, the end; and HTTP requests that are nonsense."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable

import aiohttp
import msgpack
import pytest

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from shared.broker import Message
from shared.events import to_document
from tests.support.broker import Broker
from tests.support.engineio_client import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    Poller,
    RawSocket,
    all_of,
    feeding,
    masked,
    on,
    url,
)
from tests.support.services import gateway, metric, running
from tests.support.tweets import tweet
from tests.support.waiting import eventually

CONTINUATION = 0


@on("uvloop", "asyncio")
async def test_messages_come_in_pieces_and_many_at_once(broker: Broker) -> None:
    async with gateway(broker) as app:
        raw = await RawSocket.open(app.port, early=masked(TEXT, b"40") + masked(TEXT, b'420["subscribe","early"]'))
        await raw.until(lambda: raw.acks == {0: True})
        pieces = b'421["subscribe","one"]'
        raw.send_frame(TEXT, pieces[:5], fin=False)
        raw.send_frame(PING, b"in between")
        raw.send_frame(CONTINUATION, pieces[5:9], fin=False)
        raw.send_frame(CONTINUATION, pieces[9:])
        assert await raw.frame() == Frame(PONG, b"in between")
        await raw.until(lambda: 1 in raw.acks)
        many = b"".join(masked(TEXT, f'42{number}["subscribe","two"]'.encode()) for number in range(2, 40))
        raw.writer.write(many)
        await raw.until(lambda: len(raw.acks) == 40)
        assert list(raw.acks) == list(range(40)), "answered in the order in which they were asked"
        for byte in masked(TEXT, b'4240["subscribe","three"]'):
            raw.writer.write(bytes((byte,)))
            await raw.writer.drain()
        await raw.until(lambda: 40 in raw.acks)
        assert sorted(room.name for room in app._rooms.all()) == ["early", "one", "three", "two"]
        raw.cut()


@on("uvloop")
async def test_a_ping_of_a_websocket_is_answered_with_its_payload(broker: Broker) -> None:
    async with gateway(broker) as app:
        raw = await (await RawSocket.open(app.port)).join()
        for payload in (b"", b"x" * 125):
            raw.send_frame(PING, payload)
            while (frame := await raw.frame()).opcode == TEXT:
                pass
            assert frame == Frame(PONG, payload)
        raw.send_frame(PONG, b"nobody asked")
        assert await raw.ask("subscribe", "nfl") is True
        raw.cut()


@on("uvloop", "asyncio")
async def test_a_client_ends_its_connection_in_good_order(broker: Broker) -> None:
    async with gateway(broker) as app:
        raw = await (await RawSocket.open(app.port)).join()
        assert await raw.ask("subscribe", "nfl") is True
        began = time.monotonic()
        raw.send_frame(CLOSE, b"\x03\xe9going away")
        assert (await raw.until_closed()).code == 1000
        await eventually(lambda: not app._server.eio.sockets and not app._rooms.all()[0].members)
        assert time.monotonic() - began < 1


BAD_FRAMES = {
    "reserved bits": (masked(TEXT, b"2", reserved=4), 1002),
    "an opcode that is none": (masked(3, b""), 1002),
    "a long control frame": (masked(PING, b"x" * 126), 1002),
    "a control frame in pieces": (masked(PING, b"", fin=False), 1002),
    "a piece of nothing": (masked(CONTINUATION, b"x"), 1002),
    "text that is not UTF-8": (masked(TEXT, b"\xff\xfe"), 1007),
    "a message that is too large": (masked(TEXT, b"", length=100_001), 1009),
    "one of the largest size there is": (masked(TEXT, b"", length=2**63), 1009),
    "a close code that is none": (masked(CLOSE, b"\x03\xed"), 1002),
    "half a close code": (masked(CLOSE, b"\x03"), 1002),
    "no packet": (masked(TEXT, b""), 1002),
    "a packet of no type": (masked(TEXT, b"9"), 1002),
    "a packet that only servers send": (masked(TEXT, b'0{"sid":"x"}'), 1002),
    "binary data": (masked(BINARY, b"\x04binary"), 1002),
    "attachments without an end": (masked(TEXT, b'45999999999-["subscribe",{"_placeholder":true,"num":0}]'), 1002),
    "JSON that is none": (masked(TEXT, b'42["subscribe"'), 1002),
    "JSON too deep": (masked(TEXT, b"42" + b"[" * 50_000), 1002),
    "an event without a name": (masked(TEXT, b"42[]"), 1002),
    "an event of the protocol": (masked(TEXT, b'42["disconnect"]'), 1002),
}


@pytest.mark.parametrize("mistake", BAD_FRAMES)
@on("uvloop")
async def test_a_mistake_ends_the_connection_with_a_reason_and_is_counted(broker: Broker, mistake: str) -> None:
    frame, code = BAD_FRAMES[mistake]
    async with gateway(broker) as app:
        raw = await (await RawSocket.open(app.port)).join()
        assert await raw.ask("subscribe", "nfl") is True
        before = metric("roost_gateway_client_mistakes_total")
        raw.writer.write(frame)
        ended = await raw.until_closed()
        assert ended.code == code
        assert ended.reason
        assert metric("roost_gateway_client_mistakes_total") == before + 1
        await eventually(lambda: not app._server.eio.sockets)


@pytest.mark.parametrize("by", ["client", "server"])
@on("uvloop", "asyncio")
async def test_nothing_comes_after_a_closing_frame_not_even_a_tweet(broker: Broker, by: str) -> None:
    async with gateway(broker) as app, feeding(broker) as feed:
        raw, other = [await (await RawSocket.open(app.port)).join() for _ in range(2)]
        session = next(iter(app._server.eio.sockets.values()))
        for client in (raw, other):
            assert await client.ask("subscribe", "") is True
        if by == "client":
            raw.send_frame(CLOSE, b"\x03\xe8")
        else:
            session.end(4000, "because")
        await feed.send([f"{number}" for number in range(100)])
        app._clients.tell_status(live=False)
        await other.until(lambda: len(other.texts("all")) == 100)
        assert (await raw.until_closed()).code == (1000 if by == "client" else 4000)
        other.cut()


@on("uvloop")
async def test_who_does_not_say_connect_is_sent_away_whatever_else_it_says(broker: Broker) -> None:
    async with gateway(broker) as app, aiohttp.ClientSession() as http:
        app._server.eio.ping_interval = 0.3
        silent, talking = await RawSocket.open(app.port), await RawSocket.open(app.port)
        poller = await Poller.open(http, app.port)

        async def talk() -> None:
            for _ in range(200):
                talking.send("3")
                await asyncio.sleep(0.02)

        talks = asyncio.create_task(talk())
        for raw in (silent, talking):
            ended = await raw.until_closed()
            assert (ended.code, ended.reason) == (1008, "no CONNECT in time")
        talks.cancel()
        await eventually(lambda: not app._server.eio.sockets)
        assert await poller.poll() == 400


@on("uvloop")
async def test_who_answers_no_ping_is_cut_off_and_who_answers_stays(broker: Broker) -> None:
    async with gateway(broker) as app, aiohttp.ClientSession() as http:
        app._server.eio.ping_interval, app._server.eio.ping_timeout = 0.1, 1.5
        dead = await (await RawSocket.open(app.port)).join()
        live = await (await RawSocket.open(app.port)).join()
        dead_poller, live_poller = [await (await Poller.open(http, app.port)).join() for _ in range(2)]
        await dead_poller.subscribe("nfl")
        reading = asyncio.create_task(live.text())
        await live_poller.until(lambda: live_poller.packets.count("2") >= 5)
        await eventually(lambda: live.pings >= 5)
        polling = asyncio.create_task(live_poller.until(lambda: "43101[true]" in live_poller.packets))
        with pytest.raises(EOFError):
            while True:
                await dead.frame()
        live.send('420["subscribe","nfl"]')
        assert await reading == "430[true]"
        await live_poller.post('42101["subscribe","nfl"]')
        await polling
        await eventually(lambda: len(app._server.eio.sockets) == 2)
        assert await dead_poller.poll() == 400
        live.cut()


@on("uvloop")
async def test_a_client_may_leave_the_namespace_and_come_again_on_the_same_connection(broker: Broker) -> None:
    async with gateway(broker) as app, feeding(broker) as feed:
        raw = await (await RawSocket.open(app.port)).join()
        assert await raw.ask("subscribe", "") is True
        sockets = metric("roost_gateway_sockets")
        raw.send("41")
        await eventually(lambda: metric("roost_gateway_sockets") == sockets - 1)
        await feed.send(["not for it"])
        await raw.join()
        assert metric("roost_gateway_sockets") == sockets
        raw.send("40")
        assert (await raw.text()).startswith("44"), "it is in already"
        raw.send("40/another,")
        assert (await raw.text()).startswith("44/another,")
        assert await raw.ask("subscribe", "") is True
        await feed.send(["for it"])
        await raw.until(lambda: raw.texts("all") == ["for it"])
        raw.cut()


@on("uvloop")
async def test_what_is_handed_over_in_one_turn_comes_in_one_piece(broker: Broker) -> None:
    """On uvloop; one read takes all of it, where a write for each tweet or room would come in pieces."""
    async with gateway(broker) as app:
        raw = await (await RawSocket.open(app.port)).join()
        for room in ("", "nfl", "lang/en"):
            assert await raw.ask("subscribe", room) is True
        reads: list[bytes] = []
        read = raw.reader.feed_data

        def note(data: bytes) -> None:
            reads.append(bytes(data))
            read(data)

        raw.reader.feed_data = note  # type: ignore[method-assign, assignment]
        clock = itertools.count(time.time_ns() // 1000)
        for round_number in range(20):
            documents = [to_document(tweet(f"nfl {round_number} {n}"), next(clock)) for n in range(20)]
            body = msgpack.packb(documents)
            message = Message(body, "all", {"CC": ["term.nfl", "lang.en"], "v": 1}, _nothing)
            reads.clear()
            app._fanout.deliver(message)
            wanted = 20 * (round_number + 1)
            while any(len(raw.texts(room)) < wanted for room in ("all", "nfl", "lang/en")):
                raw.take(await raw.text())
            assert len(reads) <= 1 + len(reads[0]) // 60_000, [len(piece) for piece in reads]
        raw.cut()


async def _nothing() -> None:
    pass


ANSWERS: dict[str, tuple[str, str, dict[str, str], int]] = {
    "no version": ("GET", "transport=polling", {}, 400),
    "another version": ("GET", "EIO=3&transport=polling", {}, 400),
    "another transport": ("GET", "EIO=4&transport=webtransport", {}, 400),
    "a session that is none": ("GET", "EIO=4&transport=polling&sid=none", {}, 400),
    "a POST without a session": ("POST", "EIO=4&transport=polling", {}, 400),
    "a WebSocket without an upgrade": ("GET", "EIO=4&transport=websocket", {}, 400),
    "half an upgrade": ("GET", "EIO=4&transport=websocket", {"Upgrade": "websocket"}, 400),
    "an upgrade without a key": (
        "GET",
        "EIO=4&transport=websocket",
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        400,
    ),
    "no number for JSONP": ("GET", "EIO=4&transport=polling&j=x", {}, 400),
    "another method": ("PUT", "EIO=4&transport=polling", {}, 405),
    "another origin": ("GET", "EIO=4&transport=polling", {"Origin": "https://evil.example"}, 400),
    "a question before": ("OPTIONS", "EIO=4&transport=polling", {"Origin": "https://page.example"}, 200),
}


@on("uvloop")
async def test_requests_that_are_nonsense_are_refused_and_leave_nothing(broker: Broker) -> None:
    async with gateway(broker, origins="https://page.example") as app, aiohttp.ClientSession() as http:
        for what, (method, query, headers, status) in ANSWERS.items():
            at = f"http://127.0.0.1:{app.port}/socket.io/?{query}"
            async with http.request(method, at, headers=headers) as response:
                assert (what, response.status) == (what, status)
        assert not app._server.eio.sockets
        allowed = {"Origin": "https://page.example"}
        async with http.get(url(app.port), headers=allowed) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
            sid = json.loads((await response.text())[1:])["sid"]
        async with http.post(url(app.port, sid), data="40", headers=allowed) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
        async with http.get(url(app.port, sid) + "&j=7") as response:
            assert (await response.text()).startswith('___eio[7]("42[\\"status\\",{\\"live\\":true}]')


@on("uvloop")
async def test_a_payload_of_many_packets_is_handled_whole_and_a_bad_one_ends_the_session(broker: Broker) -> None:
    async with gateway(broker) as app, aiohttp.ClientSession() as http:
        poller = await (await Poller.open(http, app.port)).join()
        rooms = "\x1e".join(f'42{number}["subscribe","room {number}"]' for number in range(40))
        assert await poller.post(rooms) == (200, "OK")
        await poller.until(lambda: sum(packet.startswith("43") for packet in poller.packets) == 40)

        async def slowly() -> object:
            for part in (b'42100["subs', b'cribe","in ', b'pieces"]'):
                yield part
                await asyncio.sleep(0.01)

        for data in (slowly(), 'd=42101["subscribe","jsonp"]'):
            async with http.post(url(app.port, poller.sid), data=data) as response:
                assert response.status == 200
        await poller.until(lambda: {"43100[true]", "43101[true]"} <= set(poller.packets))
        for payload in ("", "9", "2", "4\x1e4", "x" * 100_001, "\x1e" * 2000, "b", "b4$$$"):
            bad = await (await Poller.open(http, app.port)).join()
            status, _ = await bad.post(payload)
            assert status == (200 if payload in ("", "4\x1e4", "b") else 400), payload[:10]
            if payload:
                assert await bad.poll() == 400
        async with http.post(url(app.port, poller.sid), data=b"\xff\xff") as response:
            assert response.status == 400
        await eventually(lambda: len(app._server.eio.sockets) <= 2)


async def _come(kind: str, app: GatewayApp, http: aiohttp.ClientSession) -> Awaitable[object]:
    """A client of a kind that has connected; returns what waits for its end."""
    if kind == "polling":
        poller = await (await Poller.open(http, app.port)).join()

        async def polled() -> None:
            while await poller.poll() == 200:
                pass

        return asyncio.create_task(polled())
    raw = await (await RawSocket.open(app.port)).join()
    if kind == "websocket":
        return asyncio.create_task(raw.until_closed())
    return asyncio.create_task(_hold(raw))


async def _hold(raw: RawSocket) -> None:
    while not raw.reader.at_eof():  # it answers no closing handshake
        await raw.reader.read(1000)


@pytest.mark.parametrize("kind", ["websocket", "polling", "websocket that does not answer"])
@on("uvloop")
async def test_a_gateway_that_stops_ends_200_connections_in_time(broker: Broker, kind: str) -> None:
    app = GatewayApp(GatewaySettings(amqp_url=broker.amqp_url("gateway"), port=0))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        async with running(app) as stopping:
            await eventually(lambda: app.health.ready)
            ends = await asyncio.gather(*(_come(kind, app, http) for _ in range(200)))
            began = time.monotonic()
            stopping.set()
        took = time.monotonic() - began
        assert took < 5, "it ends in time"
        done = await asyncio.wait_for(asyncio.gather(*ends), 5)
        if kind == "websocket":
            assert {frame.code for frame in done if isinstance(frame, Frame)} == {1001}
            assert took < 2
        assert not app._server.eio.sockets


@on("uvloop")
async def test_who_comes_while_a_gateway_stops_is_told_to_come_again(broker: Broker) -> None:
    app = GatewayApp(GatewaySettings(amqp_url=broker.amqp_url("gateway"), port=0))
    async with running(app) as stopping:
        await eventually(lambda: app.health.ready)
        async with all_of([RawSocket.open(app.port)]) as (slow,):
            await slow.join()
            stopping.set()
            while (await slow.frame()).opcode != CLOSE:
                pass
            with pytest.raises(ConnectionError, match="503"):
                await RawSocket.open(app.port)


@on("uvloop")
async def test_a_polling_client_that_is_refused_hears_why_with_its_next_poll(broker: Broker) -> None:
    async with (
        gateway(broker, auth="jwt", jwt_secret="s" * 32) as app,
        aiohttp.ClientSession() as http,
    ):
        for _ in range(5):
            poller = await Poller.open(http, app.port)
            await poller.post("40")
            assert await poller.poll() == 200
            assert "token_missing" in poller.packets[0]
            await eventually(lambda: not app._server.eio.sockets)
