"""Ingest, router and gateway together in the test's own process, and a page: what a fault may not break for good."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from services.ingest.sources import Item, Notes
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from shared.demand import EVENTS
from shared.events import Tweet
from shared.lifecycle import Service
from tests.support.broker import Broker
from tests.support.browsers import Client, browser
from tests.support.management import bound_to, queues
from tests.support.services import running
from tests.support.sources import ListSource
from tests.support.tweets import tweet
from tests.support.waiting import eventually

PINNED = ("action.destroy", "action.update")


class Spoken(ListSource):
    """A source that yields what the test says, and can be resumed anywhere."""

    def __init__(self) -> None:
        super().__init__(())
        self.said: list[Tweet] = []
        self._more = asyncio.Event()

    def say(self, text: str) -> Tweet:
        """A new tweet of this text."""
        self.said.append(tweet(text))
        self._more.set()
        return self.said[-1]

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        self.reads += 1
        number = int(cursor or 0)
        while True:
            while number < len(self.said):
                yield Item(self.said[number], str(number := number + 1))
            self._more.clear()
            await self._more.wait()


class Whole:
    """The three services, and a page in one room."""

    def __init__(
        self, broker: Broker, source: Spoken, services: tuple[IngestApp, RouterApp, GatewayApp], page: Client
    ) -> None:
        self._broker = broker
        self.source = source
        self.ingest, self.router, self.gateway = self.services = services
        self.page = page
        self.rooms = ["nfl"]

    async def until_ready(self) -> None:
        """Wait until all three say that they can do their work."""
        await eventually(lambda: all(service.health.ready for service in self.services), what="all are ready")

    async def works(self) -> None:
        """All are ready, tweets that are published now come to the page, and every binding is there once."""
        said: list[str] = []

        async def comes() -> bool:
            # More than one: what was under way to a queue when that was deleted is gone with it.
            said.append(self.source.say(f"nfl {len(self.source.said)}").text)
            await asyncio.sleep(0.1)
            return not set(said).isdisjoint(self.page.texts("nfl"))

        await self.until_ready()
        await eventually(comes, what="a new tweet is on the page")
        # A broker that was short of something is slow to see that a connection is gone.
        try:
            await eventually(lambda: not self.wrong_bindings(), within_s=30)
        except AssertionError:
            raise AssertionError(f"not every binding is there once: {self.wrong_bindings()}") from None
        await self.until_ready()

    async def loses_nothing(self) -> None:
        """All that was ever said comes to the page."""
        await eventually(lambda: not self.lost(), what="every tweet is on the page")

    def wrong_bindings(self) -> str:
        """What is wrong with the bindings of the services; nothing if each is there once."""
        own = [name for name in queues(self._broker, "gateway.") if name.count(".") == 1]
        if len(own) != 1:
            return f"queues of the gateway: {own}"
        expected = sorted((own[0], key) for key in (*PINNED, *(f"term.{room}" for room in self.rooms)))
        if (bound := bound_to(self._broker, "tweets", "gateway.")) != expected:
            return f"bound to tweets: {bound}"
        return wrong_bindings_of_router(self._broker) or wrong_bindings_of_ingest(self._broker)

    def lost(self) -> set[str]:
        """The texts that were said and are not on the page of the room that has all of them."""
        return {one.text for one in self.source.said} - set(self.page.texts("nfl"))


def wrong_bindings_of_router(broker: Broker) -> str:
    """What is wrong with those of the one router; nothing if each is there once."""
    if (bound := bound_to(broker, "tweets.raw", "router.")) != [("router.raw", "")]:
        return f"bound to tweets.raw: {bound}"
    events = queues(broker, "router.events.")
    wanted = [(name, key) for name in events for key in EVENTS]
    if len(events) != 1 or (bound := bound_to(broker, "amq.rabbitmq.event", "router.")) != wanted:
        return f"queues for events: {events}, bound: {bound}"
    return ""


def wrong_bindings_of_ingest(broker: Broker) -> str:
    """What is wrong with those of the one ingest; nothing if each is there once."""
    bound = bound_to(broker, "ingest.state", "ingest.state.list")
    return "" if bound == [("ingest.state.list", "list")] else f"bound to ingest.state: {bound}"


def through(port: int, user: str) -> str:
    """The URL of a proxy before the broker."""
    return f"amqp://{user}:{user}@127.0.0.1:{port}/"


@asynccontextmanager
async def whole(broker: Broker, **urls: str) -> AsyncIterator[Whole]:
    """The three services, ready, and a page in the room `nfl`. `urls` replace the broker's, by service."""
    source = Spoken()
    of: dict[str, Any] = {name: {"amqp_url": broker.amqp_url(name)} for name in ("ingest", "router", "gateway")}
    for name, url in urls.items():
        of[name]["amqp_url"] = url
    ingest = IngestApp(IngestSettings(**of["ingest"]), source)
    router = RouterApp(RouterSettings(**of["router"], management_url=broker.management_url("router")))
    gateway = GatewayApp(GatewaySettings(**of["gateway"], port=0, unbind_after_s=0.2))
    services: tuple[Service, ...] = (ingest, router, gateway)
    async with running(ingest), running(router), running(gateway):
        await eventually(lambda: all(service.health.ready for service in services), within_s=30)
        async with browser(gateway.port) as page:
            together = Whole(broker, source, (ingest, router, gateway), page)
            assert await page.call("subscribe", "nfl") is True
            await together.works()
            yield together
