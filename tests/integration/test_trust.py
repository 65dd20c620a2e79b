"""How much one visitor may have of a gateway, how it is told so, and that everything is given back."""

import asyncio

import aiohttp
import pytest

from tests.support.broker import Broker
from tests.support.services import gateway, metric
from tests.support.waiting import eventually
from tests.support.wire import Polling, Transport, Visits, WebSocket, code_of, refused

pytestmark = pytest.mark.usefixtures("hurry")
TRANSPORTS = pytest.mark.parametrize("transport", [WebSocket, Polling])
LOOPBACK = "127.0.0.1,::1"


class TestConnections:
    """An address has a number of connections."""

    @TRANSPORTS
    async def test_one_too_many_is_told_why_and_ended(
        self, broker: Broker, visits: Visits, transport: Transport
    ) -> None:
        async with gateway(broker, max_connections_per_address=2) as app:
            for _ in range(2):
                await visits.connected(app, transport)
            third = await visits.open(app, transport)
            said, payload = await third.connect()
            assert said == "refused"
            assert payload == {
                "message": "your address has all the connections that it may have: 2",
                "data": {"code": "too_many_connections"},
            }
            await third.ended()
            if isinstance(third.wire, WebSocket):
                assert third.wire.closed == (1008, "refused")

    @TRANSPORTS
    async def test_one_that_is_refused_and_stays_can_do_nothing(
        self, broker: Broker, visits: Visits, transport: Transport
    ) -> None:
        async with gateway(broker, max_connections_per_address=1) as app:
            await visits.connected(app, transport)
            other = await visits.open(app, transport)
            assert await code_of(other) == "too_many_connections"
            with pytest.raises((EOFError, ConnectionError, aiohttp.ClientError)):
                await other.join("nfl")

    async def test_past_ten_that_wait_for_their_refusal_http_says_it(self, broker: Broker, visits: Visits) -> None:
        async with gateway(broker, max_connections_per_address=1) as app:
            await visits.connected(app)
            waiting = [await visits.open(app) for _ in range(10)]
            for transport in ("polling", "websocket"):
                answer = await visits.knock(app, transport)
                assert answer == (429, "your address has all the connections that it may have: 1\n")
            assert await code_of(waiting[0]) == "too_many_connections"

            async def is_told_why() -> bool:
                try:
                    return await visits.code(app) == "too_many_connections"
                except aiohttp.WSServerHandshakeError:
                    return False

            await eventually(is_told_why, what="the place of one that was told is free")

    async def test_a_proxy_that_is_trusted_says_whose_connection_it_is(self, broker: Broker, visits: Visits) -> None:
        async with gateway(broker, max_connections_per_address=1, trusted_proxies=LOOPBACK) as app:
            for address in ("192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1"):
                assert await visits.code(app, forwarded_for=address) == "ok"
            for again in ("192.0.2.1", "203.0.113.9, 192.0.2.1", "[2001:db8:0:1::ffff]:4711"):
                assert await visits.code(app, forwarded_for=again) == "too_many_connections"

    async def test_what_anybody_else_says_of_it_is_ignored(self, broker: Broker, visits: Visits) -> None:
        async with gateway(broker, max_connections_per_address=1, trusted_proxies="192.0.2.0/24") as app:
            assert await visits.code(app, forwarded_for="192.0.2.1") == "ok"
            assert await visits.code(app, Polling, forwarded_for="192.0.2.2") == "too_many_connections"

    async def test_all_are_given_back(self, broker: Broker, visits: Visits) -> None:
        async with gateway(broker, max_connections_per_address=3) as app:
            sockets = metric("roost_gateway_sockets")
            for number in range(300):
                session = await visits.open(app)
                # Every way to go: before CONNECT, after it, in order, without a word, with a packet that is none.
                if number % 5:
                    assert await code_of(session) == "ok"
                if number % 3 == 0:
                    await session.wire.send("41")
                elif number % 3 == 1:
                    await session.wire.send("nonsense")
                await (session.websocket.leave() if number % 2 else session.websocket.socket.close())
                # The gateway hears of it in its own time; a browser that comes back at once is let in or told why.
                if number % 10 == 9:
                    await eventually(lambda: len(app._server.eio.sockets) == 0)
            assert metric("roost_gateway_sockets") == sockets
            for _ in range(3):
                await visits.connected(app, Polling)
            assert await visits.code(app, Polling) == "too_many_connections"


class TestRooms:
    """A connection, an address and a gateway have a number of rooms."""

    async def test_each_limit_says_which_it_is(self, broker: Broker, visits: Visits) -> None:
        limits = {"max_rooms_per_client": 3, "max_rooms_per_address": 5, "max_rooms": 6, "unbind_after_s": 60}
        async with gateway(broker, trusted_proxies=LOOPBACK, **limits) as app:
            one, two = [await visits.connected(app, forwarded_for="192.0.2.1") for _ in "12"]
            assert [await one.join(name) for name in ("a", "b", "c", "c")] == [True] * 4
            answer = await one.join("d")
            assert refused(answer) == "too_many_rooms"
            assert answer["error"]["message"] == "you are in all the rooms that you may be in: 3"
            assert [await two.join({"room": name}) for name in ("a", "d")] == [
                {"room": "a", "label": "term.a", "url": "/a", "seq": None},
                {"room": "d", "label": "term.d", "url": "/d", "seq": None},
            ]
            answer = await two.join({"room": "e"})
            assert refused(answer) == "too_many_rooms"
            assert answer["error"]["message"] == "your address is in all the rooms that it may be in: 5"
            other = await visits.connected(app, Polling, forwarded_for="192.0.2.2")
            assert [await other.join(name) for name in ("e", "f")] == [True, True]
            answer = await other.join("g")
            assert refused(answer) == "too_many_rooms"
            assert answer["error"]["message"] == "all rooms that there may be here are open: 6; try again later"
            assert await other.join("a") is True, "a room that is open already is one more for nobody but the client"

    @pytest.mark.parametrize("way", ["unsubscribe", "disconnect", "close", "lose"])
    async def test_rooms_of_an_address_are_given_back(self, broker: Broker, visits: Visits, way: str) -> None:
        async with gateway(broker, max_rooms_per_address=2) as app:
            for _ in range(3):
                session = await visits.connected(app)
                assert [await session.join(name) for name in ("a", "b")] == [True, True]
                assert refused(await session.join("c")) == "too_many_rooms"
                match way:
                    case "unsubscribe":
                        assert await session.ask("unsubscribe", "a") is True
                        assert await session.ask("unsubscribe", "a") is True, "twice is once"
                        assert await session.join("c") is True
                        assert refused(await session.join("a")) == "too_many_rooms"
                        await session.websocket.leave()
                    case "disconnect":
                        await session.wire.send("41")
                        assert await code_of(session) == "ok"
                        assert [await session.join(name) for name in ("d", "e")] == [True, True]
                        await session.websocket.socket.close()
                    case "close":
                        await session.websocket.socket.close()
                    case "lose":
                        await session.websocket.leave()
                await eventually(lambda: len(app._server.eio.sockets) == 0)

    async def test_a_connection_that_is_lost_while_it_joins_keeps_no_place(
        self, broker: Broker, visits: Visits
    ) -> None:
        async with gateway(broker, max_rooms_per_address=40, max_rooms_per_client=40) as app:
            for turn in range(10):
                session = await visits.connected(app)
                for number in range(40):
                    await session.wire.send(f'42["subscribe","room {turn}-{number}"]')
                await session.websocket.leave()
            await eventually(lambda: len(app._server.eio.sockets) == 0)
            session = await visits.connected(app)
            assert [await session.join(f"last {number}") for number in range(40)] == [True] * 40


class TestPace:
    """A connection may subscribe so often."""

    async def test_it_may_come_back_with_all_its_rooms_and_not_hurry_on(self, broker: Broker, visits: Visits) -> None:
        async with gateway(broker, subscribes_per_s=0.001, max_rooms_per_client=5) as app:
            session = await visits.connected(app)
            assert [await session.join(name) for name in "abcde"] == [True] * 5
            answer = await session.join("a")
            assert refused(answer) == "too_fast"
            assert answer["error"]["message"].startswith("too many requests; try again in ")
            assert await session.ask("unsubscribe", "a") is True, "leaving is never too fast"
            await session.wire.send("41")
            assert await code_of(session) == "ok"
            assert refused(await session.join("a")) == "too_fast", "a CONNECT more is no way around it"
            other = await visits.connected(app)
            assert await other.join("a") is True, "it is of one connection"

    async def test_who_waits_may_go_on(self, broker: Broker, visits: Visits) -> None:
        async with gateway(broker, subscribes_per_s=20, max_rooms_per_client=1) as app:
            session = await visits.connected(app)
            for _ in range(20):
                await session.join("a")
            await eventually(lambda: session.join("a"))
            while await session.join("a") is True:
                pass

            async def may_again() -> bool:
                return await session.join("a") is True

            await eventually(may_again)


class TestPayload:
    """A packet has a size."""

    async def test_a_websocket_that_sends_too_much_is_closed_with_the_reason(
        self, broker: Broker, visits: Visits
    ) -> None:
        async with gateway(broker, max_payload_bytes=2_000) as app:
            session = await visits.connected(app)
            assert refused(await session.join("a" * 1_900)) == "bad_room"
            await session.wire.send(f'42["subscribe","{"a" * 3_000}"]')
            await session.ended()
            assert session.websocket.closed is not None
            code, reason = session.websocket.closed
            assert code == 1009
            assert "2000" in reason

    async def test_a_request_of_a_polling_client_that_is_too_large_ends_its_session(
        self, broker: Broker, visits: Visits
    ) -> None:
        async with gateway(broker, max_payload_bytes=2_000) as app:
            session = await visits.connected(app, Polling)
            with pytest.raises(aiohttp.ClientResponseError) as refusal:
                await session.wire.send(f'42["subscribe","{"a" * 3_000}"]')
            assert refusal.value.status == 400
            await session.ended()


async def test_all_connections_of_an_address_share_a_pace(broker: Broker, visits: Visits) -> None:
    settings = {"subscribes_per_s": 0.1, "max_rooms_per_client": 3, "max_rooms_per_address": 4}
    async with gateway(broker, **settings) as app:
        one, other = [await visits.connected(app) for _ in range(2)]
        assert [await one.join(f"room {number}") for number in range(3)] == [True] * 3
        assert await other.join("room 0") is True
        refused = await other.join("room 1")
        assert refused["error"]["code"] == "too_fast"
        assert not refused["error"]["message"].endswith(" 0.0 s")


class TestOrigins:
    """A page of another site connects in its visitor's name."""

    @pytest.mark.parametrize(
        ("listed", "let_in", "kept_out"),
        [
            ("", ["own", None], ["https://example.org", "null", "http://127.0.0.1:1"]),
            ("https://example.org", ["own", None, "https://example.org"], ["https://evil.example.org", "null"]),
            ("*", ["own", None, "https://example.org", "null"], []),
        ],
    )
    async def test_who_may_is_a_setting(
        self,
        broker: Broker,
        visits: Visits,
        listed: str,
        let_in: list[str | None],
        kept_out: list[str],
    ) -> None:
        async with gateway(broker, origins=listed) as app:
            for origin in let_in:
                named = f"http://127.0.0.1:{app.port}" if origin == "own" else origin
                for transport in (WebSocket, Polling):
                    assert await visits.code(app, transport, origin=named) == "ok", origin
            for origin in kept_out:
                for address in ("polling", "websocket"):
                    status, body = await visits.knock(app, address, Origin=origin)
                    assert status == 400
                    assert "not an accepted origin" in body

    async def test_behind_a_proxy_that_ends_tls_the_own_origin_is_what_the_proxy_says(
        self, broker: Broker, visits: Visits
    ) -> None:
        async with gateway(broker) as app:
            own = f"https://127.0.0.1:{app.port}"
            assert await visits.code(app, origin=own, scheme="https") == "ok"


async def test_a_refusal_of_one_is_no_matter_of_others(broker: Broker, visits: Visits) -> None:
    async with gateway(broker, max_connections_per_address=2) as app:
        session = await visits.connected(app)
        assert await session.join("nfl") is True
        before = metric("roost_gateway_refused_total", code="too_many_connections")
        await visits.connected(app)
        codes = await asyncio.gather(*(visits.code(app) for _ in range(5)))
        assert codes == ["too_many_connections"] * 5
        assert metric("roost_gateway_refused_total", code="too_many_connections") == before + 5
        assert await session.join("nyc") is True
