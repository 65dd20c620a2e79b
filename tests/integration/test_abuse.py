"""What clients may send to a gateway, and that nobody else notices."""

import pytest
from structlog.testing import capture_logs

from tests.support.broker import Broker
from tests.support.browsers import browser
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.wire import refused, visiting

PACKETS = [
    "42[]",
    "42{}",
    "42[5]",
    '42["subscribe","a","b","c"]',
    '42["subscribe"]',
    '42["subscribe",["nfl"]]',
    '42["subscribe",{"room":{"room":"nfl"}}]',
    '42["subscribe","\\ud800"]',
    '42["unsubscribe",null]',
    '42["nothing of the kind",1]',
    '42["connect",{}]',
    '42["disconnect"]',
    '42["disconnect","transport close"]',
    '451-["subscribe",{"_placeholder":true,"num":0}]',
    "43[1]",
    "44",
    "4",
    "49",
    "42" + "[" * 5000,
    "42[nonsense",
    "9",
]


async def test_garbage_disturbs_nobody_and_fills_no_log(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as other, visiting() as visits:
        await other.call("subscribe", "nfl")
        sockets = metric("roost_gateway_sockets")
        with capture_logs() as logs:
            for packet in PACKETS:
                session = await visits.connected(app)
                await session.wire.send(packet)
                await session.websocket.socket.send_bytes(b"\x04binary")
                await session.websocket.socket.close()
            async with visits.http.get(f"http://127.0.0.1:{app.port}/_/static/{'a' * 5000}") as response:
                assert response.status == 404
        await eventually(lambda: metric("roost_gateway_sockets") == sockets)
        await publish(broker, tweet("nfl goes on"))
        await eventually(lambda: other.texts("nfl") == ["nfl goes on"])
        assert other.connected
    assert [line for line in logs if line["log_level"] in ("warning", "error", "critical")] == []
    assert [record for record in caplog.records if record.name.startswith(("services", "aiohttp.server"))] == []


async def test_every_request_is_acknowledged(broker: Broker) -> None:
    async with gateway(broker) as app, visiting() as visits:
        session = await visits.connected(app)
        requests: list[list[object]] = [["a", "b"], [], [None], [["nfl"]], [{}], ["\ud800"]]
        for arguments in requests:
            assert refused(await session.ask("subscribe", *arguments)) in ("bad_request", "bad_room")
        assert refused(await session.ask("no such request", 7)) == "bad_request"


async def test_no_client_takes_all_rooms_and_empty_ones_make_place(broker: Broker) -> None:
    settings = {"max_rooms": 5, "max_rooms_per_client": 3, "unbind_after_s": 60}
    async with gateway(broker, **settings) as app, browser(app.port) as other:
        async with browser(app.port) as greedy:
            answers = [await greedy.call("subscribe", f"room {number}") for number in range(4)]
            assert answers[:3] == [True, True, True]
            assert refused(answers[3]) == "too_many_rooms"
            assert await greedy.call("subscribe", "room 0") is True, "it is in there already"
            assert await other.call("subscribe", "mine") is True
            assert await other.call("subscribe", "mine too") is True
            assert refused(await other.call("subscribe", "one too many")) == "too_many_rooms"

        async def is_let_in() -> bool:
            return await other.call("subscribe", "one too many") is True

        await eventually(is_let_in, what="the rooms that were left make place")
