"""On its way into a room a client may ask again, leave, or meet an error: it ends in the room or out of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from services.gateway.auth import EVERYTHING
from services.gateway.clients import Clients
from services.gateway.places import Places
from services.gateway.settings import GatewaySettings
from shared.events import to_document
from shared.labels import Label
from tests.support.tweets import tweet
from tests.unit.archive_in_memory import NOW, SECOND, World
from tests.unit.newcomer import Newcomer

NFL = Label("term", "nfl")


class _Visitor:
    address = "192.0.2.1"
    refusal = None


class _Client(Newcomer):
    """A client with an address."""

    pace = None
    places = 0
    visitor = _Visitor()

    def __init__(self) -> None:
        super().__init__(EVERYTHING)

    def forget(self, outlet: object) -> None:
        pass


class _Server:
    """Takes handlers of events, and knows clients by themselves."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[..., Awaitable[Any]]] = {}

    def on(self, event: str, handler: Callable[..., Awaitable[Any]]) -> None:
        self.handlers[event] = handler

    def socket(self, sid: object) -> object:
        return sid


class _Bindings:
    """Binds when the test says so."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.error: Exception | None = None
        self.released: list[Label] = []

    async def want(self, label: Label) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error

    def release(self, label: Label) -> None:
        self.released.append(label)

    def __len__(self) -> int:
        return 0


class _Notices:
    def enter(self, *_: object) -> None:
        pass


class _NoSubscriptions:
    def has(self, *_: object) -> bool:
        return False


class Story:
    """A gateway's handlers, with a broker that binds when it is told to."""

    def __init__(self) -> None:
        self.world = World()
        self.world.told = []
        self.server, self.bindings = _Server(), _Bindings()
        settings = GatewaySettings()
        Clients(
            server=cast(Any, self.server),
            rooms=self.world.rooms,
            bindings=cast(Any, self.bindings),
            places=Places(self.world.rooms, cast(Any, self.bindings), settings),
            outbox=self.world.outbox,
            followers=self.world.followers,
            notices=cast(Any, _Notices()),
            catchup=self.world.catchup,
            arrivals=self.world.arrivals,
            subscribing=cast(Any, _NoSubscriptions()),
            check=cast(Any, None),
            settings=settings,
        )
        self.client = _Client()

    async def ask(self, event: str, request: object) -> Any:
        return await self.server.handlers[event](self.client, request)

    def asking(self, event: str, request: object) -> asyncio.Task[Any]:
        return asyncio.create_task(self.ask(event, request))

    @property
    def is_in(self) -> bool:
        room = self.world.rooms.with_key(NFL.key)
        return room is not None and self.client in room.members


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_asks_twice_is_answered_when_the_room_is_bound() -> None:
    story = Story()
    first, second = story.asking("subscribe", "nfl"), story.asking("subscribe", "nfl")
    await turns()
    assert not first.done()
    assert not second.done()
    story.bindings.open.set()
    assert await first is True
    assert await second is True
    assert story.is_in
    await story.world.end()


async def test_who_leaves_before_it_is_in_and_comes_again_is_told_the_past_once() -> None:
    story = Story()
    story.world.archive.documents.append(to_document(tweet("nfl 1"), NOW + SECOND))
    first = story.asking("subscribe", {"room": "nfl", "backfill": 50})
    await turns()
    assert await story.ask("unsubscribe", "nfl") is True
    second = story.asking("subscribe", {"room": "nfl", "backfill": 50})
    await turns()
    story.bindings.open.set()
    await asyncio.gather(first, second)
    assert story.client.short() == ["newTweet nfl 1"]
    assert story.is_in
    await story.world.end()


async def test_who_leaves_before_it_is_in_is_not_in() -> None:
    story = Story()
    coming = story.asking("subscribe", "nfl")
    await turns()
    await story.ask("unsubscribe", "nfl")
    story.bindings.open.set()
    await coming
    assert not story.is_in
    assert story.bindings.released == [NFL]
    await story.world.end()


async def test_an_error_on_the_way_leaves_the_client_out_and_it_can_come_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story()
    story.bindings.open.set()
    story.bindings.error = RuntimeError("anything")
    answer = await story.ask("subscribe", "nfl")
    assert answer["error"]["code"] == "internal"
    assert not story.is_in
    assert not story.world.rooms.is_member(cast(Any, story.client), NFL)
    story.bindings.error = None
    assert await story.ask("subscribe", "nfl") is True
    assert story.is_in
    await story.world.end()
