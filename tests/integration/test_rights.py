"""Each service's user may do what the service does and nothing else."""

import aio_pika
import pytest

from tests.support.broker import Broker

REFUSED = aio_pika.exceptions.ChannelClosed


async def ignore(message: object) -> None:
    pass


async def attempt(broker: Broker, user: str, what: str) -> None:
    connection = await aio_pika.connect(broker.amqp_url(user))
    async with connection:
        channel = await connection.channel()
        action, _, name = what.partition(" ")
        if action == "publish":
            exchange = await channel.get_exchange(name, ensure=False)
            # A refusal closes the channel only after the publish: the confirm tells.
            await exchange.publish(aio_pika.Message(b""), "x", mandatory=False)
        elif action == "consume":
            await (await channel.get_queue(name, ensure=False)).consume(ignore)
        elif action == "declare":
            await channel.declare_queue(name, exclusive=True)
        elif action == "bind":
            queue = await channel.declare_queue({"consumer": ""}.get(user, f"{user}.test"), exclusive=True)
            await queue.bind(name, "x")
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
        ("gateway", "publish tweets"),
        ("gateway", "publish tweets.raw"),
        ("gateway", "consume router.raw"),
        ("gateway", "bind tweets.raw"),
        ("gateway", "bind amq.rabbitmq.event"),
        ("gateway", "declare router.raw2"),
        ("gateway", "exchange tweets2"),
        ("gateway", "exchange gateway.overflow"),
        ("consumer", "publish tweets"),
        ("consumer", "publish tweets.raw"),
        ("consumer", "bind tweets.raw"),
        ("consumer", "bind amq.rabbitmq.event"),
        ("consumer", "consume router.raw"),
        ("consumer", "consume dead-letters"),
        ("consumer", "exchange mine"),
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
