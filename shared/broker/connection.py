"""Connections, which say once when they are lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aio_pika
import structlog
import yarl
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity, ProbableAuthenticationError
from aiormq.exceptions import InvalidFrameError

from shared import metrics
from shared.broker.channel import Channel
from shared.broker.errors import BrokerLostError, as_lost, raise_if_cancelled, reason
from shared.tasks import forever

log = structlog.get_logger()

HEARTBEAT_S = 3
"""AMQP heartbeat. RabbitMQ gives a silent client up after two of them, aiormq a silent broker after three times a
second more: 12 s."""

CONNECT_TIMEOUT_S = 3
CLOSE_TIMEOUT_S = 1
REBIND_EVERY_S = 5.0
"""How often `Connection.keep_bound` makes sure."""

ALARM_LOOK_S = 0.5
"""How often it is looked whether the broker blocks a connection."""


class Connection:
    """An open AMQP connection."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._connection = connection
        self._lost_because: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(self._on_close)

    async def lost(self) -> None:
        """Wait until the connection is lost and raise `BrokerLostError`."""
        raise BrokerLostError(await asyncio.shield(self._lost_because))

    async def channel(self, *, prefetch: int | None = None, confirms: bool = False) -> Channel:
        """A new channel. `prefetch` bounds the messages delivered and not yet acknowledged."""
        with as_lost(self._lose):
            channel = self._connection.channel(publisher_confirms=confirms)
            await channel.initialize()
            if prefetch is not None:
                await channel.set_qos(prefetch)
            channel.close_callbacks.add(self._on_close)
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._on_consumer_cancel)
            return Channel(channel, self._lose)

    async def has_exchange(self, name: str) -> bool:
        """Whether the broker has an exchange of this name. It may be asked without any right to the exchange."""
        return await self._has(lambda channel: channel.get_exchange(name))

    async def has_queue(self, name: str) -> bool:
        """Whether the broker has a queue of this name."""
        return await self._has(lambda channel: channel.get_queue(name))

    async def keep_bound(self, *bindings: tuple[str, str, str]) -> None:
        """Bind each (queue, exchange, key) again every few seconds, until cancelled or the connection is lost.

        To bind what is bound changes nothing and costs next to nothing. But a binding that somebody has undone, or
        that went with an exchange which was deleted and made anew, comes back; otherwise nobody would be told of it.
        """
        # A channel of its own: to break off a bind closes it.
        channel = await self.channel()
        while True:
            await asyncio.sleep(REBIND_EVERY_S)
            for queue, exchange, key in bindings:
                await (await channel.queue(queue)).bind(exchange, key)

    async def watch_alarms(self, blocked: Callable[[bool], None]) -> None:
        """Tell when the broker takes nothing more from this connection, and when it does again, until cancelled.

        It blocks a connection that publishes while its disk or its memory is short, and says so at the first message.
        """
        transport = self._connection.transport
        while transport is not None:
            await asyncio.sleep(ALARM_LOOK_S)
            try:
                async with asyncio.timeout(0):
                    await transport.connection.ready()
            except TimeoutError:
                log.warning("the broker has an alarm, its disk or its memory is short; it takes nothing")
                blocked(True)
                await transport.connection.ready()
                blocked(False)
                log.info("the broker's alarm is over")
        await forever()

    async def _has(self, look: Callable[[AbstractChannel], Awaitable[object]]) -> bool:
        with as_lost(self._lose):
            # A channel of its own, which the answer "no" closes.
            channel = self._connection.channel(publisher_confirms=False)
            await channel.initialize()
            try:
                await look(channel)
            except ChannelNotFoundEntity:
                return False
            await channel.close()
            return True

    def _on_close(self, _: object, error: BaseException | None) -> None:
        self._lose(reason(error))

    def _on_consumer_cancel(self, *_: object) -> None:
        # The queue was deleted, or moved to another node of a cluster.
        self._lose("the broker has ended a consumer")

    def _lose(self, reason: str) -> None:
        if not self._lost_because.done():
            self._lost_because.set_result(reason)


@contextlib.asynccontextmanager
async def connect(url: str, *, name: str) -> AsyncIterator[Connection]:
    """A connection, closed in the end; `name` is what RabbitMQ's management shows. Raises `BrokerLostError`."""
    with as_lost():
        try:
            connection = await aio_pika.connect(
                yarl.URL(url).update_query(heartbeat=HEARTBEAT_S),
                timeout=CONNECT_TIMEOUT_S,
                client_properties={"connection_name": name},
            )
        except ProbableAuthenticationError as error:
            raise BrokerLostError(f"the broker refuses {yarl.URL(url).user}: check user and password") from error
        except InvalidFrameError as error:
            # What RabbitMQ does for a virtual host that is not there or not allowed.
            raise BrokerLostError(f"the broker refuses the virtual host of {yarl.URL(url).path!r}") from error
    metrics.BROKER_CONNECTIONS.inc()
    try:
        raise_if_cancelled()
        yield Connection(connection)
    finally:
        metrics.BROKER_CONNECTIONS.dec()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)
