"""The pump: what a source yields reaches the broker, in batches, whatever the broker does meanwhile."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.ingest import pump as module
from services.ingest.pump import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_UNCONFIRMED_BATCHES, Pump, SequenceClock
from shared import raw
from shared.broker import BrokerLostError, RefusedError
from shared.events import Event
from tests.support.sources import ListSource, MemoryNotes
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

FLUSH_S = 5.0


class Broker:
    """Confirms batches, after having failed as often as it was told."""

    def __init__(self, *failures: Exception) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.confirmed: list[list[dict[str, Any]]] = []
        self.sizes: list[int] = []
        self.places: list[tuple[int, str | None]] = []
        self.attempts = 0
        self.under_way = self.most_under_way = 0
        self._failures = list(failures)

    async def publish(self, body: bytes, after: int) -> None:
        self.attempts += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            await self.open.wait()
            if self._failures:
                raise self._failures.pop(0)
        finally:
            self.under_way -= 1
        entries = raw.Batch(body).entries()
        self.sizes.append(sum(entry.size for entry in entries[:-1]))
        self.confirmed.append([msgpack.unpackb(entry.document) for entry in entries])

    def fail_next(self, error: Exception) -> None:
        """The next batch that is answered fails."""
        self._failures.insert(0, error)

    async def keep_place(self, seq: int, published: int, cursor: str | None) -> None:
        await asyncio.sleep(0)
        self.places.append((seq, cursor))

    def documents(self) -> list[dict[str, Any]]:
        return [document for batch in self.confirmed for document in batch]

    def ids(self) -> list[str]:
        return [document["id"] for document in self.documents()]


FAILURES = (RefusedError("full"), BrokerLostError("away"))


class OutOfOrder(Broker):
    """Confirms a batch when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[asyncio.Event] = []

    async def publish(self, body: bytes, after: int) -> None:
        turn = asyncio.Event()
        self.waiting.append(turn)
        await turn.wait()
        await super().publish(body, after)


class Full(Broker):
    """Refuses every batch until there is room."""

    full = True

    async def publish(self, body: bytes, after: int) -> None:
        if self.full:
            self.attempts += 1
            await asyncio.sleep(0)
            raise RefusedError("full")
        await super().publish(body, after)


async def at_once() -> None:
    """There is a connection."""


def pump_of(
    source: ListSource,
    broker: Broker,
    *,
    buffer_events: int = 10,
    cursor: str | None = None,
    connected: Callable[[], Awaitable[object]] = at_once,
) -> Pump:
    return Pump(
        source,
        broker.publish,
        broker.keep_place,
        cursor=cursor,
        published=0,
        notes=MemoryNotes(),
        buffer_events=buffer_events,
        clock=SequenceClock(),
        connected=connected,
    )


class Running:
    """A pump that runs until the end of the block, and is stopped then."""

    def __init__(
        self, source: ListSource, broker: Broker, *, buffer_events: int = 1000, flush_s: float = FLUSH_S
    ) -> None:
        self.stopping = asyncio.Event()
        self.pump = pump_of(source, broker, buffer_events=buffer_events)
        self._flush_s = flush_s

    async def __aenter__(self) -> "Running":
        self._task = asyncio.create_task(self.pump.run(self.stopping, flush_s=self._flush_s))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await asyncio.wait_for(self._task, 10)


def count(name: str, **labels: str) -> Callable[[], float]:
    """How much a metric has grown since now."""
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    return lambda: (REGISTRY.get_sample_value(name, labels) or 0.0) - before


def some(number: int, text: str = "text") -> list[Event]:
    return [tweet(f"{text} {index}") for index in range(number)]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSED_PAUSE_S", 0.0)
    monkeypatch.setattr(module, "KEEP_INTERVAL_S", 0.0)


class TestDelivery:
    async def test_everything_arrives_in_order_and_numbered(self) -> None:
        original = tweet("one")
        events = [original, edited(original, "two"), deleted(original), *some(50)]
        source, broker = ListSource(events), Broker()
        published = count("roost_ingest_published_total")
        async with Running(source, broker):
            await eventually(lambda: len(broker.documents()) == len(events))
        assert broker.ids() == [event.id for event in events]
        assert [document["action"] for document in broker.documents()[:3]] == ["create", "update", "destroy"]
        numbers = [document["seq"] for document in broker.documents()]
        assert numbers == sorted(set(numbers))
        assert published() == len(events)

    @pytest.mark.parametrize(
        "failures",
        [
            [RefusedError("full")],
            [BrokerLostError("away")],
            [RefusedError("full"), BrokerLostError("away")] * 10,
        ],
    )
    async def test_a_batch_is_tried_until_the_broker_has_it(self, failures: list[Exception]) -> None:
        events = some(30)
        source, broker = ListSource(events), Broker(*failures)
        refused = count("roost_ingest_refused_batches_total")
        async with Running(source, broker, buffer_events=10) as running:
            await eventually(lambda: len(broker.documents()) == len(events))
            assert running.pump.pending == 0
        assert Counter(broker.ids()) == Counter(event.id for event in events)
        assert refused() == sum(isinstance(failure, RefusedError) for failure in failures)

    async def test_batches_grow_while_the_broker_is_slow_and_stay_within_their_limits(self) -> None:
        broker = Broker()
        broker.open.clear()
        # However many are taken with each of the first batches, there are some that wait for a place.
        number = (MAX_UNCONFIRMED_BATCHES + 3) * MAX_BATCH_EVENTS
        source = ListSource(some(number))
        async with Running(source, broker, buffer_events=2 * number):
            await eventually(lambda: len(source.taken) == number)
            await eventually(lambda: broker.most_under_way == MAX_UNCONFIRMED_BATCHES)
            broker.open.set()
            await eventually(lambda: len(broker.documents()) == number)
        assert broker.most_under_way == MAX_UNCONFIRMED_BATCHES
        assert max(map(len, broker.confirmed)) == MAX_BATCH_EVENTS
        assert len(broker.confirmed) < 4 * MAX_UNCONFIRMED_BATCHES

    async def test_large_events_make_small_batches(self) -> None:
        broker = Broker()
        broker.open.clear()
        events = some(40, text="x" * 20_000)
        source = ListSource(events)
        async with Running(source, broker):
            await eventually(lambda: len(source.taken) == len(events))
            broker.open.set()
            await eventually(lambda: len(broker.documents()) == len(events))
        # Only the last event of a batch may reach over the limit.
        assert max(broker.sizes) <= MAX_BATCH_BYTES

    async def test_an_event_that_cannot_be_packed_is_skipped_and_counted(self) -> None:
        skipped = count("roost_source_unreadable_total", source="list", reason="unpackable")
        bad = [tweet("a lone surrogate \ud83d"), tweet("too large a number", mtime=2**70)]
        good = some(2)
        broker = Broker()
        async with Running(ListSource([good[0], *bad, good[1]]), broker):
            await eventually(lambda: len(broker.documents()) == 2)
        assert broker.ids() == [event.id for event in good]
        assert skipped() == 2


class TestAFullBroker:
    async def test_a_source_that_can_wait_is_not_read_on_and_loses_nothing(self) -> None:
        broker = Broker()
        broker.open.clear()
        source = ListSource(some(100))
        dropped = count("roost_ingest_dropped_total")
        async with Running(source, broker, buffer_events=10) as running:
            for _ in range(200):
                await asyncio.sleep(0)
                assert running.pump.pending <= 11
            assert len(source.taken) <= 11
            broker.open.set()
            await eventually(lambda: len(broker.documents()) == 100)
        assert sorted(broker.ids()) == sorted(source.taken)
        assert dropped() == 0

    async def test_a_source_that_can_wait_is_not_read_on_either_while_nothing_is_confirmed(self) -> None:
        broker, source = Full(), ListSource(some(1000))
        async with Running(source, broker, buffer_events=10_000):
            await eventually(lambda: broker.attempts > 100)
            assert len(source.taken) < 20, "what is read has its price, and there is no place for it"
            broker.full = False
            await eventually(lambda: len(broker.documents()) == 1000)

    async def test_a_source_that_can_not_wait_is_read_on_and_what_does_not_fit_is_counted(self) -> None:
        broker = Broker()
        broker.open.clear()
        source = ListSource(some(100), can_wait=False)
        dropped = count("roost_ingest_dropped_total")
        async with Running(source, broker, buffer_events=10) as running:
            await eventually(lambda: len(source.taken) == 100)
            await asyncio.sleep(0)
            assert running.pump.pending == 10
            assert dropped() == 90
            broker.open.set()
            await eventually(lambda: running.pump.pending == 0)
        assert broker.ids() == source.taken[:10]


class TestTheEnd:
    async def test_what_was_read_before_the_stop_is_confirmed(self) -> None:
        broker = Broker(RefusedError("full"))
        broker.open.clear()
        source = ListSource(some(20))
        async with Running(source, broker) as running:
            await eventually(lambda: len(source.taken) == 20)
            running.stopping.set()
            await asyncio.sleep(0)
            broker.open.set()
        assert sorted(broker.ids()) == sorted(source.taken)

    async def test_also_the_one_that_waits_for_a_place_in_the_buffer(self) -> None:
        broker = Broker()
        broker.open.clear()
        source = ListSource(some(20))
        async with Running(source, broker, buffer_events=5) as running:
            for _ in range(50):
                await asyncio.sleep(0)
            running.stopping.set()
            for _ in range(5):
                await asyncio.sleep(0)
            broker.open.set()
        assert sorted(broker.ids()) == sorted(source.taken)

    async def test_nothing_is_read_after_the_stop(self) -> None:
        endless = (tweet("text") for _ in iter(int, 1))
        source, broker = ListSource(endless), Broker()
        async with Running(source, broker):
            await eventually(lambda: len(broker.documents()) > 10)
        taken = len(source.taken)
        await asyncio.sleep(0)
        assert len(source.taken) == taken
        assert Counter(broker.ids()) == Counter(source.taken)

    async def test_a_broker_that_stays_away_does_not_hold_the_stop_up(self) -> None:
        broker = Broker()
        broker.open.clear()
        source = ListSource(some(3))
        async with Running(source, broker, flush_s=0.01) as running:
            await eventually(lambda: len(source.taken) == 3)
        assert broker.confirmed == []
        assert running.pump.pending == 3

    async def test_a_source_that_ends_is_not_the_end(self) -> None:
        source, broker = ListSource(some(3)), Broker()
        stopping = asyncio.Event()
        pump = pump_of(source, broker)
        task = asyncio.create_task(pump.run(stopping, flush_s=FLUSH_S))
        await eventually(lambda: len(broker.documents()) == 3)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        stopping.set()
        await asyncio.wait_for(task, 5)

    async def test_a_source_that_breaks_ends_the_pump_with_its_own_error(self) -> None:
        source = ListSource(some(3), error=LookupError("the file has gone"))
        pump = pump_of(source, Broker())
        with pytest.raises(LookupError, match="the file has gone"):
            await asyncio.wait_for(pump.run(asyncio.Event(), flush_s=FLUSH_S), 5)

    async def test_an_unknown_failure_to_publish_is_not_hidden(self) -> None:
        pump = pump_of(ListSource(some(1)), Broker(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(pump.run(asyncio.Event(), flush_s=FLUSH_S), 5)


class TestTheCursor:
    async def test_it_is_kept_once_everything_up_to_it_is_confirmed(self) -> None:
        source, broker = ListSource(some(300), resumable=True), Broker()
        async with Running(source, broker):
            await eventually(lambda: broker.places and broker.places[-1][1] == "300")
        cursors = [int(cursor or 0) for _, cursor in broker.places]
        assert cursors == sorted(cursors)
        assert broker.places[-1][0] == broker.documents()[-1]["seq"]

    async def test_while_an_earlier_batch_is_not_confirmed_it_stays_before_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_BATCH_EVENTS", 1)
        broker = OutOfOrder()
        source = ListSource(some(5), resumable=True)
        async with Running(source, broker):
            await eventually(lambda: len(broker.waiting) == 5)
            for later in (1, 2, 3):
                broker.waiting[later].set()
            await eventually(lambda: len(broker.confirmed) == 3)
            assert broker.places == []
            broker.waiting[0].set()
            await eventually(lambda: [cursor for _, cursor in broker.places] == ["4"])
            broker.waiting[4].set()
            await eventually(lambda: broker.places[-1][1] == "5")

    async def test_what_is_no_event_moves_it_too_but_not_past_others(self) -> None:
        broker = OutOfOrder()
        source = ListSource([*some(1), None, None], resumable=True)
        async with Running(source, broker):
            await eventually(lambda: len(broker.waiting) == 1)
            for _ in range(20):
                await asyncio.sleep(0)
            assert broker.places == []
            broker.waiting[0].set()
            await eventually(lambda: bool(broker.places) and broker.places[-1][1] == "3")

    @settings(deadline=None, max_examples=60)
    @given(seed=st.integers(0, 2**32))
    def test_a_crash_at_any_moment_and_a_restart_leave_nothing_out(self, seed: int) -> None:
        dice = random.Random(seed)
        events: list[Event | None] = [tweet(f"text {n}") if dice.random() < 0.6 else None for n in range(40)]

        async def story() -> None:
            published: list[str] = []
            cursor: str | None = None
            while cursor != str(len(events)):
                broker = Broker(*dice.choices(FAILURES, k=dice.randrange(5)))
                source = ListSource(events, resumable=True)
                pump = pump_of(source, broker, buffer_events=dice.randint(1, 50), cursor=cursor)
                task = asyncio.create_task(pump.run(asyncio.Event(), flush_s=FLUSH_S))
                for _ in range(dice.randint(1, 150)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                published += broker.ids()
                cursor = broker.places[-1][1] if broker.places else cursor
            assert set(published) == {event.id for event in events if event}

        asyncio.run(asyncio.wait_for(story(), 30))


class TestSequence:
    def test_after_a_restart_all_numbers_of_the_run_before_are_passed_by(self) -> None:
        before = SequenceClock(iter([5_000_000] * 3).__next__)
        kept = before.next()
        late = [before.next() for _ in range(2)]
        after = SequenceClock(lambda: 1, kept=kept)
        assert after.next() > max(late)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 2**52), min_size=1))
    def test_numbers_grow_whatever_the_clock_does(self, readings: list[int]) -> None:
        clock = SequenceClock(iter(readings).__next__)
        numbers = [clock.next() for _ in readings]
        assert all(one < following for one, following in pairwise(numbers))
        assert all(number >= reading for number, reading in zip(numbers, readings, strict=True))

    def test_numbers_are_the_time_while_the_clock_goes_on(self) -> None:
        clock = SequenceClock(iter([1000, 2000, 1500, 2001, 9000]).__next__)
        assert [clock.next() for _ in range(5)] == [1000, 2000, 2001, 2002, 9000]
