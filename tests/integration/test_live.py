"""Live sources and people: X is asked for what somebody watches, and only for what it may be asked for."""

import pytest

from services.ingest.app import IngestApp
from services.ingest.forget import forget
from services.ingest.settings import IngestSettings
from services.ingest.sources.x_api.rulebook import LOOK_S
from tests.support.broker import Broker
from tests.support.browsers import browser
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router, running
from tests.support.turned_clock import TurnedClock
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.x_server import TOKEN, post, x_server
from tests.support.x_source import wishing, x_source


def ingest(broker: Broker, source: object) -> IngestApp:
    settings = IngestSettings(amqp_url=broker.amqp_url("ingest"), management_url=broker.management_url("ingest"))
    return IngestApp(settings, source)  # type: ignore[arg-type]


async def test_x_is_asked_for_the_rooms_that_people_are_in_if_it_may_be(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = TurnedClock()
    async with x_server() as server, router(broker), gateway(broker) as site, browser(site.port) as reader:
        source = x_source(server.url, clock, **wishing("nfl", "tag/ai"))
        async with running(ingest(broker, source)):
            await eventually(lambda: source.report.state == "live", what="X was asked which rules it has")
            assert await reader.call("subscribe", "nfl") is True
            assert await reader.call("subscribe", "a visitor's idea") is True
            # Told at once, long before X is.
            await clock.turn(LOOK_S)
            await eventually(lambda: ("nfl", 40) in reader.asking)
            await eventually(lambda: ("a visitor's idea", None) in reader.asking)
            assert server.rules == []

            async def asked() -> bool:
                await clock.turn(1)
                return server.streaming

            await eventually(asked)
            assert [rule["value"] for rule in server.rules] == ["nfl"]
            assert await server.push(post("kick-off! #NFL nfl"))
            assert not await server.push(post("a visitor's idea"))
            await eventually(lambda: reader.texts("nfl") == ["kick-off! #NFL nfl"])
            # What comes anyway is matched as always.
            assert await server.push(post("nfl is a visitor's idea"))
            await eventually(lambda: reader.texts("a visitor's idea") == ["nfl is a visitor's idea"])
            assert metric("roost_source_not_asked", source="x") == 1
            await reader.call("unsubscribe", "nfl")

            async def not_asked() -> bool:
                await clock.turn(1)
                return server.rules == []

            await eventually(not_asked)
    assert TOKEN not in capsys.readouterr().out


async def test_what_is_forgotten_goes_from_the_open_pages(broker: Broker) -> None:
    async with router(broker), gateway(broker) as site, browser(site.port) as reader:
        assert await reader.call("subscribe", "nfl") is True
        shown = [tweet("nfl, to stay", id="x:1"), tweet("nfl, to go", id="x:2")]
        await publish(broker, *shown)
        await eventually(lambda: len(reader.page("nfl")) == 2)
        await forget(broker.amqp_url("ingest"), ["x:2"])
        await eventually(lambda: reader.page("nfl") == {"x:1": "nfl, to stay"})
        await publish(broker, shown[1], tweet("nfl, later", id="x:3"))
        await eventually(lambda: "x:3" in reader.page("nfl"))
        assert "x:2" not in reader.page("nfl")
