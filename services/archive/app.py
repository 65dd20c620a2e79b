"""The archive's parts put together: batches and marks on one side, queries on the other."""

import asyncio
import time

import structlog

from services.archive.batches import read
from services.archive.queries import Queries
from services.archive.settings import ArchiveSettings
from services.archive.store import Store
from services.archive.writer import Writer
from shared import metrics
from shared.broker import BrokerLostError, Channel, Connection, Message, NotFoundError, Queue, connect, keep_session
from shared.events import UnreadableError
from shared.health import Health
from shared.history import ANSWER_TYPE, MARK_KEY, QUERY_KEY, Answer, Query, pack, unpack_query
from shared.tasks import first_of
from shared.topology import ANSWERS_EXCHANGE, ARCHIVE_EXCHANGE, ARCHIVE_QUEUE, QUERIES_QUEUE, RAW_EXCHANGE

log = structlog.get_logger()

PREFETCH_BATCHES = 100
"""Batches in memory at most: 50 MB where they are as large as can be, and half as much more with huge events."""
PREFETCH_QUERIES = 64
DRAIN_S = 3.0
"""How long an archive that stops goes on with what it has; the broker keeps what is not done by then."""

NO_DISK = "the archive can't use its disk at present"


class ArchiveApp:
    """One archive."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self.health = Health("broker", "disk", "consuming", "answering")
        self._settings = settings
        self._store = Store(
            settings.folder,
            keep_us=int(settings.keep_hours * 3_600_000_000),
            keep_bytes=settings.keep_bytes,
            segment_us=int(settings.segment_minutes * 60_000_000),
        )
        self._queries = Queries(lambda: self._store.state)

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep and answer until `stopping`. Raises `StartError` where the folder can't be used."""
        self._store.lock()
        writer = Writer(self._store, able=lambda able: self.health.set("disk", able))
        writer.start()
        try:
            await first_of(
                keep_session(lambda: self._session(writer, stopping), stopping, grace_s=DRAIN_S + 1), writer.failed()
            )
        finally:
            writer.drop_waiting(BrokerLostError("stopping"))
            await writer.stop()
            self.health.set("disk", False)
            self._queries.close()

    async def _session(self, writer: Writer, stopping: asyncio.Event) -> None:
        url = self._settings.amqp_url
        async with (
            connect(url, name="archive consuming") as consuming,
            connect(url, name="archive answering") as answering,
        ):
            self.health.set("broker", True)
            try:
                if not await answering.has_exchange(ANSWERS_EXCHANGE):
                    raise NotFoundError(
                        "the broker lacks the exchange archive.answers: load deploy/rabbitmq/definitions.json"
                    )
                taking = _Taking(writer, await answering.channel())
                self.health.set("answering", True)
                queues: list[Queue] = []
                await first_of(
                    stopping.wait(),
                    consuming.lost(),
                    answering.lost(),
                    answering.watch_alarms(lambda blocked: self.health.set("answering", not blocked)),
                    self._consume(consuming, writer, taking, queues),
                )
                for queue in queues:
                    await queue.stop_consuming()
                await first_of(taking.idle(), asyncio.sleep(DRAIN_S))
            finally:
                for part in ("broker", "consuming", "answering"):
                    self.health.set(part, False)
                # The broker brings them again.
                writer.drop_waiting(BrokerLostError("the connection is gone"))

    async def _consume(self, consuming: Connection, writer: Writer, taking: "_Taking", queues: list[Queue]) -> None:
        await writer.begun()
        channel = await consuming.channel(prefetch=PREFETCH_BATCHES)
        batches = await channel.declare_durable_queue(ARCHIVE_QUEUE)
        await batches.bind(RAW_EXCHANGE, "")
        await batches.bind(ARCHIVE_EXCHANGE, MARK_KEY)
        channel = await consuming.channel(prefetch=PREFETCH_QUERIES)
        queries = await channel.declare_durable_queue(QUERIES_QUEUE)
        await queries.bind(ARCHIVE_EXCHANGE, QUERY_KEY)
        # Whoever has the tweets to itself answers; another archive waits, and tries again.
        await batches.consume(taking.take, exclusive=True)
        queues.append(batches)
        await queries.consume(lambda message: taking.answer(message, self._queries))
        queues.append(queries)
        self.health.set("consuming", True)
        log.info("archiving", folder=str(self._settings.folder), complete_to=self._store.state.complete_to)
        await consuming.keep_bound(
            (ARCHIVE_QUEUE, RAW_EXCHANGE, ""),
            (ARCHIVE_QUEUE, ARCHIVE_EXCHANGE, MARK_KEY),
            (QUERIES_QUEUE, ARCHIVE_EXCHANGE, QUERY_KEY),
        )


class _Taking:
    """What is done with each message, in one session."""

    def __init__(self, writer: Writer, answering: Channel) -> None:
        self._writer = writer
        self._answering = answering
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        await self._idle.wait()

    async def take(self, message: Message) -> None:
        """A batch, or a mark between batches: acknowledged when all before it, and itself, is on the disk."""
        with _Counted(self):
            # What comes from gateways is a mark, whatever it says of itself: they may not write history.
            if message.routing_key == MARK_KEY:
                complete_to = await self._writer.mark()
                await message.ack()
                await self._reply(message, Answer(complete_to=complete_to))
                return
            batch, unreadable = read(message.body, message.headers, now_us=time.time_ns() // 1000)
            if unreadable:
                metrics.ARCHIVE_UNREADABLE.inc(unreadable)
            await self._writer.add(batch)
            await message.ack()

    async def answer(self, message: Message, queries: Queries) -> None:
        """A query."""
        with _Counted(self):
            try:
                query = unpack_query(message.body)
            except UnreadableError as error:
                answer = Answer(error=str(error))
            else:
                answer = await self._answer(query, queries)
            metrics.ARCHIVE_ANSWERS.labels(outcome="error" if answer.error else "answered").inc()
            # Before it is acknowledged: no more answers wait for a broker in need than are asked for at once.
            await self._reply(message, answer)
            await message.ack()

    async def _answer(self, query: Query, queries: Queries) -> Answer:
        if not self._writer.working:
            return Answer(error=NO_DISK)
        try:
            return await queries.answer(query)
        except Exception as error:
            # One that fails here fails again wherever it goes: it must not take the others with it.
            log.exception("a query could not be answered", query=query)
            return Answer(error=f"the archive has failed to answer: {type(error).__name__}")

    async def _reply(self, message: Message, answer: Answer) -> None:
        if message.reply_to:
            await self._answering.publish(
                ANSWERS_EXCHANGE,
                pack(answer),
                routing_key=message.reply_to,
                type=ANSWER_TYPE,
                correlation_id=message.correlation_id,
            )


class _Counted:
    """One more is under way."""

    def __init__(self, taking: _Taking) -> None:
        self._taking = taking

    def __enter__(self) -> None:
        self._taking._under_way += 1
        self._taking._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._taking._under_way -= 1
        if not self._taking._under_way:
            self._taking._idle.set()
