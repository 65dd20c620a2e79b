"""Which events the pump publishes together and when, and in which order again when the broker was away.

The clock is the loop's own and goes on only when nobody has anything to do, so that times are exact.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.present import Present
from services.ingest.pump import LINGER_S, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_UNCONFIRMED_BATCHES, Pump
from services.ingest.sources import Item, Notes
from shared import raw
from shared.broker import BrokerLostError, RefusedError
from shared.events import Tweet
from tests.support.sources import ListSource
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.unit.subscription_clock import LeapingLoop, leaping
from tests.unit.test_pump import FAILURES, FLUSH_S, Broker, pump_of

MS = 0.001


class Fed(ListSource):
    """A source to which things happen when the test says so."""

    def __init__(self) -> None:
        super().__init__([])
        self._coming: asyncio.Queue[Tweet | str | None] = asyncio.Queue()

    def give(self, *texts: str) -> None:
        """Each text is an event that comes now."""
        for text in texts:
            self._coming.put_nowait(tweet(text))

    def go_on_to(self, cursor: str) -> None:
        """There is nothing to be published up to there."""
        self._coming.put_nowait(cursor)

    def end(self) -> None:
        self._coming.put_nowait(None)

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        number = 0
        while event := await self._coming.get():
            if isinstance(event, str):
                yield Item(None, event)
                continue
            number += 1
            self.taken.append(event.id)
            yield Item(event, str(number))


class Attempt:
    """One batch on its way."""

    def __init__(self, body: bytes, after: int) -> None:
        self.at = asyncio.get_running_loop().time()
        documents = [msgpack.unpackb(entry.document) for entry in raw.Batch(body).entries()]
        self.texts = [document["text"] for document in documents]
        self.after = after
        self.last = documents[-1]["seq"]
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def confirm(self) -> None:
        self.answer.set_result(None)

    def fail(self, error: Exception) -> None:
        self.answer.set_exception(error)


class Told(Broker):
    """Does with each batch what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts_made: list[Attempt] = []

    async def publish(self, body: bytes, after: int) -> None:
        attempt = Attempt(body, after)
        self.attempts_made.append(attempt)
        await attempt.answer

    def said(self) -> list[list[str]]:
        return [attempt.texts for attempt in self.attempts_made]


class Story:
    """A pump between a source and a broker that do as they are told."""

    def __init__(self, buffer_events: int) -> None:
        self.source, self.broker, self.stopping = Fed(), Told(), asyncio.Event()
        self.pump: Pump = pump_of(self.source, self.broker, buffer_events=buffer_events)

    def times(self) -> list[float]:
        return [attempt.at for attempt in self.broker.attempts_made]


@asynccontextmanager
async def running(buffer_events: int = 10_000) -> AsyncGenerator[Story, None]:
    story = Story(buffer_events)
    task = asyncio.create_task(story.pump.run(story.stopping, flush_s=5))
    await until(0)
    yield story
    for attempt in story.broker.attempts_made:
        if not attempt.answer.done():
            attempt.confirm()
    story.stopping.set()
    await task


async def until(moment: float) -> None:
    """Let everybody do what is to do up to some moment, and at it."""
    await asyncio.sleep(moment - asyncio.get_running_loop().time())
    for _ in range(50):
        await asyncio.sleep(0)


class TestWhenTheyLeave:
    def test_an_event_that_comes_when_none_has_left_lately_leaves_at_once(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                for moment in (10 * MS, 20 * MS, 20 * MS + LINGER_S):
                    await until(moment)
                    here.source.give("alone")
                await until(1)
                # And nothing is confirmed yet.
                assert here.times() == pytest.approx([10 * MS, 20 * MS, 20 * MS + LINGER_S])

        story()

    def test_others_wait_for_each_other_but_no_longer_than_a_moment(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                here.source.give("first")
                for moment, text in ((1, "second"), (2, "third"), (4, "fourth"), (7, "fifth")):
                    await until(moment * MS)
                    here.source.give(text)
                await until(1)
                assert here.broker.said() == [["first"], ["second", "third", "fourth"], ["fifth"]]
                assert here.times() == pytest.approx([0, LINGER_S, 2 * LINGER_S])

        story()

    def test_nobody_waits_for_others_that_the_buffer_has_no_place_for(self) -> None:
        @leaping
        async def story() -> None:
            async with running(buffer_events=3) as here:
                here.source.give("first")
                await until(0)
                here.broker.attempts_made[0].confirm()
                await until(1 * MS)
                here.source.give("second", "third", "fourth", "fifth")
                await until(2 * MS)
                assert here.broker.said() == [["first"], ["second", "third", "fourth"]]
                assert here.times() == pytest.approx([0, 1 * MS])

        story()

    def test_where_only_the_cursor_has_moved_nothing_has_left(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                here.source.go_on_to("a later place")
                await until(1 * MS)
                here.source.give("alone")
                await until(1 * MS)
                assert here.times() == pytest.approx([1 * MS])

        story()

    def test_that_all_is_confirmed_is_no_reason_to_leave_alone(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                for moment in (0, 1, 2):
                    await until(moment * MS)
                    here.source.give(str(moment))
                    for attempt in here.broker.attempts_made:
                        if not attempt.answer.done():
                            attempt.confirm()
                await until(1)
                assert here.broker.said() == [["0"], ["1", "2"]]
                assert here.times() == pytest.approx([0, LINGER_S])

        story()

    def test_a_batch_that_is_full_of_events_does_not_wait(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                here.source.give("first")
                await until(1 * MS)
                here.source.give(*map(str, range(2 * MAX_BATCH_EVENTS + 3)))
                for _ in range(5 * MAX_BATCH_EVENTS):
                    await asyncio.sleep(0)
                assert [len(texts) for texts in here.broker.said()] == [1, MAX_BATCH_EVENTS, MAX_BATCH_EVENTS]
                await until(1)
                assert here.broker.said()[3] == [str(2 * MAX_BATCH_EVENTS + number) for number in range(3)]
                assert here.times() == pytest.approx([0, 1 * MS, 1 * MS, 1 * MS + LINGER_S])

        story()

    def test_nor_does_one_that_is_full_of_bytes(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                here.source.give("first")
                await until(1 * MS)
                large = "x" * (MAX_BATCH_BYTES // 20)
                here.source.give(*[large] * 9)
                await until(2 * MS)
                assert len(here.broker.attempts_made) == 1
                here.source.give(large)
                await until(2 * MS)
                assert here.times() == pytest.approx([0, 2 * MS])
                # Of each event the text goes twice, in the document and to be searched.
                assert len(here.broker.said()[1]) == 10

        story()

    def test_what_waits_when_the_source_ends_is_published(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                here.source.give("first")
                await until(1 * MS)
                here.source.give("second")
                here.source.end()
                await until(1)
                assert here.broker.said() == [["first"], ["second"]]
                assert here.times() == pytest.approx([0, LINGER_S])

        story()

    def test_who_is_stopped_does_not_wait(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                here.source.give("first")
                await until(1 * MS)
                here.source.give("second", "third")
                await until(2 * MS)
                here.stopping.set()
                await until(2 * MS)
                assert here.broker.said() == [["first"], ["second", "third"]]
                assert here.times() == pytest.approx([0, 2 * MS])

        story()

    def test_no_more_than_eight_are_under_way(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                for number in range(20):
                    here.source.give(str(number))
                    await until((number + 1) * 2 * LINGER_S)
                assert len(here.broker.attempts_made) == MAX_UNCONFIRMED_BATCHES == 8
                here.broker.attempts_made[4].confirm()
                await until(1)
                assert len(here.broker.attempts_made) == 9
                assert here.broker.said()[8] == [str(number) for number in range(8, 20)]

        story()


class TestAfterALoss:
    async def test_one_that_is_taken_when_earlier_ones_have_just_got_their_turn_does_not_overtake_them(self) -> None:
        """Many wait for a connection, and no more of them for each other than one that comes then."""
        source, broker, stopping, now = Fed(), Broker(), asyncio.Event(), Present[str]()
        now.set("first")
        pump = pump_of(source, broker, buffer_events=100_000, connected=now.get)
        pumping = asyncio.create_task(pump.run(stopping, flush_s=FLUSH_S))
        broker.open.clear()
        source.give("0")
        await eventually(lambda: broker.attempts == 1)
        broker.fail_next(BrokerLostError("lost"))
        now.clear()
        broker.open.set()
        source.give(*map(str, range(1, 20 * MAX_BATCH_EVENTS)))
        await eventually(lambda: pump.pending > MAX_UNCONFIRMED_BATCHES * MAX_BATCH_EVENTS)
        now.set("second")
        await eventually(lambda: pump.pending == 0)
        stopping.set()
        await pumping
        assert [document["text"] for document in broker.documents()] == [*map(str, range(20 * MAX_BATCH_EVENTS))]

    async def test_one_that_is_taken_when_others_do_not_know_of_the_loss_yet_does_not_overtake_them(self) -> None:
        class Connections(Broker):
            """Two, one after the other: the first one never answers, and is lost by and by."""

            def __init__(self) -> None:
                super().__init__()
                self.now = Present[str]()
                self.now.set("first")
                self.lost = asyncio.Event()
                self.sent: list[tuple[str, list[str]]] = []

            async def publish(self, body: bytes, after: int) -> None:
                connection = await self.now.get()
                self.sent.append((connection, [entry.facets.text for entry in raw.Batch(body).entries()]))
                if connection == "first":
                    await self.lost.wait()
                    raise BrokerLostError("lost")

        source, broker, stopping = Fed(), Connections(), asyncio.Event()
        pump = pump_of(source, broker, buffer_events=1000, connected=broker.now.get)
        pumping = asyncio.create_task(pump.run(stopping, flush_s=FLUSH_S))
        for number in range(3):
            source.give(str(number))
            await eventually(lambda number=number: len(broker.sent) == number + 1)
        broker.now.clear()
        source.give("3")
        await eventually(lambda: pump.pending == 4)
        broker.lost.set()
        broker.now.set("second")
        await eventually(lambda: pump.pending == 0)
        stopping.set()
        await pumping
        assert [texts for connection, [texts] in broker.sent if connection == "second"] == ["0", "1", "2", "3"]

    def test_batches_are_published_again_in_their_order_and_none_that_is_newer_before_them(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                for number in range(4):
                    here.source.give(str(number))
                    await until((number + 1) * 2 * LINGER_S)
                here.broker.attempts_made[0].confirm()
                # Those who wait for a lost connection hear of it in one turn of the loop, in any order.
                for attempt in reversed(here.broker.attempts_made[1:]):
                    attempt.fail(BrokerLostError("away"))
                await until(1)
                here.source.give("4")
                await until(2)
                for number in range(1, 5):
                    attempt = here.broker.attempts_made[-1]
                    assert attempt.texts == [str(number)]
                    assert not attempt.answer.done()
                    attempt.confirm()
                    await until(2 + number)
                assert [texts for [texts] in here.broker.said()] == ["0", "1", "2", "3", "1", "2", "3", "4"]

        story()

    def test_one_that_was_refused_is_published_again_before_those_that_come_after_it(self) -> None:
        @leaping
        async def story() -> None:
            async with running() as here:
                here.source.give("0")
                await until(10 * MS)
                here.source.give("1")
                await until(20 * MS)
                here.broker.attempts_made[0].fail(RefusedError("full"))
                await until(30 * MS)
                here.source.give("2")
                await until(5)
                assert here.broker.said() == [["0"], ["1"], ["0"]], "2 waits for 0"
                here.broker.attempts_made[2].confirm()
                await until(6)
                assert here.broker.said()[3:] == [["2"]]

        story()

    @settings(deadline=None, max_examples=100)
    @given(seed=st.integers(0, 2**32))
    def test_whatever_happens_a_batch_never_overtakes_one_that_has_failed(self, seed: int) -> None:
        dice = random.Random(seed)

        async def story() -> None:
            number = 0
            async with running() as here:
                open_attempts: list[Attempt] = []
                failed: set[int] = set()
                seen = 0
                while number < 30 or open_attempts or here.pump.pending:
                    if number < 30:
                        for _ in range(dice.randrange(4)):
                            here.source.give(str(number))
                            number += 1
                    await until(asyncio.get_running_loop().time() + dice.choice([0, 1 * MS, LINGER_S, 1]))
                    for attempt in here.broker.attempts_made[seen:]:
                        assert not any(earlier < attempt.last for earlier in failed), "one before it has to go first"
                        failed.discard(attempt.last)
                        open_attempts.append(attempt)
                    seen = len(here.broker.attempts_made)
                    if open_attempts and dice.random() < 0.8:
                        attempt = open_attempts.pop(dice.randrange(len(open_attempts)))
                        if dice.random() < 0.6:
                            attempt.confirm()
                        else:
                            failed.add(attempt.last)
                            attempt.fail(dice.choice(FAILURES))
                chain = {attempt.last: attempt for attempt in here.broker.attempts_made}
                batches = [chain[last] for last in sorted(chain)]
                assert [text for batch in batches for text in batch.texts] == [str(n) for n in range(number)]
                assert batches[0].after == 0
                assert all(one.last == following.after for one, following in pairwise(batches)), "the chain is whole"

        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(story())
