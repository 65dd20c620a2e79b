"""An archive inside the test's own process, and somebody who asks it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack

from services.archive.app import ArchiveApp
from services.archive.settings import ArchiveSettings
from services.ingest.pump import SequenceClock
from shared import raw
from shared.broker import Channel, Message, connect
from shared.events import Document, Event
from shared.history import (
    MARK_KEY,
    MARK_TYPE,
    QUERY_KEY,
    QUERY_TYPE,
    Answer,
    Query,
    StatesQuery,
    TweetsQuery,
    pack,
    unpack_answer,
)
from shared.topology import ANSWERS_EXCHANGE, ARCHIVE_EXCHANGE, ARCHIVE_QUEUE, QUERIES_QUEUE, RAW_EXCHANGE
from tests.support.broker import Broker
from tests.support.management import delete_queue
from tests.support.services import running, until_ready

PATIENCE_S = 15.0


_brokers: list[Broker] = []
"""Those that archives have left queues on."""


def take_away(broker: Broker) -> None:
    """Take away what archives have left on a broker: gateways would wait for one."""
    for name in (ARCHIVE_QUEUE, QUERIES_QUEUE):
        delete_queue(broker, name)


def take_all_away() -> None:
    """Take away what the archives of a test have left."""
    while _brokers:
        take_away(_brokers.pop())


@asynccontextmanager
async def archive(broker: Broker, folder: Path, **settings: Any) -> AsyncIterator[ArchiveApp]:
    """An archive that is ready and keeps its files in `folder`."""
    defaults: dict[str, Any] = {"amqp_url": broker.amqp_url("archive"), "folder": folder}
    app = ArchiveApp(ArchiveSettings(**(defaults | settings)))
    if not _in_use(folder):
        await asyncio.to_thread(take_away, broker)
    if broker not in _brokers:
        _brokers.append(broker)
    async with running(app):
        await until_ready(app)
        yield app


def _in_use(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


class Asking:
    """Somebody who asks the archive, as a gateway does."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name = name
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    async def mark(self) -> int:
        """Wait until all that was published before is in the archive; returns its newest `seq`."""
        return (await self._ask(MARK_KEY, MARK_TYPE, b"")).complete_to

    async def tweets(self, label: str, limit: int = 50, **query: Any) -> Answer:
        """The answer to a `TweetsQuery`."""
        return await self.ask(TweetsQuery(label=label, limit=limit, **query))

    async def states(self, *ids: str) -> Answer:
        """The answer to a `StatesQuery`."""
        return await self.ask(StatesQuery(ids=ids))

    async def ask(self, query: Query) -> Answer:
        """The answer to any query."""
        return await self._ask(QUERY_KEY, QUERY_TYPE, pack(query))

    async def ask_with(self, body: bytes) -> Answer:
        """The answer to whatever stands in a body."""
        return await self._ask(QUERY_KEY, QUERY_TYPE, body)

    async def _ask(self, key: str, kind: str, body: bytes) -> Answer:
        number = uuid.uuid4().hex
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._channel.publish(
            ARCHIVE_EXCHANGE, body, routing_key=key, type=kind, reply_to=self._name, correlation_id=number
        )
        return await asyncio.wait_for(self._waiting[number], PATIENCE_S)

    async def take(self, message: Message) -> None:
        """An answer has come."""
        waiting = self._waiting.pop(message.correlation_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(unpack_answer(message.body))


@asynccontextmanager
async def asking(broker: Broker) -> AsyncIterator[Asking]:
    """Somebody who may do what a gateway may."""
    name = f"gateway.{uuid.uuid4().hex}.answers"
    async with connect(broker.amqp_url("gateway"), name="test asking") as connection:
        channel = await connection.channel()
        queue = await channel.declare_exclusive_queue(name)
        await queue.bind(ANSWERS_EXCHANGE, name)
        somebody = Asking(channel, name)
        await queue.consume(somebody.take, ack=False)
        yield somebody


def documents(answer: Answer) -> list[Document]:
    """What an answer brings, unpacked."""
    assert answer.error is None, answer.error
    return [msgpack.unpackb(document) for document in answer.documents]


def texts(answer: Answer) -> list[str]:
    """The texts of what an answer brings, newest first."""
    return [str(document.get("text")) for document in documents(answer)]


class Chain:
    """A source whose batches are linked, each to the one before, as those of an ingest are."""

    def __init__(self, broker: Broker, source: str = "test") -> None:
        self._broker = broker
        self._source = source
        self._clock = SequenceClock()
        self.last = 0
        """The `seq` that was given last."""

    async def publish(self, *batches: Sequence[Event]) -> None:
        """Publish batches of events."""
        async with connect(self._broker.amqp_url("ingest"), name="test ingest") as connection:
            channel = await connection.channel(confirms=True)
            for events in batches:
                link = raw.Link(self._source, self.last)
                body = raw.pack([raw.entry(event, self._clock.next()) for event in events])
                self.last = self._clock.last
                await channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, headers=raw.headers(link), persistent=True)
