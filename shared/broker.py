"""The way to RabbitMQ: connections that are watched, channels that publish with confirms and consume.

This is the only module that knows aio-pika. A connection here is never repaired: when anything of it is lost,
it is lost as a whole and says so once (`Connection.lost`), and `keep_session` runs the service's session again
with a new one. So what a service wants of the broker is written down once, in its session, and holds at the
first start as after any failure.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

import aio_pika
import aiormq
import structlog
import yarl
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity, DeliveryError, ProbableAuthenticationError
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import InvalidFrameError

from shared import metrics
from shared.tasks import first_of, forever

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

RAN_WELL_S = 10.0
"""A session that lasted this long, longer than any attempt to connect, was one: the next pause is short again."""

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0


class BrokerLostError(Exception):
    """The connection, or a part of it, is gone; everything on it has to be done again on a new one."""


class NotFoundError(BrokerLostError):
    """What was to be used does not exist on the broker."""


class InUseError(BrokerLostError):
    """A queue that was to be consumed exclusively has another consumer."""


class RefusedError(Exception):
    """The broker did not take a message: a queue that it was routed to is full and refuses."""


class UnroutableError(RefusedError):
    """The broker did not take a message: no queue is bound to get it, and it had to get to one."""


class Message(NamedTuple):
    """A message that was received."""

    body: bytes
    routing_key: str
    headers: Mapping[str, Any]
    ack: Callable[[], Awaitable[None]]
    """Tells the broker that it is done with; a message that is never acknowledged comes again to somebody."""
    type: str = ""
    reply_to: str = ""
    """Under which routing key an answer is wanted, if any."""
    correlation_id: str = ""
    """What the answer has to repeat."""


class Depth(NamedTuple):
    """A queue from outside."""

    messages: int
    """Those that are ready; not those that a consumer has and has not acknowledged."""
    consumers: int


class Queue:
    """A queue and the channel on which it is consumed and bound."""

    def __init__(self, queue: AbstractQueue, lose: Callable[[str], None]) -> None:
        """`lose` ends the connection for a reason."""
        self._queue = queue
        self._lose = lose
        self._consumer_tag: str | None = None

    async def bind(self, exchange: str, key: str) -> None:
        """Bind the queue; returns when the broker has done it."""
        with _as_lost(self._lose):
            await self._queue.bind(exchange, key)

    async def unbind(self, exchange: str, key: str) -> None:
        """Undo `bind`."""
        with _as_lost(self._lose):
            await self._queue.unbind(exchange, key)

    async def depth(self) -> Depth:
        """What is in the queue and who reads it, as the broker has it now."""
        with _as_lost(self._lose):
            channel = await self._queue.channel.get_underlay_channel()
            declared = await channel.queue_declare(self._queue.name, passive=True)
        return Depth(declared.message_count or 0, declared.consumer_count or 0)

    async def consume(
        self, on_message: Callable[[Message], Awaitable[None]], *, ack: bool = True, exclusive: bool = False
    ) -> None:
        """Call `on_message` for each message, in a task of its own; the tasks start in the order of delivery.

        With `ack` the channel's prefetch bounds how many are under way, and each has to be acknowledged. An
        exception of `on_message` ends the connection: what it did not acknowledge comes again. `exclusive` keeps
        every other consumer away; where there is one already it raises `InUseError`, and the connection is lost.
        """

        async def deliver(incoming: AbstractIncomingMessage) -> None:
            async def ack() -> None:
                with _as_lost(self._lose):
                    await incoming.ack()

            try:
                await on_message(
                    Message(
                        incoming.body,
                        incoming.routing_key or "",
                        incoming.headers,
                        ack,
                        incoming.type or "",
                        incoming.reply_to or "",
                        incoming.correlation_id or "",
                    )
                )
            except BrokerLostError as error:
                self._lose(str(error))
            except Exception as error:
                log.exception("a message could not be handled")
                self._lose(f"a message could not be handled: {error!r}")

        with _as_lost(self._lose):
            try:
                self._consumer_tag = await self._queue.consume(deliver, no_ack=not ack, exclusive=exclusive)
            except aiormq.exceptions.ChannelAccessRefused as error:
                if not exclusive or "exclusive" not in str(error):
                    raise
                reason = f"somebody else consumes {self._queue.name}"
                self._lose(reason)
                raise InUseError(reason) from error

    async def stop_consuming(self) -> None:
        """Get no more messages; what was delivered already can still be acknowledged."""
        if self._consumer_tag is not None:
            with _as_lost(self._lose):
                await self._queue.cancel(self._consumer_tag)
            self._consumer_tag = None


class Channel:
    """An AMQP channel. When the broker closes it, its connection counts as lost."""

    def __init__(self, channel: AbstractChannel, lose: Callable[[str], None]) -> None:
        """`lose` ends the connection for a reason."""
        self._channel = channel
        self._lose = lose

    async def queue(self, name: str) -> Queue:
        """A queue that exists, by name."""
        with _as_lost(self._lose):
            return Queue(await self._channel.get_queue(name, ensure=False), self._lose)

    async def declare_exclusive_queue(
        self, name: str, *, dead_letter: str | None = None, max_length: int | None = None
    ) -> Queue:
        """A new queue of this connection, gone with it.

        What it drops goes to the exchange `dead_letter` under the queue's own name, nowhere if there is no such
        exchange. Past `max_length` messages it drops its oldest.
        """
        arguments: dict[str, Any] = {}
        if dead_letter is not None:
            # Not a policy: the routing key is another one for each queue.
            arguments |= {"x-dead-letter-exchange": dead_letter, "x-dead-letter-routing-key": name}
        if max_length is not None:
            arguments |= {"x-max-length": max_length, "x-overflow": "drop-head"}
        with _as_lost(self._lose):
            queue = await self._channel.declare_queue(name, exclusive=True, auto_delete=True, arguments=arguments)
            return Queue(queue, self._lose)

    async def declare_durable_queue(self, name: str) -> Queue:
        """A queue that outlives its consumers and the broker's restarts. Its bounds are policies."""
        with _as_lost(self._lose):
            queue = await self._channel.declare_queue(name, durable=True, arguments={"x-queue-type": "classic"})
            return Queue(queue, self._lose)

    async def declare_last_value_queue(self, name: str) -> Queue:
        """A durable queue that keeps the newest message alone."""
        arguments: dict[str, Any] = {"x-queue-type": "classic", "x-max-length": 1}
        with _as_lost(self._lose):
            queue = await self._channel.declare_queue(name, durable=True, arguments=arguments)
            return Queue(queue, self._lose)

    async def publish(
        self,
        exchange: str,
        body: bytes,
        *,
        routing_key: str = "",
        type: str,
        content_type: str = "application/msgpack",
        headers: dict[str, Any] | None = None,
        persistent: bool = False,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        to_some_queue: bool = False,
    ) -> None:
        """Publish one message and, on a channel with confirms, wait for the broker's. Many calls may wait at once.

        Raises `RefusedError` where a full queue refused it, `BrokerLostError` where nobody knows. That nobody wants a
        message is normal; `to_some_queue`, on a channel with confirms, makes it an `UnroutableError`.
        """
        message = aio_pika.Message(
            body,
            headers=headers,
            content_type=content_type,
            type=type,
            reply_to=reply_to,
            correlation_id=correlation_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT if persistent else aio_pika.DeliveryMode.NOT_PERSISTENT,
        )
        with _as_lost(self._lose):
            target = await self._channel.get_exchange(exchange, ensure=False)
            try:
                answer = await target.publish(message, routing_key, mandatory=to_some_queue)
            except DeliveryError as error:
                raise RefusedError(f"the broker refused a message to {exchange}: a queue is full") from error
        if isinstance(answer, DeliveredMessage):
            raise UnroutableError(f"no queue gets what is published to {exchange}")


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
        with _as_lost(self._lose):
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
        with _as_lost(self._lose):
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
        self._lose(_reason(error))

    def _on_consumer_cancel(self, *_: object) -> None:
        # The queue was deleted, or moved to another node of a cluster.
        self._lose("the broker has ended a consumer")

    def _lose(self, reason: str) -> None:
        if not self._lost_because.done():
            self._lost_because.set_result(reason)


@contextlib.asynccontextmanager
async def connect(url: str, *, name: str) -> AsyncIterator[Connection]:
    """A connection, closed in the end; `name` is what RabbitMQ's management shows. Raises `BrokerLostError`."""
    with _as_lost():
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
        _raise_if_cancelled()
        yield Connection(connection)
    finally:
        metrics.BROKER_CONNECTIONS.dec()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)


async def keep_session(
    session: Callable[[], Coroutine[Any, Any, None]], stopping: asyncio.Event, *, grace_s: float = 1.0
) -> None:
    """Run `session` again whenever it loses the broker, with growing, jittered pauses, until it returns.

    A session opens its connections, does its work and returns once `stopping` is set; it is cancelled when it has
    not within `grace_s` seconds, say because it was connecting to a host that does not answer.
    """
    delay = FIRST_DELAY_S
    told = ""
    loop = asyncio.get_running_loop()
    while not stopping.is_set():
        began = loop.time()
        try:
            await first_of(session(), _overdue(stopping, grace_s))
        except BrokerLostError as error:
            _raise_if_cancelled()
            if loop.time() - began > RAN_WELL_S:
                delay, told = FIRST_DELAY_S, ""
            pause = delay * random.uniform(0.5, 1)
            metrics.BROKER_LOSSES.inc()
            if str(error) != told:
                told = str(error)
                if isinstance(error, InUseError):
                    log.info("another one was quicker, trying again until it is gone", reason=told)
                else:
                    log.warning("broker is away, trying again until it is back", reason=told)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)
            delay = min(LONGEST_DELAY_S, delay * 2)


def _raise_if_cancelled() -> None:
    """Raise a cancellation that a library has swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _overdue(stopping: asyncio.Event, grace_s: float) -> None:
    await stopping.wait()
    await asyncio.sleep(grace_s)


@contextlib.contextmanager
def _as_lost(lose: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Raise what the libraries below raise for a lost connection as `BrokerLostError`, and `lose` the connection.

    So nobody is told of a loss of which `Connection.lost` does not know.
    """
    try:
        yield
    except ChannelNotFoundEntity as error:
        lose(_reason(error))
        raise NotFoundError(_reason(error)) from error
    except asyncio.CancelledError as error:
        _raise_if_cancelled()
        # Not our task was cancelled but what it waits for: aiormq does so when it gives a silent broker up.
        lose(_reason(error))
        raise BrokerLostError(_reason(error)) from error
    except (AMQPError, aiormq.AMQPError, OSError, TimeoutError, RuntimeError) as error:
        lose(_reason(error))
        raise BrokerLostError(_reason(error)) from error


def _reason(error: BaseException | None) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "no sign of life from the broker"
    if isinstance(error, TimeoutError):
        return "the broker does not answer"
    text = str(error) if error is not None else ""
    return text or (type(error).__name__ if error is not None else "connection closed")
