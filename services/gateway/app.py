"""The gateway's parts put together, and the order in which they start and stop."""

import asyncio
import time
import uuid

import structlog
from aiohttp import web

from services.gateway import pages
from services.gateway.arrivals import Arrivals
from services.gateway.auth import token_check
from services.gateway.bindings import CHANNELS, Bindings
from services.gateway.catchup import CHANGES, CatchUp
from services.gateway.clients import Clients
from services.gateway.closing import close_transports
from services.gateway.connection import Connection
from services.gateway.fanout import Fanout
from services.gateway.followers import Followers
from services.gateway.history import History
from services.gateway.holes import Overflow
from services.gateway.mending import Mending
from services.gateway.notices import Notices
from services.gateway.origins import origins
from services.gateway.outbox import Outbox
from services.gateway.overflow import watch
from services.gateway.places import Places
from services.gateway.protocol import make_server
from services.gateway.rooms import Rooms
from services.gateway.settings import GatewaySettings
from services.gateway.sources import Sources
from services.gateway.subscriptions.delivery import Subscribers
from services.gateway.subscriptions.entering import Entering
from services.gateway.subscriptions.followed import Followed
from services.gateway.subscriptions.subscribing import Subscribing
from services.gateway.timeline import Timeline
from services.gateway.versions import Versions
from services.gateway.views import View
from shared import metrics
from shared.broker import Message, connect, keep_session
from shared.health import Health
from shared.labels import Label
from shared.ops import listening
from shared.settings import variable
from shared.tasks import first_of, together
from shared.topology import OVERFLOW_EXCHANGE

log = structlog.get_logger()

PREFETCH = 200
"""Messages taken from the queue ahead of their delivery."""

BACKLOG = 4096
"""Connections that the kernel accepts ahead of us: all browsers of another gateway may come at once."""

KERNEL_BUFFER_BYTES = 64 * 1024
"""What the kernel holds for a browser that does not read, beside the gateway's own buffer; Linux makes it twice that.
By itself the kernel would take several MB. At a round trip of 100 ms it lets 1 MB a second through."""


class GatewayApp:
    """One gateway. It knows nothing of other gateways."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.health = Health("http", "broker", "bindings")
        self.port = settings.port
        """The public port, once it listens."""
        self._settings = settings
        self._rooms: Rooms[Connection] = Rooms()
        self._sources = Sources()
        self._check = token_check(settings)
        self._server = make_server(settings)
        self._versions = versions = Versions[View](settings.remembered_tweets)
        followers = Followers[Connection]()
        followed = Followed[Connection](limit=settings.max_followed, limit_of_one=settings.max_followed_each)
        metrics.GATEWAY_FOLLOWED.set_function(followed.__len__)
        outbox = Outbox(self._server.let_in)
        subscribers = Subscribers(versions, outbox, followed)
        self._fanout = Fanout(self._rooms, versions, followers, subscribers, outbox)
        self._history = History()
        self._catchup = CatchUp(self._history, versions, self._fanout, received=lambda: self._overflow.newest)
        self._overflow = Overflow(now_us=lambda: time.time_ns() // 1000)
        self._notices = Notices(outbox, self._rooms, self._sources)
        self._bindings = Bindings(CHANGES, unbind_after_s=settings.unbind_after_s, released=self._close_room)
        places = Places(self._rooms, self._bindings, settings)
        buffer = settings.send_buffer_bytes
        subscribing = Subscribing(
            rooms=self._rooms,
            bindings=self._bindings,
            places=places,
            catchup=self._catchup,
            entering=Entering(self._catchup, versions, outbox, subscribers, send_buffer_bytes=buffer),
            outbox=outbox,
            subscribers=subscribers,
            versions=versions,
            queries_for_all=settings.queries_for_all,
        )
        metrics.GATEWAY_SUBSCRIPTIONS.set_function(subscribing.__len__)
        self._mending = Mending(
            self._catchup, self._history, self._rooms, self._fanout.tell_gap, subscribing.tell_changes_lost
        )
        self._clients = Clients(
            server=self._server,
            rooms=self._rooms,
            bindings=self._bindings,
            places=places,
            outbox=outbox,
            followers=followers,
            notices=self._notices,
            catchup=self._catchup,
            arrivals=Arrivals(self._catchup, versions, outbox, followers, send_buffer_bytes=buffer),
            subscribing=subscribing,
            check=self._check,
            settings=settings,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping`; then, after the load balancer has noticed, send the browsers elsewhere."""
        app = web.Application()
        self._server.attach(app)
        timeline, foreign = Timeline(self._history, self._settings), origins(self._settings.origins)
        pages.add_routes(app, self._rooms, self._sources, timeline, self._check, origins=foreign)
        closed = asyncio.Event()

        async def serve() -> None:
            settings = self._settings
            setting = " or ".join(variable(type(settings), name) for name in ("host", "port"))
            public = listening(
                app,
                host=settings.host,
                port=settings.port,
                setting=setting,
                backlog=BACKLOG,
                kernel_buffer_bytes=KERNEL_BUFFER_BYTES,
            )
            async with public as self.port:
                self.health.set("http", True)
                log.info("serving", port=self.port)
                await stopping.wait()
                await asyncio.sleep(settings.drain_s)
                await close_transports(self._server)
                closed.set()

        try:
            await together(
                serve(), keep_session(lambda: self._session(closed), closed), self._notices.keep_forgetting(closed)
            )
        finally:
            await self._mending.stop()
            await self._catchup.stop()

    async def _session(self, closed: asyncio.Event) -> None:
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        async with connect(self._settings.amqp_url, name="gateway") as connection:
            channel = await connection.channel(prefetch=PREFETCH)
            name = f"gateway.{uuid.uuid4().hex}"
            queue = await channel.declare_exclusive_queue(name, dead_letter=OVERFLOW_EXCHANGE)
            binding = [await (await connection.channel()).queue(name) for _ in range(CHANNELS)]
            await queue.consume(arrived.put)
            self.health.set("broker", True)

            async def deliver() -> None:
                while True:
                    message = await arrived.get()
                    self._overflow.received(self._fanout.deliver(message))
                    await message.ack()

            async def bound() -> None:
                self.health.set("bindings", True)
                log.info("bound", queue=name, labels=len(self._bindings))
                self._clients.tell_status(live=True)
                self._mending.bound()

            try:
                await first_of(
                    closed.wait(),
                    connection.lost(),
                    deliver(),
                    watch(connection, name, self._overflow, self._mending.fell_into),
                    self._bindings.keep(binding, bound),
                    self._notices.listen(self._settings.amqp_url),
                    self._history.listen(self._settings.amqp_url),
                )
            finally:
                self.health.set("broker", False)
                self.health.set("bindings", False)
                self._mending.unbound()
                if not closed.is_set():
                    self._clients.tell_status(live=False)

    def _close_room(self, label: Label) -> None:
        if (room := self._rooms.close(label)) is not None:
            self._versions.leave(room)
        metrics.GATEWAY_ROOMS.set(len(self._rooms))
