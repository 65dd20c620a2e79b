"""Ingest's parts put together: one source, one pump, one publishing connection."""

import asyncio

import structlog

from services.ingest.pump import Pump, SequenceClock
from services.ingest.settings import IngestSettings
from services.ingest.sources import Source, SourceError
from services.ingest.sources.replay import ReplaySource
from services.ingest.sources.synthetic import SyntheticSource
from shared import raw
from shared.broker import BrokerLostError, Channel, connect, keep_session
from shared.events import SCHEMA_VERSION
from shared.health import Health
from shared.lifecycle import StartError
from shared.tasks import first_of, together
from shared.topology import RAW_EXCHANGE

log = structlog.get_logger()

FLUSH_S = 5.0
"""How long ingest waits when it stops for the broker to confirm what it has read."""


def open_source(settings: IngestSettings) -> Source:
    """The source that the settings name; raises `StartError` where it can't be read."""
    try:
        if settings.source == "replay":
            if settings.replay_path is None:
                raise SourceError("ROOST_INGEST_REPLAY_PATH: the source replay needs a file")
            return ReplaySource(path=settings.replay_path, speed=settings.replay_speed, loop=settings.replay_loop)
        return SyntheticSource(rate=settings.rate, seed=settings.seed)
    except SourceError as error:
        raise StartError(str(error)) from None


class IngestApp:
    """Ingest for one source."""

    def __init__(self, settings: IngestSettings, source: Source) -> None:
        self.health = Health("broker", "publishing")
        self.health.set("publishing", True)
        self._settings = settings
        self._pump = Pump(
            source,
            self._publish,
            buffer_events=settings.buffer_events,
            clock=SequenceClock(),
            held_up=lambda held_up: self.health.set("publishing", not held_up),
        )
        self._channel: Channel | None = None
        self._online = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish what the source yields until `stopping`."""
        finished = asyncio.Event()

        async def pump() -> None:
            try:
                await self._pump.run(stopping, flush_s=FLUSH_S)
            except SourceError as error:
                raise StartError(f"the source can't be read on: {error}") from None
            finally:
                finished.set()

        await together(keep_session(lambda: self._session(finished), finished), pump())

    async def _session(self, finished: asyncio.Event) -> None:
        async with connect(self._settings.amqp_url, name="ingest") as connection:
            self._channel = await connection.channel(confirms=True)
            self._online.set()
            self.health.set("broker", True)
            log.info("publishing")
            try:
                await first_of(finished.wait(), connection.lost())
            finally:
                self.health.set("broker", False)
                self._online.clear()

    async def _publish(self, body: bytes) -> None:
        await self._online.wait()
        channel = self._channel
        assert channel is not None
        try:
            await channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, headers={"v": SCHEMA_VERSION}, persistent=True)
        except BrokerLostError:
            if channel is self._channel:
                self._online.clear()
            raise
