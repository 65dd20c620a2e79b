"""Many messages published at once: they arrive as if each had been published by itself, and their confirms are right.

It tells also when a new version of aiormq is another one below its documented surface.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from shared.broker import BrokerLostError, Channel, Connection, Message, Outgoing, RefusedError, burst, connect
from shared.topology import TWEETS_EXCHANGE
from tests.support.broker import Broker
from tests.support.proxy import Proxy, proxy
from tests.support.waiting import eventually

FULL_AFTER = 3
OWN = {"message_id", "delivery_tag", "consumer_tag"}
"""What is another one for each message and consumer."""


def outgoing(number: int, *, key: str = "term.burst", body: bytes | None = None) -> Outgoing:
    return Outgoing((key,), 1, b"%d" % number if body is None else body, "tweet")


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[tuple[Connection, Channel]]:
    """A channel with confirms, as a router has one."""
    async with connect(url, name="test burst") as connection:
        yield connection, await connection.channel(confirms=True)


@asynccontextmanager
async def bound(
    broker: Broker, *keys: str, full_after: int | None = None
) -> AsyncIterator[list[AbstractIncomingMessage]]:
    """What a queue of somebody's own gets; with `full_after` one that nobody reads, and that refuses what is more."""
    received: list[AbstractIncomingMessage] = []

    async def note(message: AbstractIncomingMessage) -> None:
        received.append(message)

    connection = await aio_pika.connect(broker.amqp_url("consumer"))
    async with connection:
        channel = await connection.channel()
        arguments: dict[str, Any] = {}
        if full_after is not None:
            arguments = {"x-max-length": full_after, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue(exclusive=True, arguments=arguments)
        for key in keys:
            await queue.bind(TWEETS_EXCHANGE, key)
        if full_after is None:
            await queue.consume(note, no_ack=True)
        yield received


def through(between: Proxy) -> str:
    return f"amqp://router:router@127.0.0.1:{between.port}/"


def bodies(received: list[AbstractIncomingMessage]) -> list[bytes]:
    return [message.body for message in received]


async def test_two_thousand_at_once_all_arrive_in_order_and_are_confirmed(broker: Broker) -> None:
    messages = [outgoing(number) for number in range(2000)]
    async with bound(broker, "term.burst") as received, publishing(broker.amqp_url("router")) as (_, channel):
        assert await channel.publish_all(TWEETS_EXCHANGE, messages) == 0
        await eventually(lambda: len(received) == len(messages))
    assert bodies(received) == [message.body for message in messages]


async def test_each_is_the_message_that_publish_would_have_sent(broker: Broker) -> None:
    headers = {"v": 1, "CC": ["term.b", "lang.en"]}
    async with (
        bound(broker, "term.a") as first,
        bound(broker, "lang.en") as other,
        publishing(broker.amqp_url("router")) as (_, channel),
    ):
        await channel.publish(TWEETS_EXCHANGE, b"body", routing_key="term.a", type="tweet", headers=headers)
        same = Outgoing(("term.a", "term.b", "lang.en"), 1, b"body", "tweet")
        assert await channel.publish_all(TWEETS_EXCHANGE, [same]) == 0
        await eventually(lambda: len(first) == len(other) == 2)

    def seen(message: AbstractIncomingMessage) -> dict[str, Any]:
        told = dict(message.info()) | {"body": message.body}
        return {name: value for name, value in told.items() if name not in OWN}

    for received in (first, other):
        alone, together = map(seen, received)
        assert together == alone
        assert (together["headers"], together["type"]) == (headers, "tweet")
        assert together["content_type"] == "application/msgpack"
        assert together["routing_key"] == "term.a"


@pytest.mark.parametrize("others", [0, 1, 10, 11, 300])
async def test_it_goes_to_each_of_its_keys_once_however_many_they_are(broker: Broker, others: int) -> None:
    keys = ("term.first", *(f"term.other {number}" for number in range(others)))
    async with (
        bound(broker, *keys[:1], *keys[-2:]) as received,
        publishing(broker.amqp_url("router")) as (_, channel),
    ):
        for body in (b"1", b"two", b""):
            assert await channel.publish_all(TWEETS_EXCHANGE, [Outgoing(keys, 1, body, "tweet")]) == 0
        await eventually(lambda: len(received) == 3)
    assert bodies(received) == [b"1", b"two", b""]
    for message in received:
        assert message.headers == {"v": 1} | ({"CC": list(keys[1:])} if others else {})


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 400_000])
async def test_bodies_of_any_size_arrive_whole(broker: Broker, size: int) -> None:
    # A frame of RabbitMQ has 131,072 bytes, and 8 of them are its own.
    body = bytes(number % 251 for number in range(size))
    messages = [outgoing(0, body=body), outgoing(1), outgoing(2, body=body)]
    async with bound(broker, "term.burst") as received, publishing(broker.amqp_url("router")) as (_, channel):
        assert await channel.publish_all(TWEETS_EXCHANGE, messages) == 0
        await eventually(lambda: len(received) == 3)
    assert bodies(received) == [body, b"1", body]


async def test_nothing_to_publish_is_done_at_once(broker: Broker) -> None:
    async with publishing(broker.amqp_url("router")) as (_, channel):
        assert await channel.publish_all(TWEETS_EXCHANGE, []) == 0
        assert await channel.publish_all(TWEETS_EXCHANGE, [outgoing(1)]) == 0


async def test_that_nobody_wants_a_message_is_fine(broker: Broker) -> None:
    async with publishing(broker.amqp_url("router")) as (_, channel):
        nobodys = [outgoing(number, key="term.nobody wants it") for number in range(300)]
        assert await channel.publish_all(TWEETS_EXCHANGE, nobodys) == 0


async def test_how_many_a_full_queue_refused_is_told_and_other_queues_have_them_all(broker: Broker) -> None:
    # Every other message is for the full queue, too.
    messages = [outgoing(number, key="term.both" if number % 2 else "term.one") for number in range(40)]
    async with (
        bound(broker, "term.both", "term.one") as received,
        bound(broker, "term.both", full_after=FULL_AFTER),
        publishing(broker.amqp_url("router")) as (_, channel),
    ):
        assert await channel.publish_all(TWEETS_EXCHANGE, messages) == 20 - FULL_AFTER
        await eventually(lambda: len(received) == len(messages))
        assert bodies(received) == [message.body for message in messages]
        # The count begins anew with each call.
        assert await channel.publish_all(TWEETS_EXCHANGE, messages[:4]) == 2
        assert await channel.publish_all(TWEETS_EXCHANGE, [messages[0]]) == 0
        await eventually(lambda: len(received) == len(messages) + 5)


async def test_many_calls_at_once_keep_their_own_order_and_count(broker: Broker) -> None:
    calls = [[outgoing(1000 * call + number) for number in range(50)] for call in range(20)]
    async with bound(broker, "term.burst") as received, publishing(broker.amqp_url("router")) as (_, channel):
        assert await asyncio.gather(*(channel.publish_all(TWEETS_EXCHANGE, call) for call in calls)) == [0] * 20
        await eventually(lambda: len(received) == 1000)
    numbers = [int(body) for body in bodies(received)]
    for call in range(20):
        assert [number for number in numbers if number // 1000 == call] == [1000 * call + n for n in range(50)]


async def test_single_messages_between_get_their_own_confirms(broker: Broker) -> None:
    async with (
        bound(broker, "term.both", "term.one") as received,
        bound(broker, "term.both", full_after=FULL_AFTER),
        publishing(broker.amqp_url("router")) as (_, channel),
    ):
        assert await channel.publish_all(TWEETS_EXCHANGE, [outgoing(0, key="term.both")] * FULL_AFTER) == 0

        async def one(key: str) -> str:
            try:
                await channel.publish(TWEETS_EXCHANGE, b"one", routing_key=key, type="tweet")
            except RefusedError:
                return "refused"
            return "confirmed"

        async def many(key: str) -> int:
            return await channel.publish_all(TWEETS_EXCHANGE, [outgoing(0, key=key)] * 10)

        told = await asyncio.gather(
            *(doing(key) for _ in range(20) for doing in (one, many) for key in ("term.one", "term.both"))
        )
        assert told == ["confirmed", "refused", 0, 10] * 20
        await eventually(lambda: len(received) == FULL_AFTER + 20 * 22)


async def test_a_connection_that_is_lost_in_the_middle_is_told_to_everybody_who_waits(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than the channel's queue of what is to be written holds.
    monkeypatch.setattr(burst, "MOST_AT_ONCE", 20)
    async with proxy(broker) as between, publishing(through(between)) as (connection, channel):
        # It takes in what it can and passes nothing on: so some are written, some are not, and none is confirmed.
        between.stall()
        messages = [outgoing(number, body=bytes(20_000)) for number in range(500)]
        calls = [asyncio.create_task(channel.publish_all(TWEETS_EXCHANGE, messages)) for _ in range(5)]
        lost = asyncio.create_task(connection.lost())
        done, _ = await asyncio.wait([*calls, lost], timeout=0.3)
        assert not done
        between.cut()
        told = await asyncio.wait_for(asyncio.gather(*calls, lost, return_exceptions=True), 10)
        assert [type(error) for error in told] == [BrokerLostError] * 6
        with pytest.raises(BrokerLostError):
            await asyncio.wait_for(channel.publish_all(TWEETS_EXCHANGE, messages), 10)


async def test_an_exchange_that_is_not_there_is_told_too(broker: Broker) -> None:
    async with publishing(broker.amqp_url("router")) as (connection, channel):
        with pytest.raises(BrokerLostError):
            await asyncio.wait_for(channel.publish_all("tweets of nobody", [outgoing(n) for n in range(100)]), 10)
        with pytest.raises(BrokerLostError):
            await asyncio.wait_for(connection.lost(), 10)


@pytest.mark.parametrize(("at_once", "together"), [(burst.MOST_AT_ONCE, 100), (30, 10)], ids=["whole", "in parts"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13])
async def test_who_is_cancelled_leaves_a_channel_that_can_be_used(
    broker: Broker, turns: int, at_once: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(burst, "MOST_AT_ONCE", at_once)
    async with (
        bound(broker, "term.burst") as received,
        bound(broker, "term.full", full_after=0),
        publishing(broker.amqp_url("router")) as (_, channel),
    ):
        for _ in range(5):
            calls = [
                asyncio.create_task(channel.publish_all(TWEETS_EXCHANGE, [outgoing(1, body=bytes(9000))] * 100))
                for _ in range(3)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            assert all(call.cancelled() or call.result() == 0 for call in calls), "cancelled, or done before"
        # Confirms that come late belong to nobody; those of the next ones are right.
        assert await channel.publish_all(TWEETS_EXCHANGE, [outgoing(2, key="term.full")] * 7) == 7
        assert await channel.publish_all(TWEETS_EXCHANGE, [outgoing(3)] * 50) == 0
        await channel.publish(TWEETS_EXCHANGE, b"end", routing_key="term.burst", type="tweet")
        await eventually(lambda: received and received[-1].body == b"end")
    whole = [body for body in bodies(received) if len(body) == 9000]
    assert len(whole) % together == 0, "a call sends all of a part of its messages or none"
    assert bodies(received)[len(whole) :] == [b"3"] * 50 + [b"end"]


async def test_what_was_delivered_up_to_a_message_is_acknowledged_at_once(broker: Broker) -> None:
    taken: list[Message] = []

    async def take(message: Message) -> None:
        taken.append(message)

    async with connect(broker.amqp_url("admin"), name="test acknowledging") as connection:
        channel, publisher = await connection.channel(prefetch=6), await connection.channel(confirms=True)
        queue = await channel.declare_exclusive_queue("test.burst.acks")
        await queue.consume(take)
        for number in range(10):
            await publisher.publish("", b"%d" % number, routing_key="test.burst.acks", type="tweet")
        await eventually(lambda: len(taken) == 6)
        assert [message.tag for message in taken] == [1, 2, 3, 4, 5, 6]
        await queue.ack_up_to(taken[2].tag)
        await eventually(lambda: len(taken) == 9)
        assert await queue.depth() == (1, 1), "three places were free, and no more"
        await queue.ack_up_to(taken[-1].tag)
        await eventually(lambda: len(taken) == 10)
        assert [message.body for message in taken] == [b"%d" % number for number in range(10)]
