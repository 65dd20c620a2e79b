"""The archive: what was said of late, asked over the broker, and what it does when things go wrong."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.archive.app import ArchiveApp
from services.archive.settings import ArchiveSettings
from shared import raw
from shared.events import Tweet
from shared.history import MARK_KEY, Answer, Place
from shared.lifecycle import StartError
from tests.support.archive import Asking, Chain, archive, asking, documents, texts
from tests.support.broker import Broker
from tests.support.exchange import publish, publish_body
from tests.support.management import Policy, depth, request
from tests.support.processes import processes
from tests.support.services import metric, running, until_ready
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
async def empty_queue(broker: Broker) -> AsyncIterator[None]:
    """Nothing of an earlier test waits for the archive."""
    yield
    with contextlib.suppress(OSError):
        await asyncio.to_thread(request, broker, "DELETE", "/api/queues/%2F/archive.raw")


async def test_the_last_tweets_of_a_label_then_page_by_page(broker: Broker, tmp_path: Path) -> None:
    async with archive(broker, tmp_path), asking(broker) as somebody:
        await publish(broker, *(tweet(f"nfl {number}") for number in range(9)), tweet("something else"))
        await somebody.mark()
        first = await somebody.tweets("term.nfl", 4)
        assert texts(first) == ["nfl 8", "nfl 7", "nfl 6", "nfl 5"]
        oldest = documents(first)[-1]
        second = await somebody.tweets("term.nfl", 4, before=Place(oldest["seq"], oldest["id"]))
        assert texts(second) == ["nfl 4", "nfl 3", "nfl 2", "nfl 1"]
        newer = await somebody.tweets("term.nfl", since=documents(second)[0]["seq"])
        assert texts(newer) == texts(first)
        assert texts(await somebody.tweets("all", 1)) == ["something else"]
        assert first.complete_to == documents(await somebody.tweets("all", 1))[0]["seq"]


async def test_changed_and_deleted_tweets_are_as_they_are_now(broker: Broker, tmp_path: Path) -> None:
    async with archive(broker, tmp_path), asking(broker) as somebody:
        one, other, third = tweet("a pelican"), tweet("another pelican"), tweet("no pelican")
        await publish(broker, one, other, third)
        await publish(broker, deleted(one), edited(other, "now an ostrich"))
        await somebody.mark()
        assert texts(await somebody.tweets("term.pelican")) == ["no pelican"]
        assert texts(await somebody.tweets("term.ostrich")) == ["now an ostrich"]
        states = {document["id"]: document for document in documents(await somebody.states(one.id, third.id, "x:1"))}
        assert states.keys() == {one.id, third.id}
        assert states[one.id]["action"] == "destroy"
        assert "text" not in states[one.id]
        assert texts(await somebody.tweets("action.update")) == ["now an ostrich"]


async def test_a_mark_says_that_all_published_before_can_be_asked_for(broker: Broker, tmp_path: Path) -> None:
    async with archive(broker, tmp_path), asking(broker) as somebody:
        chain = Chain(broker)
        for number in range(20):
            await chain.publish(*([tweet(f"nfl {number}")] for _ in range(5)))
            assert await somebody.mark() >= chain.last
            assert len((await somebody.tweets(f"word.{number}")).documents) == 5


async def test_what_a_gateway_sends_between_the_tweets_is_a_mark_whatever_is_in_it(
    broker: Broker, tmp_path: Path
) -> None:
    async with archive(broker, tmp_path), asking(broker) as somebody:
        said = tweet("nfl")
        await publish(broker, said)
        complete_to = await somebody.mark()
        for forged in (tweet("forged"), edited(said, "forged"), deleted(said)):
            body = raw.pack([raw.entry(forged, complete_to + 1)])
            answer = await somebody._ask(MARK_KEY, raw.TYPE, body)
            assert (answer.error, answer.complete_to) == (None, complete_to)
        assert texts(await somebody.tweets("all")) == ["nfl"]
        assert not documents(await somebody.tweets("action.destroy"))


async def test_what_can_not_be_read_is_passed_over_and_what_is_not_understood_is_said(
    broker: Broker, tmp_path: Path
) -> None:
    async with archive(broker, tmp_path), asking(broker) as somebody:
        before = metric("roost_archive_unreadable_total")
        await publish_body(broker, b"no batch")
        await publish_body(broker, b"\x91\x01")
        await publish(broker, tweet("nfl"))
        await somebody.mark()
        assert texts(await somebody.tweets("term.nfl")) == ["nfl"]
        assert metric("roost_archive_unreadable_total") == before + 2
        assert (await somebody.ask_with(b"no query")).error
        assert (await somebody.tweets("nonsense")).error
        assert texts(await somebody.tweets("term.nfl")) == ["nfl"]


async def test_what_is_published_while_it_is_away_is_there_when_it_is_back(broker: Broker, tmp_path: Path) -> None:
    chain = Chain(broker)
    async with asking(broker) as somebody:
        async with archive(broker, tmp_path):
            await chain.publish([tweet("nfl 1")])
            await somebody.mark()
        first = chain.last
        await chain.publish([tweet("nfl 2")], [tweet("nfl 3")])
        async with archive(broker, tmp_path):
            await somebody.mark()
            answer = await somebody.tweets("term.nfl", since=first)
            assert texts(answer) == ["nfl 3", "nfl 2"]
            assert answer.whole


async def test_what_its_full_queue_has_dropped_is_known_to_be_missing(broker: Broker, tmp_path: Path) -> None:
    chain = Chain(broker)
    async with asking(broker) as somebody:
        async with archive(broker, tmp_path):
            await chain.publish([tweet("nfl 0")])
            await somebody.mark()
        first = chain.last
        async with Policy(broker, r"^archive\.raw$", **{"max-length": 2, "overflow": "drop-head"}):
            await eventually(lambda: _policy(broker, "archive.raw") == "of-a-test", what="the policy is applied")
            await chain.publish(*([tweet(f"nfl {number}")] for number in range(1, 7)))
            assert await depth(broker, "archive.raw") == 2
        async with archive(broker, tmp_path):
            await somebody.mark()
            answer = await somebody.tweets("term.nfl", since=first)
            assert texts(answer) == ["nfl 6", "nfl 5"]
            assert answer.missing is not None
            begin, end = answer.missing
            assert first == begin < end < documents(answer)[-1]["seq"]
            last = await somebody.tweets("term.nfl", 1)
            assert texts(last) == ["nfl 6"]
            assert last.whole, "between the last two nothing is missing"


def _policy(broker: Broker, queue: str) -> object:
    return (broker.get(f"/api/queues/%2F/{queue}") or {}).get("policy")


async def test_a_second_archive_waits_until_the_first_one_ends(broker: Broker, tmp_path: Path) -> None:
    second = ArchiveApp(ArchiveSettings(amqp_url=broker.amqp_url("archive"), folder=tmp_path / "second"))
    async with asking(broker) as somebody:
        async with archive(broker, tmp_path / "first"), running(second):
            await eventually(lambda: second.health.state()["disk"], what="the second one could begin")
            await publish(broker, tweet("nfl 1"))
            await somebody.mark()
            assert texts(await somebody.tweets("term.nfl")) == ["nfl 1"]
            assert not second.health.ready
        third = ArchiveApp(ArchiveSettings(amqp_url=broker.amqp_url("archive"), folder=tmp_path / "first"))
        async with running(third):
            await until_ready(third)
            assert texts(await somebody.tweets("term.nfl")) == ["nfl 1"]


async def test_two_archives_never_share_a_folder(broker: Broker, tmp_path: Path) -> None:
    async with archive(broker, tmp_path):
        other = ArchiveApp(ArchiveSettings(amqp_url=broker.amqp_url("archive"), folder=tmp_path))
        with pytest.raises(StartError, match="another archive has"):
            await other.run(asyncio.Event())


def numbered(begin: int, end: int) -> list[list[Tweet]]:
    """Batches of twenty tweets each."""
    return [[tweet(f"nfl {n}", id=f"test:{n}") for n in range(at, at + 20)] for at in range(begin, end, 20)]


async def test_killed_under_load_it_has_everything_once_and_answers_soon(broker: Broker, tmp_path: Path) -> None:
    chain = Chain(broker)
    async with processes(broker) as started, asking(broker) as somebody:
        settings = {"folder": tmp_path, "segment_minutes": 0.01}
        first = await started.start("archive", **settings)
        load = asyncio.create_task(chain.publish(*numbered(0, 20_000)))
        for _ in range(3):
            written = first.metric("roost_archive_written_total")
            await eventually(
                lambda before=written, one=first: (
                    one.metric("roost_archive_written_total") > before + 500 or load.done()
                ),
                what="it is under load",
            )
            first.kill()
            began = time.monotonic()
            first = await started.start("archive", **settings)
            await somebody.tweets("term.nfl", 5)
            took = time.monotonic() - began
            print(f"usable again after {took:.1f} s")
            assert took < 15
        await load
        await somebody.mark()
        found = await _all_of(somebody, "term.nfl")
        assert sorted(found) == sorted(f"test:{n}" for n in range(20_000))
        answer = await somebody.tweets("term.nfl", 1, since=0)
        assert answer.missing is None


async def _all_of(somebody: Asking, label: str) -> list[str]:
    found: list[str] = []
    before: Place | None = None
    while True:
        answer: Answer = await somebody.tweets(label, 5000, before=before)
        page = documents(answer)
        found += [document["id"] for document in page]
        if answer.from_seq == 0:
            return found
        before = Place(page[-1]["seq"], page[-1]["id"])


async def test_a_disk_that_takes_nothing_more_stops_it_until_it_does_again(broker: Broker, tmp_path: Path) -> None:
    chain = Chain(broker)
    async with processes(broker) as started, asking(broker) as somebody:
        process = await started.start("archive", folder=tmp_path)
        await chain.publish([tweet("nfl 1")])
        await somebody.mark()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024, hard))
        await chain.publish([tweet("nfl 2")])
        await eventually(lambda: not process.ready(), what="it says that it can't work")
        assert (await somebody.tweets("term.nfl")).error
        await chain.publish([tweet("nfl 3")])
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await eventually(process.ready, what="it works again")
        await somebody.mark()
        answer = await somebody.tweets("term.nfl")
        assert texts(answer) == ["nfl 3", "nfl 2", "nfl 1"]
        assert answer.whole
        assert process.log().count("the disk can't be") == 1
        assert await process.stop() == 0


def spoil(folder: Path) -> None:
    (file,) = folder.glob("*.sqlite3")
    file.write_bytes(b"no database at all, but long enough to look at" * 100)


def set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("*.corrupt"))


async def test_a_corrupt_file_is_set_aside_and_what_it_had_is_missing(broker: Broker, tmp_path: Path) -> None:
    chain = Chain(broker)
    async with asking(broker) as somebody:
        async with archive(broker, tmp_path):
            await chain.publish([tweet("nfl 1")])
            await somebody.mark()
        spoil(tmp_path)
        async with archive(broker, tmp_path):
            await chain.publish([tweet("nfl 2")])
            await somebody.mark()
            answer = await somebody.tweets("term.nfl", since=5)
            assert texts(answer) == ["nfl 2"]
            assert answer.missing is not None
        assert set_aside(tmp_path)


async def test_a_broker_that_restarts_is_found_again(broker: Broker, tmp_path: Path) -> None:
    async with archive(broker, tmp_path) as app, asking(broker) as somebody:
        await publish(broker, tweet("nfl 1"))
        await somebody.mark()
        await asyncio.to_thread(broker.restart)
        await until_ready(app)
        async with asking(broker) as other:
            await publish(broker, tweet("nfl 2"))
            await other.mark()
            assert texts(await other.tweets("term.nfl")) == ["nfl 2", "nfl 1"]
