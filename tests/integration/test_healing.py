"""The broker goes and comes back: everything works again by itself."""

import asyncio

from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from tests.integration.test_ingest import Posts
from tests.support.broker import Broker
from tests.support.browsers import browser
from tests.support.exchange import publish
from tests.support.services import gateway, router, running, until_ready
from tests.support.tweets import tweet
from tests.support.waiting import eventually


async def test_after_a_restart_of_the_broker_every_wanted_binding_is_back_and_tweets_flow(broker: Broker) -> None:
    source = Posts(can_wait=True, number=0)
    ingest = IngestApp(IngestSettings(amqp_url=broker.amqp_url("ingest")), source)
    async with router(broker) as routing, gateway(broker) as app, running(ingest), browser(app.port) as client:
        for room in ("nfl", "url", "tag/a.b"):
            await client.call("subscribe", room)
        assert client.status == [True]
        await asyncio.to_thread(broker.restart)
        await eventually(lambda: client.status[:2] == [True, False], what="the page is told that the broker is away")
        assert client.connected
        assert await asyncio.wait_for(client.call("subscribe", "while/away"), 10) is True
        for service in (routing, app, ingest):
            await until_ready(service)
        await eventually(lambda: client.status == [True, False, True])
        keys = sorted(key for destination, key in broker.bindings() if destination.startswith("gateway."))
        assert keys == ["action.destroy", "action.update", "has_url", "tag.a%2Eb", "term.nfl", "term.while/away"]

        async def arrives() -> bool:
            await publish(broker, tweet("nfl after the restart"))
            return "nfl after the restart" in client.texts("nfl")

        await eventually(arrives)
