"""Both ends of the exchange `tweets`: what ingest publishes, and a consumer that plugs itself in."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import aio_pika

from services.ingest.pump import SequenceClock
from shared import feed, raw
from shared.broker import connect
from shared.events import Document, Event
from shared.topology import RAW_EXCHANGE
from tests.support.broker import Broker

_clock = SequenceClock()


async def publish_body(broker: Broker, body: bytes) -> None:
    """Publish one message to `tweets.raw` as ingest does."""
    async with connect(broker.amqp_url("ingest"), name="test ingest") as connection:
        channel = await connection.channel(confirms=True)
        await channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, persistent=True)


async def publish(broker: Broker, *events: Event) -> None:
    """Publish events as one raw batch."""
    await publish_body(broker, raw.pack([raw.entry(event, _clock.next()) for event in events]))


async def publish_one_by_one(broker: Broker, *events: Event) -> None:
    """Publish each event as a raw batch of its own."""
    async with connect(broker.amqp_url("ingest"), name="test ingest") as connection:
        channel = await connection.channel(confirms=True)
        for event in events:
            body = raw.pack([raw.entry(event, _clock.next())])
            await channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, persistent=True)


class Received(NamedTuple):
    """One message that a consumer got."""

    labels: list[str]
    documents: list[Document]


class Consumer:
    """Somebody's own queue on the exchange, with all that came so far."""

    def __init__(self) -> None:
        self.messages: list[Received] = []

    def texts(self) -> list[str]:
        """The text of every document, in the order of arrival."""
        return [str(document.get("text")) for message in self.messages for document in message.documents]


@asynccontextmanager
async def consumer(broker: Broker, keys: Iterable[str]) -> AsyncIterator[Consumer]:
    """A consumer of binding keys or patterns, as the user `consumer`, with plain aio-pika."""
    received = Consumer()

    async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        received.messages.append(
            Received(
                feed.labels(message.routing_key or "", message.headers), feed.unpack(message.body, message.headers)
            )
        )

    connection = await aio_pika.connect(broker.amqp_url("consumer"))
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        for key in keys:
            await queue.bind("tweets", key)
        await queue.consume(on_message, no_ack=True)
        yield received
