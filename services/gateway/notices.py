"""What sources say of themselves, from the broker to clients: who is told what, and when."""

import asyncio
import uuid

import structlog

from services.gateway import frames
from services.gateway.connection import Connection
from services.gateway.outbox import Outbox
from services.gateway.rooms import Room, Rooms
from services.gateway.sources import News, Sources
from shared import metrics, sources
from shared.broker import BrokerLostError, Message, NotFoundError, connect
from shared.events import SCHEMA_VERSION, UnreadableError
from shared.tasks import first_of
from shared.topology import SOURCES_EXCHANGE

log = structlog.get_logger()

FORGET_EVERY_S = 1.0

RETRY_S = 10.0
"""Pause before what sources say is listened to again, where only that went wrong."""

SETTLE_S = 1.0
"""Within this time after a failure the session learns of it if the broker as a whole is away, and says so itself."""


class Notices:
    """Tells clients how the sources are, and rooms whether a source is being asked for them."""

    def __init__(self, outbox: Outbox, rooms: Rooms[Connection], known: Sources) -> None:
        self._outbox = outbox
        self._rooms = rooms
        self._known = known

    async def listen(self, amqp_url: str) -> None:
        """Hear what sources say, until cancelled.

        On a connection of its own: a broker that lacks the exchange, or the right to it, closes the channel that
        asks, and with it a connection. Tweets do not need it.
        """
        told = ""
        while True:
            try:
                await self._hear_all(amqp_url)
            except BrokerLostError as error:
                await asyncio.sleep(SETTLE_S)
                if str(error) != told:
                    told = str(error)
                    log.warning(_why_not(error), reason=told)
                await asyncio.sleep(RETRY_S)

    async def keep_forgetting(self, stopping: asyncio.Event) -> None:
        """Forget the sources that have fallen silent, also while the broker is away, until `stopping`."""

        async def forget() -> None:
            while True:
                await asyncio.sleep(FORGET_EVERY_S)
                for news in self._known.forget(_now()):
                    self._tell(news)

        await first_of(stopping.wait(), forget())

    def greet(self, connection: Connection) -> None:
        """Tell a client that has just come which sources are not live."""
        for source in self._known.not_live(_now()):
            connection.emit("source", source)

    def enter(self, connection: Connection, room: Room[Connection]) -> None:
        """Tell who has just entered a room which sources are being asked for it, and which are not."""
        for source, seconds in self._known.of_room(room.key, _now()):
            connection.emit("asking", {"source": source, "seconds": seconds}, room.name)

    async def _hear_all(self, amqp_url: str) -> None:
        # One after the other: rooms must not be told an older status after a newer one.
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        async with connect(amqp_url, name="gateway, of sources") as connection:
            name = f"gateway.sources.{uuid.uuid4().hex}"
            queue = await (await connection.channel()).declare_exclusive_queue(name)
            await queue.bind(SOURCES_EXCHANGE, "")
            await queue.consume(arrived.put, ack=False)

            async def hear() -> None:
                while True:
                    self._hear(await arrived.get())

            await first_of(connection.lost(), hear(), connection.keep_bound((name, SOURCES_EXCHANGE, "")))

    def _hear(self, message: Message) -> None:
        try:
            version = message.headers.get("v", SCHEMA_VERSION)
            if version != SCHEMA_VERSION:
                raise UnreadableError(f"format {version} and not {SCHEMA_VERSION}")
            news = self._known.hear(sources.unpack(message.body), _now())
        except (UnreadableError, RecursionError) as error:
            metrics.GATEWAY_UNREADABLE.inc()
            log.warning("unreadable message on the exchange sources", reason=str(error))
            return
        self._tell(news)

    def _tell(self, news: News) -> None:
        metrics.GATEWAY_SOURCES.set(len(self._known))
        if news.source is not None:
            self._outbox.send_everybody(frames.event("source", frames.json(news.source)))
        for label, seconds in news.rooms.items():
            room = self._rooms.with_key(label)
            if room is not None and room.members:
                json = frames.json({"source": news.name, "seconds": seconds})
                self._outbox.put(room, room.event("asking", json))


def _why_not(error: BrokerLostError) -> str:
    if isinstance(error, NotFoundError):
        return (
            "the broker lacks the exchange sources, pages are not told of them: load deploy/rabbitmq/definitions.json"
        )
    return "what sources say can't be heard, pages are not told of them"


def _now() -> float:
    return asyncio.get_running_loop().time()
