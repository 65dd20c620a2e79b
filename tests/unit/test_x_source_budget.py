"""What the source X may cost: no more posts than the day allows, whatever the broker does and whoever crashes."""

import asyncio
import json
import random
import threading
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.ingest.sources.x_api.messages import Message, read_message
from tests.support.sources import MemoryNotes
from tests.support.turned_clock import TurnedClock, settled
from tests.support.waiting import eventually
from tests.support.x_server import post, x_server
from tests.support.x_source import reading_x, streaming, warnings

HOUR = 3600.0
DAY = 24 * HOUR


def used() -> float | None:
    return REGISTRY.get_sample_value("roost_x_posts_today")


@pytest.mark.parametrize("budget", [1, 5, 40])
async def test_no_more_posts_are_taken_than_the_day_allows(budget: int) -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, budget=budget) as reader:
        await streaming(server)
        with capture_logs() as logs:
            for number in range(budget + 10):
                await server.push(post(f"nfl {number}"))
            await eventually(lambda: len(reader.texts) == budget)
            await eventually(lambda: not server.streaming)
            requests = len(server.rule_requests)
            await clock.turn(20 * HOUR)
        assert len(reader.texts) == budget
        assert (server.connects, len(server.rule_requests)) == (1, requests)
        # What was under way when it left has to be paid for too.
        assert budget <= (used() or 0) <= server.sent
        (told,) = warnings(logs)
        assert told["reason"] == f"the daily budget of {budget} posts is used up; it goes on at 00:00 UTC"
        status = reader.source.report.status()
        assert status.state == "spent"
        assert status.resumes_in_s is not None
        assert 0 < status.resumes_in_s <= 4 * HOUR

        await clock.turn(4 * HOUR + 1)
        await streaming(server)
        await server.push(post("nfl tomorrow"))
        await eventually(lambda: reader.texts[budget:] == ["nfl tomorrow"])
        assert used() == 1


async def test_midnight_brings_a_new_budget_to_an_open_stream() -> None:
    clock, notes = TurnedClock(), MemoryNotes()
    clock.skip(DAY - 30)
    async with x_server() as server, reading_x(server, clock, budget=4, notes=notes) as reader:
        await streaming(server)
        for number in range(3):
            await server.push(post(f"nfl {number}"))
        await eventually(lambda: len(reader.texts) == 3)
        yesterday = json.loads(notes.text)["day"]
        for _ in range(4):
            await clock.turn(10)
            server.push_raw(b"\r\n")
        for number in range(9):
            await server.push(post(f"nfl tomorrow {number}"))
        await eventually(lambda: not server.streaming)
        assert len(reader.texts) == 3 + 4
        assert server.connects == 1
        assert json.loads(notes.text)["day"] > yesterday


async def test_a_budget_of_nothing_connects_to_nothing() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, budget=0) as reader:
        await clock.turn(3 * DAY)
        assert (server.connects, server.rule_requests) == (0, [])
        status = reader.source.report.status()
        assert (status.state, status.detail) == ("spent", "the daily budget is 0 posts: nothing is bought")


async def test_what_was_used_before_a_restart_is_used() -> None:
    notes, clock = MemoryNotes(), TurnedClock()
    async with x_server() as server:
        async with reading_x(server, clock, budget=3, notes=notes) as reader:
            await streaming(server)
            for number in range(3):
                await server.push(post(f"nfl {number}"))
            await eventually(lambda: len(reader.texts) == 3)
        async with reading_x(server, clock, budget=3, notes=notes):
            await clock.turn(HOUR)
            assert server.connects == 1


async def test_what_was_set_aside_is_given_back_on_leaving() -> None:
    notes, clock = MemoryNotes(), TurnedClock()
    async with x_server() as server:
        for number in range(5):
            async with reading_x(server, clock, budget=1000, notes=notes) as reader:
                await eventually(lambda: server.streaming)
                await server.push(post("nfl"))
                await eventually(lambda: reader.texts == ["nfl"])
            assert json.loads(notes.text)["posts"] == number + 1


async def test_unreadable_posts_cost_as_much_as_others() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, budget=4):
        await streaming(server)
        server.push_raw(b'{"data": 5}\r\n{"da\r\n{"data": "' + b"x" * 2**21 + b'"}\r\n\r\n{"hello": "no post"}\r\n')
        await server.push(post("nfl"))
        await eventually(lambda: not server.streaming)
        assert used() == 4


class MortalNotes(MemoryNotes):
    """Notes of a process that can be killed: what it writes afterwards is lost, and never answered."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.killed = False

    async def keep(self, text: str) -> None:
        await asyncio.sleep(0)
        if self.killed:
            await asyncio.Event().wait()
        self.text = text


async def test_no_number_of_crashes_exceeds_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.sources.x.LEAVE_S", 0.01)
    choose = random.Random(5)
    budget, text, taken, lives = 60, "", 0, 0
    clock = TurnedClock()
    async with x_server() as server:
        while lives < 40:
            lives += 1
            notes = MortalNotes(text)
            async with reading_x(server, clock, budget=budget, notes=notes) as reader:
                await eventually(lambda: server.streaming or reader.source.report.state == "spent")
                if not server.streaming:
                    break
                for _ in range(choose.randrange(8)):
                    if server.streaming:
                        await server.push(post("nfl"))
                    for _ in range(choose.randrange(30)):
                        await asyncio.sleep(0)
                notes.killed = True
                text = notes.text
            # Whatever X sent it has to be paid for, taken or not; here it counts what went further.
            taken += len(reader.tweets)
            await eventually(lambda: not server.streaming)
    assert 0 < taken <= budget
    assert lives < 40


class SlowNotes(MemoryNotes):
    """Notes that are kept when the broker is there."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = asyncio.Event()

    async def keep(self, text: str) -> None:
        await self.broker.wait()
        self.text = text


async def test_nothing_is_bought_that_is_not_noted_beforehand() -> None:
    clock, notes = TurnedClock(), SlowNotes()
    async with x_server() as server, reading_x(server, clock, budget=20, notes=notes) as reader:
        await clock.turn(60)
        assert server.connects == 0
        notes.broker.set()
        await streaming(server)
        notes.broker.clear()
        for number in range(5):
            await server.push(post(f"nfl {number}"))
        await settled()
        assert len(reader.texts) <= 1  # a chunk is one post
        with capture_logs() as logs:
            await clock.turn(30)
        assert not server.streaming
        assert server.connects == 1
        (told,) = warnings(logs)
        assert told["reason"] == "the broker takes nothing, so nothing is bought"
        notes.broker.set()
        # What was delivered already is not lost.
        await eventually(lambda: reader.texts == [f"nfl {number}" for number in range(5)])
        await clock.turn(60)
        await streaming(server)


async def test_x_is_not_let_go_on_while_what_it_has_sent_is_as_much_as_the_day_allows() -> None:
    clock, notes = TurnedClock(), SlowNotes()
    async with x_server() as server:
        notes.broker.set()
        async with reading_x(server, clock, budget=20, notes=notes) as reader:
            await streaming(server)
            notes.broker.clear()
            for number in range(1000):
                await server.push(post(f"nfl {number}"))
                await asyncio.sleep(0.0005)
            # No time has passed on the clock: it left at once.
            assert not server.streaming
            assert 20 <= server.sent < 100
            notes.broker.set()
            await eventually(lambda: reader.source.report.state == "spent")
            assert reader.texts == [f"nfl {number}" for number in range(20)]
            assert 20 <= (used() or 0) <= server.sent
            await eventually(lambda: json.loads(notes.text)["posts"] == used())
        # After a crash that is known.
        async with reading_x(server, clock, budget=20, notes=MemoryNotes(notes.text)):
            await clock.turn(HOUR)
            assert server.connects == 1


@pytest.mark.parametrize(("posts", "patience_s"), [(300, 10), (600, 1)])
async def test_how_long_the_broker_may_take_depends_on_what_is_noted(posts: int, patience_s: float) -> None:
    clock, notes = TurnedClock(), SlowNotes()
    notes.broker.set()
    # Chunks of 500, so the next note is due after 250, and 250 more may come meanwhile.
    async with x_server() as server, reading_x(server, clock, budget=10_000, notes=notes) as reader:
        await streaming(server)
        notes.broker.clear()
        for number in range(posts):
            await server.push(post(f"nfl {number}"))
        await server.written()
        await eventually(lambda: len(reader.texts) > 250)
        await clock.turn(patience_s - 0.5)
        assert server.streaming
        await clock.turn(2)
        assert not server.streaming
        notes.broker.set()
        await eventually(lambda: len(reader.texts) == posts)
        assert json.loads(notes.text)["posts"] >= posts


async def test_what_was_delivered_and_never_looked_at_counts_as_used() -> None:
    notes = SlowNotes()
    notes.broker.set()
    async with x_server() as server:
        async with reading_x(server, TurnedClock(), budget=20, notes=notes) as reader:
            await streaming(server)
            notes.broker.clear()
            for number in range(5):
                await server.push(post(f"nfl {number}"))
            await server.written()
            await eventually(lambda: reader.texts)
            asyncio.get_running_loop().call_later(0.1, notes.broker.set)
        assert len(reader.texts) < 5
        assert json.loads(notes.text)["posts"] == 5


async def test_a_post_that_is_being_read_when_the_connection_ends_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def read(line: bytes, hide: Callable[[str], str]) -> Message:
        begun.set()
        go_on.wait(10)
        return read_message(line, hide)

    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock) as reader:
        await streaming(server)
        reader.reading.clear()
        for text in ("nfl one", "nfl two"):
            await server.push(post(text))
        await settled()
        monkeypatch.setattr("services.ingest.sources.x_api.reading.read_message", read)
        long = "nfl three " + "x" * 20_000
        await server.push(post(long))
        await eventually(begun.is_set)
        await clock.turn(12)
        assert not server.streaming
        go_on.set()
        reader.reading.set()
        await eventually(lambda: reader.texts == ["nfl one", "nfl two", long])
