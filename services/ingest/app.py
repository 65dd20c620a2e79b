"""Ingest's parts put together: one source that this ingest has to itself, one pump, one connection."""

import asyncio
import uuid

import structlog

from services.ingest.present import Present
from services.ingest.pump import Pump, SequenceClock
from services.ingest.settings import IngestSettings
from services.ingest.sources import Source, SourceError
from services.ingest.state import Hold, Keeper
from shared import demand, metrics, raw, sources
from shared.broker import BrokerLostError, Channel, Connection, RefusedError, connect, keep_session
from shared.demand import EventsMissingError, vhost_of
from shared.events import SCHEMA_VERSION
from shared.health import Health
from shared.lifecycle import StartError
from shared.tasks import first_of, together
from shared.topology import RAW_EXCHANGE, SOURCES_EXCHANGE

log = structlog.get_logger()

FLUSH_S = 5.0
"""How long ingest waits when it stops for the broker to confirm what it has read."""

PATIENCE_S = 15.0
"""For so long somebody else who has the source after a lost connection may be our own shadow: the broker needs up to
twice the heartbeat to see that the old connection is gone. Then it is another ingest, and this one stops reading; and
so long a source that lets one reader in is read on without the broker."""

TELL_AT_MOST_EVERY_S = 0.2

LOOK_FOR_EXCHANGE_S = 10.0
"""Pause before a broker that lacks the exchange `sources` is asked for it again."""


class IngestApp:
    """Ingest for one source.

    It reads while it has the source to itself (`services.ingest.state`). A broker that is away does not end that:
    what is read meanwhile waits in the pump. Another ingest that has taken over does.
    """

    def __init__(self, settings: IngestSettings, source: Source) -> None:
        self.health = Health("broker", "publishing", "source")
        self._settings = settings
        self._source = source
        self._keeper = Keeper(uuid.uuid4().hex)
        self._channel: Present[Channel] = Present()
        self._ours = asyncio.Event()
        self._deposed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stands_by = False
        self._held_up = False
        self._blocked = False
        self._doubt: asyncio.TimerHandle | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish what the source yields until `stopping`."""
        finished = asyncio.Event()

        async def pump() -> None:
            try:
                while not stopping.is_set():
                    await first_of(stopping.wait(), self._ours.wait())
                    if self._ours.is_set():
                        await self._pump_until(stopping)
            except SourceError as error:
                raise StartError(f"the source can't be read on: {error}") from None
            finally:
                finished.set()

        await together(keep_session(lambda: self._session(finished), finished), pump())

    async def _pump_until(self, stopping: asyncio.Event) -> None:
        """Read and publish until `stopping`, or until the source is somebody else's."""
        state = self._keeper.state
        pump = Pump(
            self._source,
            self._publish,
            self._keeper.keep_place,
            cursor=state.cursor,
            published=state.published,
            notes=self._keeper,
            buffer_events=self._settings.buffer_events,
            clock=SequenceClock(kept=state.seq),
            held_up=self._note_held_up,
            connected=self._channel.get,
        )
        self._idle.clear()
        try:
            await first_of(pump.run(stopping, flush_s=FLUSH_S), self._deposed.wait())
        finally:
            self._idle.set()
            self._note_held_up(False)
            metrics.INGEST_BUFFERED.set(0)

    async def _session(self, finished: asyncio.Event) -> None:
        async with connect(self._settings.amqp_url, name="ingest") as connection:
            self.health.set("broker", True)
            try:
                await first_of(
                    finished.wait(),
                    connection.lost(),
                    connection.watch_alarms(self._note_blocked),
                    self._serve(connection),
                )
            finally:
                self.health.set("broker", False)
                self._keeper.lose()
                self._channel.clear()
                self._note_blocked(False)
                if self._source.one_reader and not finished.is_set():
                    self._doubt_that_it_is_ours()

    async def _serve(self, connection: Connection) -> None:
        await self._have_source(connection)
        channel = await connection.channel(confirms=True)
        self._channel.set(channel)
        self._note_publishing()
        log.info("publishing", source=self._source.name)
        works = [self._tell(connection, channel)]
        if self._source.demand is not None:
            works.append(self._follow(connection, self._source.demand))
        await together(*works)

    async def _have_source(self, connection: Connection) -> None:
        """Return when this ingest has the source to itself, and say meanwhile that another one has it."""

        def wait() -> None:
            self._doubt_that_it_is_ours()
            if not (self._stands_by or self._ours.is_set()):
                self._stands_by = True
                self._note_source()
                self._note_publishing()
                log.info("another ingest has the source, waiting to take over", source=self._source.name)

        hold = await Hold.take(connection, self._source.name, waiting=wait)
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None
        if self._keeper.is_others(hold):
            self._let_go()
        if not self._ours.is_set():
            # What an ended reading has to say at last must not come after what is read now.
            await self._idle.wait()
        await self._keeper.adopt(hold)
        self._stands_by = False
        self._deposed.clear()
        self._ours.set()
        metrics.INGEST_ACTIVE.set(1)
        self._note_source()

    def _doubt_that_it_is_ours(self) -> None:
        """Let go of the source before long, unless we have it again by then."""
        if self._doubt is None:
            self._doubt = asyncio.get_running_loop().call_later(PATIENCE_S, self._let_go)

    def _let_go(self) -> None:
        """Stop reading: the source is, was meanwhile, or may be somebody else's."""
        if self._ours.is_set():
            log.warning("cut off from the broker, or another ingest has taken over", source=self._source.name)
        self._ours.clear()
        self._deposed.set()
        if self._source.demand is not None:
            # By the time it is read again people watch something else.
            self._source.demand.known = False
        metrics.INGEST_ACTIVE.set(0)
        self._note_source()

    async def _publish(self, body: bytes, after: int) -> None:
        channel = await self._channel.get()
        headers = raw.headers(raw.Link(self._source.name, after))
        try:
            await channel.publish(
                RAW_EXCHANGE, body, type=raw.TYPE, headers=headers, persistent=True, to_some_queue=True
            )
        except BrokerLostError:
            self._channel.clear(channel)
            self._note_publishing()
            raise

    async def _tell(self, connection: Connection, channel: Channel) -> None:
        """Publish what the source says of itself, whenever it changes and now and then."""
        # Published without the exchange it would close the channel, which tweets need.
        told = False
        while not await connection.has_exchange(SOURCES_EXCHANGE):
            if not told:
                log.warning(
                    "the broker lacks the exchange sources, nobody is told of them: load "
                    "deploy/rabbitmq/definitions.json"
                )
                told = True
            await asyncio.sleep(LOOK_FOR_EXCHANGE_S)
        report = self._source.report
        while True:
            report.changed.clear()
            self._note_source()
            try:
                body = sources.pack(report.status())
                await channel.publish(SOURCES_EXCHANGE, body, type=sources.TYPE, headers={"v": SCHEMA_VERSION})
            except RefusedError:
                log.debug("a queue for what sources say is full")
            await asyncio.sleep(TELL_AT_MOST_EVERY_S)
            await first_of(report.changed.wait(), asyncio.sleep(sources.INTERVAL_S))

    async def _follow(self, connection: Connection, wanted: demand.Demand) -> None:
        """Keep what people watch up to date for the source."""
        url = self._settings.amqp_url
        try:
            follower = await demand.follow(
                wanted,
                connection,
                queue_name=f"ingest.events.{uuid.uuid4().hex}",
                management_url=self._settings.management_url,
                vhost=vhost_of(url),
            )
        except EventsMissingError as error:
            raise StartError(str(error)) from None
        await follower.snapshot_until_it_works()
        await follower.refresh()

    def _note_held_up(self, held_up: bool) -> None:
        self._held_up = held_up
        self._note_publishing()

    def _note_blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        self._note_publishing()

    def _note_publishing(self) -> None:
        """Whether what is read now would be published, or would be by one that waits for another ingest."""
        free = bool(self._channel) and not (self._held_up or self._blocked)
        self.health.set("publishing", free or self._stands_by)

    def _note_source(self) -> None:
        """An ingest that waits for another one is ready to take over; one that reads is as ready as its source."""
        state = self._source.report.state
        works = self._ours.is_set() and state in ("live", "spent")
        self.health.set("source", works or self._stands_by)
