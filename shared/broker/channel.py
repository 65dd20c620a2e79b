"""Channels, which publish, and queues, which are consumed and bound."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import aio_pika
import aiormq
import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import DeliveryError
from aiormq.abc import DeliveredMessage

from shared.broker.burst import Outgoing, publish_all
from shared.broker.errors import BrokerLostError, InUseError, RefusedError, UnroutableError, as_lost

log = structlog.get_logger()


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
    tag: int = 0
    """Its number among those that its channel has delivered, from 1 on."""


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
        with as_lost(self._lose):
            await self._queue.bind(exchange, key)

    async def unbind(self, exchange: str, key: str) -> None:
        """Undo `bind`."""
        with as_lost(self._lose):
            await self._queue.unbind(exchange, key)

    async def depth(self) -> Depth:
        """What is in the queue and who reads it, as the broker has it now."""
        with as_lost(self._lose):
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
                with as_lost(self._lose):
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
                        incoming.delivery_tag or 0,
                    )
                )
            except BrokerLostError as error:
                self._lose(str(error))
            except Exception as error:
                log.exception("a message could not be handled")
                self._lose(f"a message could not be handled: {error!r}")

        with as_lost(self._lose):
            try:
                self._consumer_tag = await self._queue.consume(deliver, no_ack=not ack, exclusive=exclusive)
            except aiormq.exceptions.ChannelAccessRefused as error:
                if not exclusive or "exclusive" not in str(error):
                    raise
                reason = f"somebody else consumes {self._queue.name}"
                self._lose(reason)
                raise InUseError(reason) from error

    async def ack_up_to(self, tag: int) -> None:
        """Acknowledge at once all messages that were delivered up to the one with this `Message.tag`."""
        with as_lost(self._lose):
            channel = await self._queue.channel.get_underlay_channel()
            await channel.basic_ack(tag, multiple=True)

    async def stop_consuming(self) -> None:
        """Get no more messages; what was delivered already can still be acknowledged."""
        if self._consumer_tag is not None:
            with as_lost(self._lose):
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
        with as_lost(self._lose):
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
        with as_lost(self._lose):
            queue = await self._channel.declare_queue(name, exclusive=True, auto_delete=True, arguments=arguments)
            return Queue(queue, self._lose)

    async def declare_durable_queue(self, name: str) -> Queue:
        """A queue that outlives its consumers and the broker's restarts. Its bounds are policies."""
        with as_lost(self._lose):
            queue = await self._channel.declare_queue(name, durable=True, arguments={"x-queue-type": "classic"})
            return Queue(queue, self._lose)

    async def declare_last_value_queue(self, name: str) -> Queue:
        """A durable queue that keeps the newest message alone."""
        arguments: dict[str, Any] = {"x-queue-type": "classic", "x-max-length": 1}
        with as_lost(self._lose):
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
        with as_lost(self._lose):
            target = await self._channel.get_exchange(exchange, ensure=False)
            try:
                answer = await target.publish(message, routing_key, mandatory=to_some_queue)
            except DeliveryError as error:
                raise RefusedError(f"the broker refused a message to {exchange}: a queue is full") from error
        if isinstance(answer, DeliveredMessage):
            raise UnroutableError(f"no queue gets what is published to {exchange}")

    async def publish_all(self, exchange: str, messages: Sequence[Outgoing]) -> int:
        """Publish transient messages in one go, and wait for the broker's confirms of all of them.

        Returns how many of them a full queue refused, without telling which; raises `BrokerLostError` where nobody
        knows. It costs a fraction of as many calls of `publish`, on a channel with confirms.
        """
        with as_lost(self._lose):
            channel = await self._channel.get_underlay_channel()
            return await publish_all(channel, exchange, messages)
