"""Each service's user may do what the service does and nothing else."""

from collections.abc import Iterator

import aio_pika
import pytest

from tests.support.broker import Broker
from tests.support.management import request

REFUSED = aio_pika.exceptions.ChannelClosed
ARCHIVE_QUEUES = ("archive.raw", "archive.queries")


async def ignore(message: object) -> None:
    pass


async def declared(channel: aio_pika.abc.AbstractChannel, name: str) -> aio_pika.abc.AbstractQueue:
    """A queue that goes with its connection; or one of those that archives hand on to each other."""
    if name in ARCHIVE_QUEUES:
        return await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "classic"})
    return await channel.declare_queue(name, exclusive=True)


@pytest.fixture(scope="module", autouse=True)
def leave_no_archive(broker: Broker) -> Iterator[None]:
    """Without an archive its queue would only fill."""
    yield
    for row in broker.get("/api/queues/%2F?columns=name"):
        if row["name"] in ARCHIVE_QUEUES:
            request(broker, "DELETE", f"/api/queues/%2F/{row['name']}")


async def attempt(broker: Broker, user: str, what: str) -> None:
    connection = await aio_pika.connect(broker.amqp_url(user))
    async with connection:
        channel = await connection.channel()
        action, _, name = what.partition(" ")
        if action == "publish":
            exchange: aio_pika.abc.AbstractExchange = channel.default_exchange
            if name != "amq.default":
                exchange = await channel.get_exchange(name, ensure=False)
            # A refusal closes the channel only after the publish: the confirm tells.
            await exchange.publish(aio_pika.Message(b""), "x", mandatory=False)
        elif action == "consume":
            if user == name.partition(".")[0] == "archive":
                await declared(channel, name)
            await (await channel.get_queue(name, ensure=False)).consume(ignore)
        elif action == "declare":
            await declared(channel, name)
        elif action == "bind":
            own = {"consumer": "", "archive": "archive.queries"}.get(user, f"{user}.test")
            await (await declared(channel, own)).bind(name, "x")
        elif action == "exchange":
            await channel.declare_exchange(name)
        else:
            raise AssertionError(what)


@pytest.mark.parametrize(
    ("user", "what"),
    [
        ("ingest", "publish tweets"),
        ("ingest", "publish dead"),
        ("ingest", "consume router.raw"),
        ("ingest", "declare anything"),
        ("ingest", "declare router.raw2"),
        ("ingest", "bind tweets"),
        ("ingest", "exchange ingest.mine"),
        ("ingest", "publish archive"),
        ("ingest", "consume archive.raw"),
        ("router", "publish tweets.raw"),
        ("router", "publish sources"),
        ("gateway", "publish sources"),
        ("gateway", "bind ingest.state"),
        ("consumer", "publish sources"),
        ("consumer", "bind ingest.state"),
        ("consumer", "bind gateway.overflow"),
        ("consumer", "publish gateway.overflow"),
        ("router", "publish gateway.overflow"),
        ("router", "consume dead-letters"),
        ("router", "declare gateway.mine"),
        ("router", "consume archive.raw"),
        ("router", "publish archive"),
        ("router", "publish archive.answers"),
        ("gateway", "publish tweets"),
        ("gateway", "publish tweets.raw"),
        ("gateway", "consume router.raw"),
        ("gateway", "bind tweets.raw"),
        ("gateway", "bind amq.rabbitmq.event"),
        ("gateway", "declare router.raw2"),
        ("gateway", "exchange tweets2"),
        ("gateway", "exchange gateway.overflow"),
        ("gateway", "consume archive.raw"),
        ("gateway", "consume archive.queries"),
        ("gateway", "declare archive.raw"),
        ("gateway", "declare archive.queries"),
        ("gateway", "bind archive"),
        ("gateway", "publish archive.answers"),
        ("gateway", "publish amq.default"),
        ("archive", "publish tweets"),
        ("archive", "publish tweets.raw"),
        ("archive", "publish sources"),
        ("archive", "publish dead"),
        ("archive", "publish archive"),
        ("archive", "publish gateway.overflow"),
        ("archive", "publish amq.default"),
        ("archive", "consume router.raw"),
        ("archive", "consume dead-letters"),
        ("archive", "declare archive.mine"),
        ("archive", "declare gateway.mine"),
        ("archive", "declare router.raw2"),
        ("archive", "bind tweets"),
        ("archive", "bind sources"),
        ("archive", "bind archive.answers"),
        ("archive", "bind amq.rabbitmq.event"),
        ("archive", "exchange archive.mine"),
        ("consumer", "publish tweets"),
        ("consumer", "publish tweets.raw"),
        ("consumer", "bind tweets.raw"),
        ("consumer", "bind amq.rabbitmq.event"),
        ("consumer", "consume router.raw"),
        ("consumer", "consume dead-letters"),
        ("consumer", "exchange mine"),
        ("consumer", "declare archive.raw"),
        ("consumer", "consume archive.raw"),
        ("consumer", "consume archive.queries"),
        ("consumer", "bind archive"),
        ("consumer", "bind archive.answers"),
        ("consumer", "publish archive"),
        ("consumer", "publish archive.answers"),
    ],
)
async def test_nobody_may_do_more_than_their_work(broker: Broker, user: str, what: str) -> None:
    with pytest.raises(REFUSED, match="ACCESS_REFUSED"):
        await attempt(broker, user, what)


@pytest.mark.parametrize(
    ("user", "what"),
    [
        ("ingest", "publish tweets.raw"),
        ("ingest", "publish sources"),
        ("ingest", "publish ingest.state"),
        ("ingest", "declare ingest.events.mine"),
        ("router", "publish tweets"),
        ("gateway", "bind sources"),
        ("gateway", "bind gateway.overflow"),
        ("consumer", "bind sources"),
        ("gateway", "bind tweets"),
        ("gateway", "bind archive.answers"),
        ("gateway", "publish archive"),
        ("archive", "consume archive.raw"),
        ("archive", "consume archive.queries"),
        ("archive", "bind tweets.raw"),
        ("archive", "bind archive"),
        ("archive", "publish archive.answers"),
        ("consumer", "bind tweets"),
        ("consumer", "declare consumer.mine"),
    ],
)
async def test_everybody_may_do_their_work(broker: Broker, user: str, what: str) -> None:
    await attempt(broker, user, what)


@pytest.mark.parametrize("key", ["#", "lang.*", "term.nfl", "term.a.b", "#.nfl.#"])
async def test_a_consumer_may_bind_any_label_and_pattern(broker: Broker, key: str) -> None:
    await bind(broker, key)


async def test_a_consumer_may_not_bind_what_would_cost_the_broker_seconds_a_tweet(broker: Broker) -> None:
    # RabbitMQ 4.3 refuses more than two by itself.
    with pytest.raises(REFUSED, match=r"ACCESS_REFUSED|at most 2 are allowed"):
        await bind(broker, ".".join(["#"] * 60))


async def bind(broker: Broker, key: str) -> None:
    connection = await aio_pika.connect(broker.amqp_url("consumer"))
    async with connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        await queue.bind("tweets", key)
