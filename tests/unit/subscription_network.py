"""Everything around two gateways, in memory: sources, routers, an archive that lags, and a broker that loses things.

What can't be foreseen of it in reality, `dice` decide here: how long each step takes, what comes twice, and by which
labels the routers know of just then. It runs in a `LeapingLoop`.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import msgpack

from services.gateway.auth import EVERYTHING, Grant
from services.gateway.bindings import CHANNELS, Bindings
from services.gateway.catchup import CHANGES, CatchUp
from services.gateway.connection import Connection
from services.gateway.holes import Hole
from services.gateway.mending import Mending
from services.gateway.outbox import Outbox
from services.gateway.places import Places
from services.gateway.settings import GatewaySettings
from services.gateway.subscriptions.entering import Entering
from services.gateway.subscriptions.subscribing import Subscribing
from shared.broker import Message, Queue
from shared.events import Document
from shared.history import Answer, Query
from shared.labels import Facets, Label, parse_key
from tests.unit.archive_in_memory import NOW, SECOND, ArchiveInMemory
from tests.unit.parts import Parts

SETTINGS = GatewaySettings(max_rooms_per_client=1000, max_rooms_per_address=100_000)

SETTLED_AFTER_S = 40.0
"""After this everything has arrived, and been looked for again."""


def now() -> float:
    """Seconds on the loop's clock."""
    return asyncio.get_running_loop().time()


class LaggingArchive(ArchiveInMemory):
    """Has what was published some time after that."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.slow_s = 0.0
        """How far it lags behind; only what is published from now on waits for so long."""
        self._dice = dice
        self._published = 0
        self._stored = 0
        self._ready_at = 0.0
        self._progress: list[tuple[int, asyncio.Future[None]]] = []
        self._coming: deque[Document] = deque()
        self._newest_of: dict[str, Document] = {}

    def publish(self, document: Document) -> None:
        """Ingest has published a document."""
        self._published += 1
        self._ready_at = max(self._ready_at, now() + self.slow_s + self._dice.random() * 0.02)
        self._coming.append(document)
        asyncio.get_running_loop().call_at(self._ready_at, self._store)

    def store(self, document: Document) -> None:
        """It has had a document for long."""
        self.documents.append(document)
        before = self._newest_of.get(document["id"])
        if before is None or _version(document) > _version(before):
            self._newest_of[document["id"]] = document

    async def caught_up(self) -> int:
        """As `History`."""
        await asyncio.sleep(self._dice.random() * 0.01)
        if self._stored < self._published:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._progress.append((self._published, waiting))
            await waiting
        return self._newest()

    async def ask(self, query: Query) -> Answer:
        """As `History`."""
        await asyncio.sleep(self._dice.random() * 0.01)
        answer = await super().ask(query)
        await asyncio.sleep(self._dice.random() * 0.01)
        return answer

    def _store(self) -> None:
        self.store(self._coming.popleft())
        self._stored += 1
        for number, waiting in self._progress:
            if number <= self._stored and not waiting.done():
                waiting.set_result(None)

    def _current(self) -> list[Document]:
        return list(self._newest_of.values())

    def _newest(self) -> int:
        # Ingest says how late it is while nothing happens, too.
        ticks = NOW + int(now() * SECOND) - 1 if self._stored == self._published else 0
        return max(super()._newest(), ticks)


class _History:
    """The archive as one gateway sees it."""

    expected = True

    def __init__(self, archive: LaggingArchive) -> None:
        self._archive = archive
        self.newest: int | None = None

    async def here(self, patience_s: float) -> bool:
        return self._archive.is_here

    async def caught_up(self) -> int:
        return self._heard(await self._archive.caught_up())

    async def ask(self, query: Query) -> Answer:
        answer = await self._archive.ask(query)
        self._heard(answer.complete_to)
        return answer

    def _heard(self, complete_to: int) -> int:
        self.newest = max(self.newest or 0, complete_to)
        return complete_to


class _Queue:
    """A gateway's queue, from one connection to the next."""

    def __init__(self, network: "Network") -> None:
        self._network = network
        self.keys: set[str] = set()

    async def bind(self, exchange: str, key: str) -> None:
        await asyncio.sleep(self._network.dice.random() * 0.01)
        self.keys.add(key)
        self._network.bound(key)

    async def unbind(self, exchange: str, key: str) -> None:
        self.keys.discard(key)


class _RestingOutbox(Outbox):
    """Lets what is to be sent wait for company, as one under load does."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(list)
        self._dice = dice

    def flush(self) -> None:
        super().flush()
        self._rest_until = now() + self._dice.choice([0.0, 0.0, 0.5]) * self._dice.random()


class Gateway:
    """The parts of a gateway that subscriptions touch, and its connection to the broker."""

    def __init__(self, network: "Network", *, max_followed: int, max_followed_each: int) -> None:
        outbox = _RestingOutbox(network.dice)
        parts = Parts(outbox=outbox, max_followed=max_followed, max_followed_each=max_followed_each)
        self.rooms, self.versions = parts.rooms, parts.versions
        self.fanout, self.followed = parts.fanout, parts.followed
        self.flush = outbox.flush
        self._network = network
        self.archive = network.archive
        history = cast(Any, _History(network.archive))
        self.received: int | None = None
        self.catchup = CatchUp(history, self.versions, self.fanout, received=lambda: self.received)
        self.bindings = Bindings(CHANGES, unbind_after_s=1.0, released=self._close_room)
        self.subscribing = Subscribing(
            rooms=self.rooms,
            bindings=self.bindings,
            places=Places(self.rooms, self.bindings, SETTINGS),
            catchup=self.catchup,
            entering=Entering(self.catchup, self.versions, outbox, parts.subscribers, send_buffer_bytes=10_000_000),
            outbox=outbox,
            subscribers=parts.subscribers,
            versions=self.versions,
            queries_for_all=True,
        )
        self.mending = Mending(
            self.catchup, history, self.rooms, self.fanout.tell_gap, self.subscribing.tell_changes_lost
        )
        self._queue: _Queue | None = None
        self._arriving: deque[tuple[_Queue, Message, Document]] = deque()
        self._arrives_at = 0.0
        self._session: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Be connected to the broker."""
        queue = self._queue = _Queue(self._network)

        async def bound() -> None:
            self.mending.bound()

        queues = [cast(Queue, queue)] * CHANNELS
        self._session = asyncio.create_task(self.bindings.keep(queues, bound))

    async def lose_connection(self) -> None:
        """Lose what waits, and what comes until `connect`."""
        session, self._session, self._queue = self._session, None, None
        if session is not None:
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)
            self.mending.unbound()

    def overflow(self, number: int) -> None:
        """Lose the oldest messages that wait, and be told so."""
        lost = [self._arriving.popleft() for _ in range(min(number, len(self._arriving)))]
        if not lost:
            return
        for each in lost:
            self._arriving.appendleft((_Queue(self._network), *each[1:]))
        hole = Hole(self.received, max(document["seq"] for _, _, document in lost))
        self.mending.fell_into(hole)

    async def settled(self) -> None:
        """Wait until all was brought, looked for again, and sent."""
        await asyncio.sleep(SETTLED_AFTER_S)
        self.flush()

    def hear(self, keys: list[str], document: Document) -> None:
        """The broker has a message for whoever has bound one of some keys."""
        if self._queue is None or self._queue.keys.isdisjoint(keys):
            return
        message = Message(msgpack.packb([document]), keys[0], {"CC": keys[1:], "v": 1}, _acknowledge)
        self._arriving.append((self._queue, message, document))
        self._arrives_at = max(self._arrives_at, now() + self._network.a_moment())
        asyncio.get_running_loop().call_at(self._arrives_at, self._deliver)

    async def end(self) -> None:
        """End what is under way."""
        await self.lose_connection()
        await self.mending.stop()
        await self.catchup.stop()

    def _close_room(self, label: Label) -> None:
        if (room := self.rooms.close(label)) is not None:
            self.versions.leave(room)

    def _deliver(self) -> None:
        queue, message, document = self._arriving.popleft()
        if queue is self._queue:
            self.fanout.deliver(message)
            self.received = max(self.received or 0, document["seq"])


class Network:
    """Two gateways and what they have in common."""

    def __init__(self, dice: random.Random, *, max_followed: int, max_followed_each: int) -> None:
        self.dice = dice
        self.archive = LaggingArchive(dice)
        self.routers_learn_s = dice.choice([0.0, 0.01, 0.2, 1.5])
        """How long routers take, at most, to know of a binding."""
        self._known: dict[str, Label] = {}
        self._facets: dict[int, tuple[Document, Facets]] = {}
        self._seq = NOW
        limits = {"max_followed": max_followed, "max_followed_each": max_followed_each}
        self.gateways = [Gateway(self, **limits) for _ in range(2)]
        for gateway in self.gateways:
            gateway.connect()

    def a_moment(self) -> float:
        """How long a step takes: mostly next to nothing, now and then very long."""
        dice = self.dice.random()
        return dice * 0.02 if dice < 0.7 else self.dice.random() * (1.0 if dice < 0.93 else 4.0)

    def bound(self, key: str) -> None:
        """Routers get to know of a binding."""
        if key not in self._known:
            after_s = self.dice.random() * self.routers_learn_s
            asyncio.get_running_loop().call_later(after_s, self._known.setdefault, key, parse_key(key))

    def next_seq(self) -> int:
        """What ingest numbers an event with now."""
        self._seq = max(self._seq + 1, NOW + int(now() * SECOND))
        return self._seq

    def publish(self, document: Document) -> None:
        """Ingest publishes an event; routers take it up some time later, maybe twice."""
        self.archive.publish(document)
        loop = asyncio.get_running_loop()
        loop.call_later(self.a_moment(), self._route, document)
        if self.dice.random() < 0.15:
            loop.call_later(self.dice.random() * 3, self._route, document)

    async def end(self) -> None:
        """End what is under way."""
        for gateway in self.gateways:
            await gateway.end()

    def _route(self, document: Document) -> None:
        facets = Facets.of_document(document)
        keys = [key for key, label in self._known.items() if label.matches(facets)]
        if not keys:
            return
        if len(keys) > 1 and self.dice.random() < 0.1:
            # Too many for one message.
            self.dice.shuffle(keys)
            half = self.dice.randrange(1, len(keys))
            parts = [keys[:half], keys[half:]]
        else:
            parts = [keys]
        for part in parts:
            for gateway in self.gateways:
                gateway.hear(part, document)


class Visitor:
    """Whose clients they are."""

    address = "192.0.2.1"


class Client:
    """A connection that polls: it is told one event after the other."""

    ready = None
    pace = None
    visitor = Visitor()

    def __init__(self, told: Callable[[bytes], None], grant: Grant = EVERYTHING) -> None:
        self.grant = grant
        self.places = 0
        self._told = told

    def deliver(self, outlet: object, batch: Any) -> None:
        """As `Connection`."""
        for event in batch.events:
            self._told(event)

    def forget(self, outlet: object) -> None:
        """As `Connection`."""

    @property
    def connection(self) -> Connection:
        """What gateways take it for."""
        return cast(Connection, self)


async def _acknowledge() -> None:
    pass


def _version(document: Document) -> tuple[int, bool]:
    return document["mtime"], document["action"] == "destroy"
