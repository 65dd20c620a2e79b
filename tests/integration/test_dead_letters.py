"""`make dead-letters`: what could not be read is looked at, and sent back once whatever was wrong is mended."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest

from deploy.dead_letters import Sent, look, send_back
from deploy.settings import ROOT
from services.router.matcher import Matcher
from shared import raw
from shared.broker import BrokerLostError, RefusedError, UnroutableError, connect
from shared.events import Tweet
from shared.topology import DEAD_EXCHANGE
from tests.support import proxy as methods
from tests.support.archive import archive
from tests.support.broker import Broker
from tests.support.exchange import consumer, publish, publish_body
from tests.support.management import Policy, dead_letters, depth, load_definitions, request
from tests.support.proxy import proxy
from tests.support.services import metric, router
from tests.support.tweets import tweet
from tests.support.waiting import eventually


async def bury(broker: Broker, *bodies: bytes, **headers: object) -> None:
    """What a router does with batches that it can't read."""
    async with connect(broker.amqp_url("router"), name="test router") as connection:
        channel = await connection.channel(confirms=True)
        for body in bodies:
            told = {"v": raw.FORMAT, "reason": "why not", **headers}
            await channel.publish(DEAD_EXCHANGE, body, type=raw.TYPE, headers=told, persistent=True)


def letters(number: int, size: int = 0) -> list[bytes]:
    """Bodies of different letters."""
    return [f"letter {place} {'x' * size}".encode() for place in range(number)]


async def are_dead(broker: Broker, number: int) -> None:
    """Wait until so many letters are there."""

    async def there() -> bool:
        return await depth(broker, "dead-letters") == number

    await eventually(there, what=f"{number} dead letters")


async def run(broker: Broker, *arguments: str, user: str = "operator") -> tuple[int | None, str, str]:
    """Run the program as `make dead-letters` does: its exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.dead_letters", *arguments),
        cwd=ROOT,
        env={**os.environ, "ROOST_OPERATOR_AMQP_URL": broker.amqp_url(user)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), errors.decode()


@asynccontextmanager
async def raw_batches(broker: Broker) -> AsyncIterator[list[aio_pika.abc.AbstractIncomingMessage]]:
    """What comes over `tweets.raw` meanwhile, for somebody beside routers and archive."""
    came: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        came.append(message)

    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        await queue.bind("tweets.raw")
        await queue.consume(take, no_ack=True)
        yield came


async def test_what_is_listed_stays_as_it_was_and_in_order(broker: Broker) -> None:
    async with router(broker):
        for body in (b"\xc1 the first", b"\xc1 the second", b"\xc1 the \x1b[31mthird"):
            await publish_body(broker, body)
        await are_dead(broker, 3)
    for _ in range(3):
        code, output, errors = await run(broker)
        assert (code, errors) == (0, "")
        first, *lines, last = output.splitlines()
        assert first == "3 dead letters, the oldest first:"
        assert [line.split()[0] for line in lines[::2]] == ["1", "2", "3"]
        assert all("not a batch" in line for line in lines[::2])
        bodies = [line.strip() for line in lines[1::2]]
        assert bodies == [r"\xc1 the first", r"\xc1 the second", r"\xc1 the  [31mthird"]
        assert "make dead-letters REQUEUE=1" in last
    _, output, _ = await run(broker, "1")
    assert "the first" in output
    assert "the second" not in output
    assert "2 more: `make dead-letters N=3`" in output
    await are_dead(broker, 3)
    assert [body[6:11] for body, _ in await dead_letters(broker)] == [b"first", b"secon", b"\x1b[31m"]


async def test_of_many_the_oldest_twenty_are_listed_and_as_many_as_one_likes(broker: Broker) -> None:
    await bury(broker, *letters(150))
    _, output, _ = await run(broker)
    assert output.count("why not") == 20
    assert "letter 19 " in output
    _, output, _ = await run(broker, "1000")
    assert output.count("why not") == 150
    assert [body for body, _ in await dead_letters(broker)] == letters(150)


async def test_a_look_that_is_broken_off_leaves_all_where_it_was(broker: Broker) -> None:
    await bury(broker, *letters(30))
    async with proxy(broker) as between:
        for moment in (methods.CONSUME, methods.CONSUME_OK, methods.DELIVER):
            trap = between.cut_at(moment, after=True)
            with pytest.raises(BrokerLostError):
                await look(f"amqp://operator:operator@127.0.0.1:{between.port}/", 30)
            assert trap.sprung.is_set()
            between.flow()
    await are_dead(broker, 30)
    assert [body for body, _ in await dead_letters(broker)] == letters(30)


async def test_after_the_router_was_mended_its_letters_reach_everybody(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Tweet] = [tweet(f"the early bird {number}") for number in range(3)]

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    async with consumer(broker, ["term.early"]) as taken, router(broker):
        monkeypatch.setattr(Matcher, "keys_of", broken)
        for one in said:
            await publish(broker, one)
        await are_dead(broker, len(said))
        monkeypatch.undo()
        assert taken.messages == []

        async with archive(broker, tmp_path), raw_batches(broker) as came:
            stored = metric("roost_archive_written_total")
            code, output, errors = await run(broker, "--requeue")
            assert (code, errors) == (0, "")
            assert output.startswith("3 dead letters sent to routers and the archive")
            await eventually(lambda: len(taken.texts()) == 3)
            await eventually(lambda: metric("roost_archive_written_total") == stored + 3)
            await eventually(lambda: len(came) == 3)
    assert sorted(taken.texts()) == [one.text for one in said]
    for message in came:
        assert message.headers == raw.headers(), "they belong to no chain"
        assert message.type == raw.TYPE
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    await are_dead(broker, 0)
    assert (await run(broker, "--requeue"))[1] == (await run(broker))[1] == "There are no dead letters.\n"


async def test_what_still_can_not_be_read_comes_back_and_is_not_sent_again(broker: Broker) -> None:
    async with router(broker):
        await publish_body(broker, b"\xc1 garbage")
        await publish_body(broker, b"\xc1 rubbish")
        await are_dead(broker, 2)
        received = metric("roost_router_received_total")
        progress = Sent()
        await send_back(broker.amqp_url("operator"), None, progress)
        assert (progress.number, progress.of) == (2, 2)
        await are_dead(broker, 2)
        assert metric("roost_router_received_total") == received + 2
    found, there = await look(broker.amqp_url("operator"), 20)
    assert there == 2
    assert {message.body for message in found} == {b"\xc1 garbage", b"\xc1 rubbish"}


async def test_some_are_sent_back_and_the_younger_ones_stay(broker: Broker) -> None:
    await bury(broker, *letters(120))
    code, output, _ = await run(broker, "--requeue", "70")
    assert code == 0
    assert output.splitlines()[1] == "50 more: `make dead-letters`"
    assert await depth(broker, "router.raw") == 70
    assert [body for body, _ in await dead_letters(broker)] == letters(120)[70:]


async def test_a_queue_that_refuses_ends_it_and_what_was_not_taken_stays(broker: Broker) -> None:
    await bury(broker, *letters(9))
    async with Policy(broker, "^router.raw$", **{"max-length": 4, "overflow": "reject-publish"}):
        progress = Sent()
        with pytest.raises(RefusedError):
            await send_back(broker.amqp_url("operator"), None, progress)
        code, output, errors = await run(broker, "--requeue")
    assert 0 < progress.number < 9
    assert (code, output) == (1, "")
    assert "a queue is full" in errors
    taken = await taken_by_routers(broker)
    assert len(taken) == progress.number
    assert taken + [body for body, _ in await dead_letters(broker)] == letters(9)


async def test_a_connection_that_breaks_half_way_loses_nothing(broker: Broker) -> None:
    sent = letters(400, size=10_000)
    await bury(broker, *sent)
    async with proxy(broker) as between:
        url = f"amqp://operator:operator@127.0.0.1:{between.port}/"
        for moment in (methods.PUBLISH, methods.CONFIRM, methods.ACK):
            between.cut_at(*[moment] * 20, after=True)
            with pytest.raises(BrokerLostError):
                await send_back(url, None, Sent())
            between.flow()
    # Whether the last ones were taken away nobody knows; what was sent twice readers drop.
    await eventually(lambda: nobody_consumes(broker))
    taken, left = await taken_by_routers(broker), [body for body, _ in await dead_letters(broker)]
    assert 0 < len(left) < len(sent)
    assert set(taken) | set(left) == set(sent)
    assert left == [body for body in sent if body in set(left)], "in order"


async def test_what_nobody_would_get_is_not_taken_away(broker: Broker) -> None:
    await bury(broker, *letters(2))
    await asyncio.to_thread(request, broker, "DELETE", "/api/bindings/%2F/e/tweets.raw/q/router.raw/~")
    try:
        with pytest.raises(UnroutableError):
            await send_back(broker.amqp_url("operator"), None, Sent())
    finally:
        await load_definitions(broker)
    await are_dead(broker, 2)


async def test_two_at_a_time_are_one_too_many(broker: Broker) -> None:
    await bury(broker, *letters(2))
    connection = await aio_pika.connect(broker.amqp_url("operator"))
    async with connection:
        queue = await (await connection.channel()).get_queue("dead-letters", ensure=False)
        held = asyncio.Queue[object]()
        await queue.consume(held.put)
        await held.get()
        await held.get()
        for arguments in ([], ["--requeue"]):
            code, _, errors = await run(broker, *arguments)
            assert code == 1
            assert "somebody else consumes dead-letters: another command is at it" in errors
    await are_dead(broker, 2)


async def test_only_an_operator_may_and_an_operator_may_nothing_else(broker: Broker) -> None:
    await bury(broker, b"a letter")
    for user in ("ingest", "router", "gateway", "archive", "consumer"):
        code, _, errors = await run(broker, user=user)
        assert code == 1
        assert "ACCESS_REFUSED" in errors
        assert "the user operator" in errors
        assert f"{user}:{user}" not in errors
    await are_dead(broker, 1)
    for what in ("router.raw", "archive.raw"):
        await refused(broker, consume=what)
    for what in ("dead", "tweets", "sources", "amq.default"):
        await refused(broker, publish=what)
    await refused(broker, declare="operator.mine")


async def test_a_user_that_the_broker_does_not_know_is_told_what_to_do(broker: Broker) -> None:
    code, _, errors = await run(broker, user="nobody")
    assert code == 1
    assert "the broker refuses nobody: check user and password; deploy/rabbitmq/definitions.json has" in errors


async def refused(broker: Broker, *, consume: str = "", publish: str = "", declare: str = "") -> None:
    connection = await aio_pika.connect(broker.amqp_url("operator"))
    async with connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
            if consume:
                await (await channel.get_queue(consume, ensure=False)).consume(print)  # type: ignore[arg-type]
            elif publish:
                exchange: aio_pika.abc.AbstractExchange = channel.default_exchange
                if publish != "amq.default":
                    exchange = await channel.get_exchange(publish, ensure=False)
                await exchange.publish(aio_pika.Message(b""), "x", mandatory=False)
            else:
                await channel.declare_queue(declare, exclusive=True)


async def taken_by_routers(broker: Broker) -> list[bytes]:
    """The bodies that wait for routers, taken away."""
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    bodies = []
    async with connection:
        queue = await (await connection.channel()).get_queue("router.raw")
        while message := await queue.get(no_ack=True, fail=False):
            bodies.append(message.body)
    return bodies


async def nobody_consumes(broker: Broker) -> bool:
    """Whether the broker knows by now that the connections which held letters are gone."""
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection:
        declared = await (await connection.channel()).declare_queue("dead-letters", passive=True)
        return not declared.declaration_result.consumer_count
