"""A gateway that can't keep up, on a real broker: what its full queue drops is noticed, and nothing else is."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import msgpack
import pytest
import socketio
from structlog.testing import capture_logs

from services.gateway.app import PREFETCH as PREFETCH_OF_THE_GATEWAY
from services.gateway.holes import Hole, Overflow
from services.gateway.overflow import watch
from shared import feed
from shared.broker import Connection, Message, connect
from shared.tasks import first_of
from shared.topology import OVERFLOW_EXCHANGE, TWEETS_EXCHANGE
from tests.support.broker import Broker
from tests.support.management import Policy
from tests.support.proxy import proxy
from tests.support.services import gateway, metric
from tests.support.waiting import eventually

KEY = "term.overflow"
BOUND = 20
PREFETCH = 10


class Slow:
    """The broker's side of a gateway, with a reader that can be stopped."""

    def __init__(self) -> None:
        self.name = f"gateway.{uuid.uuid4().hex}"
        self.received: set[int] = set()
        self.holes: list[Hole] = []
        self.reads = asyncio.Event()
        """While it is not set, nothing is taken."""
        self.overflow = Overflow()

    async def read(self, arrived: asyncio.Queue[Message]) -> None:
        while True:
            message = await arrived.get()
            await self.reads.wait()
            documents = feed.unpack(message.body, message.headers)
            self.overflow.received(documents)
            self.received |= {document["seq"] for document in documents}
            await message.ack()

    async def session(self, connection: Connection, bound: asyncio.Event) -> None:
        channel = await connection.channel(prefetch=PREFETCH)
        queue = await channel.declare_exclusive_queue(self.name, dead_letter=OVERFLOW_EXCHANGE)
        await queue.bind(TWEETS_EXCHANGE, KEY)
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        await queue.consume(arrived.put)
        bound.set()
        watching = watch(connection, self.name, self.overflow, self.holes.append, notice_every_s=0.3, retry_s=0.05)
        await first_of(connection.lost(), self.read(arrived), watching)

    def untold(self, published: set[int]) -> set[int]:
        """What was published, did not come and is in no hole."""
        return {
            seq
            for seq in published - self.received
            if not any((hole.from_seq or 0) < seq <= (hole.to_seq or 0) for hole in self.holes)
        }


@asynccontextmanager
async def slow_gateway(broker: Broker, *, watched: bool = True) -> AsyncIterator[Slow]:
    """One that reads nothing yet, and whose marker queue is in its place if it is `watched`."""
    slow, bound = Slow(), asyncio.Event()
    async with connect(broker.amqp_url("gateway"), name="test gateway") as connection:
        session = asyncio.create_task(slow.session(connection, bound))
        try:
            await asyncio.wait_for(bound.wait(), 10)
            if watched:
                await eventually(lambda: watches(broker, slow))
            yield slow
            assert not session.done(), session
        finally:
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)


def watches(broker: Broker, slow: Slow) -> bool:
    rows = broker.get(f"/api/exchanges/%2F/{OVERFLOW_EXCHANGE}/bindings/source") or ()
    return any(row["routing_key"] == slow.name for row in rows)


@pytest.fixture(autouse=True)
async def tiny_queues(broker: Broker) -> AsyncIterator[None]:
    """The bound of gateways' queues is one that a test can reach."""
    async with Policy(broker, r"^gateway\.", **{"max-length": BOUND, "overflow": "drop-head"}):
        yield


class Publisher:
    """Publishes tweets as a router does, and keeps account of them."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.published: set[int] = set()

    async def publish(self, messages: int, *, most: int = 1) -> int:
        """So many messages, of up to `most` tweets; returns the newest `seq`."""
        exchange = await self._channel.get_exchange(TWEETS_EXCHANGE, ensure=False)
        for _ in range(messages):
            first = len(self.published) + 1
            seqs = range(first, first + random.Random(first).randint(1, most))
            documents = [{"action": "create", "id": f"test:{seq}", "mtime": seq, "seq": seq} for seq in seqs]
            for one in feed.messages([KEY, "all"], [msgpack.packb(document) for document in documents]):
                message = aio_pika.Message(one.body, headers=one.headers, type=feed.TYPE)
                await exchange.publish(message, one.routing_key, mandatory=False)
            self.published |= set(seqs)
        return len(self.published)


@asynccontextmanager
async def publisher(broker: Broker) -> AsyncIterator[Publisher]:
    connection = await aio_pika.connect(broker.amqp_url("router"))
    async with connection:
        yield Publisher(await connection.channel())


async def test_what_a_full_queue_drops_is_told_once_and_exactly(broker: Broker) -> None:
    before = metric("roost_gateway_overflows_total")
    async with slow_gateway(broker) as slow, publisher(broker) as source:
        slow.reads.set()
        last = await source.publish(5)
        await eventually(lambda: slow.received == source.published)
        slow.reads.clear()
        await source.publish(PREFETCH + BOUND)
        newest = await source.publish(100)
        slow.reads.set()
        await eventually(lambda: not slow.untold(source.published), what="each tweet came or is known to be missing")
        first = last + PREFETCH + 1
        missing = set(range(first, newest - BOUND + 1))
        assert source.published - slow.received == missing
        assert slow.holes[-1].to_seq == max(missing)
        told = {seq for hole in slow.holes for seq in range((hole.from_seq or 0) + 1, (hole.to_seq or 0) + 1)}
        assert missing <= told
        if len(slow.holes) == 1:
            # More are told where publishing takes longer than a notice waits. The first begins too early then: what
            # had been delivered was not read yet.
            assert told == missing

        # It is over: nothing is told again, and what comes now is no part of it.
        holes = list(slow.holes)
        await source.publish(BOUND)
        await eventually(lambda: max(source.published) in slow.received)
        assert not slow.overflow.noticed
        assert slow.holes == holes
        assert len(holes) <= 3
        assert metric("roost_gateway_overflows_total") - before == len(holes)


async def test_through_any_stalling_every_tweet_comes_or_lies_in_a_hole(broker: Broker) -> None:
    chance = random.Random(5)
    async with slow_gateway(broker) as slow, publisher(broker) as source:
        for _ in range(12):
            if chance.random() < 0.5:
                slow.reads.set()
            else:
                slow.reads.clear()
            await source.publish(chance.choice([5, 50, 300]), most=4)
        slow.reads.set()
        await eventually(lambda: not slow.untold(source.published), what="each tweet came or is known to be missing")
        await eventually(lambda: not slow.overflow.noticed)
        assert source.published - slow.received, "something was dropped"
        missing = source.published - slow.received
        assert all(hole.to_seq in missing for hole in slow.holes), "no hole without a drop"


async def test_a_page_is_told_between_which_tweets_of_its_rooms_something_is_missing(broker: Broker) -> None:
    gaps: list[tuple[dict[str, object], str]] = []
    tweets: list[int] = []
    client = socketio.AsyncClient(reconnection=False)
    client.on("gap", lambda gap, room: gaps.append((gap, room)))
    client.on("newTweet", lambda tweet, room: tweets.append(tweet["seq"]))
    async with proxy(broker) as between, publisher(broker) as source:
        url = f"amqp://gateway:gateway@127.0.0.1:{between.port}/"
        async with gateway(broker, amqp_url=url) as app:
            await client.connect(f"http://localhost:{app.port}", transports=["websocket"])
            try:
                assert await client.call("subscribe", "overflow") is True
                assert await client.call("subscribe", "of something else") is True
                await source.publish(5)
                await eventually(lambda: tweets == [1, 2, 3, 4, 5])
                between.stall()
                last = await source.publish(PREFETCH_OF_THE_GATEWAY)
                await source.publish(BOUND + 50)
                between.resume()
                await eventually(lambda: len(gaps) == 2)
                await eventually(lambda: max(source.published) in tweets)
            finally:
                await client.disconnect()
    gap = {"missed": None, "from": last, "to": last + 50}
    assert sorted(gaps, key=lambda told: told[1]) == [(gap, "of something else"), (gap, "overflow")]
    assert set(tweets) == source.published - set(range(last + 1, last + 51))


async def test_what_expires_or_is_sent_there_by_somebody_is_no_overflow(broker: Broker) -> None:
    async with slow_gateway(broker) as slow, publisher(broker) as source:
        await source.publish(PREFETCH)
        connection = await aio_pika.connect(broker.amqp_url("admin"))
        async with connection:
            channel = await connection.channel()
            body = msgpack.packb([{"action": "create", "id": "test:0", "mtime": 0, "seq": 1_000_000}])
            tweets = await channel.get_exchange(TWEETS_EXCHANGE)
            await tweets.publish(aio_pika.Message(body, expiration=0.001), KEY)
            await (await channel.get_exchange(OVERFLOW_EXCHANGE)).publish(aio_pika.Message(body), slow.name)
        await source.publish(BOUND + 1)
        await eventually(lambda: slow.holes)
        slow.reads.set()
        await eventually(lambda: not slow.untold(source.published))
    assert slow.holes == [Hole(None, PREFETCH + 1)]


async def test_a_marker_that_cannot_be_read_is_a_hole_with_unknown_bounds(broker: Broker) -> None:
    async with slow_gateway(broker) as slow, publisher(broker) as source:
        await source.publish(PREFETCH)
        connection = await aio_pika.connect(broker.amqp_url("admin"))
        async with connection:
            tweets = await (await connection.channel()).get_exchange(TWEETS_EXCHANGE)
            await tweets.publish(aio_pika.Message(b"garbage"), KEY)
        await source.publish(BOUND)
        await eventually(lambda: slow.holes)
    assert slow.holes == [Hole(None, None)]


async def test_a_broker_with_older_definitions_does_not_break_a_gateway(broker: Broker) -> None:
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection:
        channel = await connection.channel()
        await channel.exchange_delete(OVERFLOW_EXCHANGE)
        try:
            with capture_logs() as lines:
                async with slow_gateway(broker, watched=False) as slow, publisher(broker) as source:
                    slow.reads.set()
                    await source.publish(5)
                    await eventually(lambda: slow.received == source.published)
                    slow.reads.clear()
                    await source.publish(PREFETCH + BOUND + 10)
                    # The operator loads the new definitions: from then on it is noticed.
                    await channel.declare_exchange(OVERFLOW_EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
                    await eventually(lambda: watches(broker, slow))
                    assert slow.holes == []
                    await source.publish(10)
                    await eventually(lambda: slow.holes)
        finally:
            await channel.declare_exchange(OVERFLOW_EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
    warnings = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert [warning for warning in warnings if "lacks the exchange" in warning] == [warnings[0]]
    assert "deploy/rabbitmq/definitions.json" in warnings[0]


async def test_nothing_of_it_stays_on_the_broker(broker: Broker) -> None:
    async with slow_gateway(broker) as slow:
        assert watches(broker, slow)
    await eventually(lambda: not watches(broker, slow))
    assert broker.get(f"/api/queues/%2F/{slow.name}.overflow") is None
