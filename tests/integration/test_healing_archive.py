"""What goes away comes back, for the archive: whatever fails, it goes on keeping tweets and answering."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from services.archive.app import ArchiveApp
from services.archive.settings import ArchiveSettings
from tests.integration.test_healing_moments import Moment, cuts, springs
from tests.support import proxy as methods
from tests.support.archive import Asking, archive, asking, take_away, texts
from tests.support.broker import Broker
from tests.support.exchange import publish
from tests.support.management import Alarm, bound_to, depth, load_definitions, request
from tests.support.proxy import Proxy, proxy
from tests.support.services import metric, running, until_ready
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.whole import through

MOMENTS: list[Moment] = [
    (methods.DECLARE,),
    (methods.DECLARE_OK,),
    (methods.BIND.of("tweets.raw"),),
    (methods.BIND.of("tweets.raw"), methods.BIND_OK),
    (methods.CONSUME,),
    (methods.CONSUME_OK,),
    (methods.DELIVER.of("tweets.raw"),),
    (methods.ACK,),
    (methods.DELIVER.of("mark"),),
    (methods.DELIVER.of("query"),),
    (methods.PUBLISH.of("archive.answers"),),
]


async def has(somebody: Asking, *expected: str) -> bool:
    """Whether the archive answers and has all of these; what was under way to an archive that is cut off is lost."""
    with suppress(TimeoutError):
        await asyncio.wait_for(somebody.mark(), 1)
        answer = await asyncio.wait_for(somebody.tweets("term.post"), 1)
        return sorted(texts(answer)) == sorted(expected)
    return False


def wrong_bindings(broker: Broker) -> str:
    """What is wrong with the bindings of the archive; nothing if each is there once."""
    raw, asked = bound_to(broker, "tweets.raw", "archive."), bound_to(broker, "archive", "archive.")
    right = raw == [("archive.raw", "")] and asked == [("archive.queries", "query"), ("archive.raw", "mark")]
    return "" if right else f"{raw}, {asked}"


@asynccontextmanager
async def archive_behind(broker: Broker, between: Proxy, folder: Path) -> AsyncIterator[ArchiveApp]:
    take_away(broker)
    url = through(between.port, "archive")
    async with running(app := ArchiveApp(ArchiveSettings(amqp_url=url, folder=folder))):
        yield app


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bindings are made sure of all the time."""
    monkeypatch.setattr("shared.broker.connection.REBIND_EVERY_S", 0.2)


async def delete(broker: Broker, what: str) -> None:
    await asyncio.to_thread(request, broker, "DELETE", f"/api/{what}")


@pytest.mark.slow
@cuts(MOMENTS)
async def test_an_archive_loses_nothing_wherever_it_is_cut_off(
    broker: Broker, tmp_path: Path, moment: Moment, after: bool
) -> None:
    async with proxy(broker) as between, asking(broker) as somebody:
        trap = between.cut_at(*moment, after=after)
        async with archive_behind(broker, between, tmp_path) as app:
            await eventually(lambda: not wrong_bindings(broker))
            for number in range(5):
                await publish(broker, tweet(f"post {number}"))
            await eventually(lambda: has(somebody, *(f"post {number}" for number in range(5))))
            await springs(trap)
            await publish(broker, tweet("post 5"))
            await eventually(lambda: has(somebody, *(f"post {number}" for number in range(6))))
            await until_ready(app)
            assert not wrong_bindings(broker)


@pytest.mark.parametrize("queue", ["archive.raw", "archive.queries"])
async def test_an_archives_queue_that_was_deleted_is_there_again(broker: Broker, tmp_path: Path, queue: str) -> None:
    async with archive(broker, tmp_path) as app, asking(broker) as somebody:
        await publish(broker, tweet("post 0"))
        await eventually(lambda: has(somebody, "post 0"))
        losses = metric("roost_broker_losses_total")
        await delete(broker, f"queues/%2F/{queue}")
        await eventually(lambda: metric("roost_broker_losses_total") > losses)
        await until_ready(app)
        await publish(broker, tweet("post 1"))
        await eventually(lambda: has(somebody, "post 0", "post 1"))
        assert not wrong_bindings(broker)


@pytest.mark.parametrize(
    "binding",
    ["e/tweets.raw/q/archive.raw/~", "e/archive/q/archive.raw/mark", "e/archive/q/archive.queries/query"],
)
async def test_an_archives_binding_that_was_undone_is_made_anew(
    broker: Broker, tmp_path: Path, often: None, binding: str
) -> None:
    async with archive(broker, tmp_path), asking(broker) as somebody:
        await delete(broker, f"bindings/%2F/{binding}")
        await eventually(lambda: not wrong_bindings(broker))
        await publish(broker, tweet("post 0"))
        await eventually(lambda: has(somebody, "post 0"))


@pytest.mark.parametrize("exchange", ["tweets.raw", "archive", "archive.answers"])
async def test_an_exchange_of_the_archive_that_was_deleted_is_used_again(
    broker: Broker, tmp_path: Path, often: None, exchange: str
) -> None:
    async with archive(broker, tmp_path) as app:
        async with asking(broker) as somebody:
            await delete(broker, f"exchanges/%2F/{exchange}")
            try:
                asked = asyncio.create_task(somebody.mark())
                await eventually(lambda: not app.health.ready)
                asked.cancel()
            finally:
                await load_definitions(broker)
        await until_ready(app)
        await eventually(lambda: not wrong_bindings(broker))
        async with asking(broker) as somebody:
            await publish(broker, tweet("post 0"))
            await eventually(lambda: has(somebody, "post 0"))


async def test_an_archive_that_can_not_answer_says_so_and_answers_when_the_alarm_is_over(
    broker: Broker, tmp_path: Path
) -> None:
    async with AsyncExitStack() as alarm, asking(broker) as somebody:
        async with archive(broker, tmp_path):
            pass
        await publish(broker, tweet("post 0"))
        asked = [asyncio.create_task(somebody.mark()), asyncio.create_task(somebody.tweets("all"))]
        await eventually(lambda: is_depth(broker, "archive.queries", 1))
        await alarm.enter_async_context(Alarm(broker, "disk"))
        app = ArchiveApp(ArchiveSettings(amqp_url=broker.amqp_url("archive"), folder=tmp_path))
        async with running(app):
            await eventually(lambda: app.health.state()["consuming"])
            await eventually(lambda: not app.health.state()["answering"])
            await alarm.aclose()
            await eventually(lambda: app.health.ready)
            await asyncio.gather(*asked)
            await eventually(lambda: has(somebody, "post 0"))


async def is_depth(broker: Broker, queue: str, messages: int) -> bool:
    return await depth(broker, queue) == messages
