"""What ingest keeps in the broker: one of several has a source to itself, and goes on where the last one stopped."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from services.ingest import app as app_module
from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from services.ingest.sources import Item, Notes
from services.ingest.state import Hold, State
from shared.broker import connect
from shared.tasks import forever
from tests.support.broker import Broker
from tests.support.ledger import Ledger, ledger
from tests.support.management import request
from tests.support.proxy import Proxy, proxy
from tests.support.services import metric, running
from tests.support.sources import ListSource
from tests.support.tweets import tweet
from tests.support.waiting import eventually

EVENTS = [tweet(f"post {number}") for number in range(400)]


@pytest.fixture
def short_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that falls silent is given up sooner."""
    monkeypatch.setattr("shared.broker.connection.HEARTBEAT_S", 1)


def app_of(broker: Broker, source: ListSource, url: str = "") -> IngestApp:
    return IngestApp(IngestSettings(amqp_url=url or broker.amqp_url("ingest")), source)


def through(broker: Broker, between: Proxy, source: ListSource) -> IngestApp:
    """The same behind a proxy."""
    return app_of(broker, source, f"amqp://ingest:ingest@127.0.0.1:{between.port}/")


def ids(taken: Ledger) -> list[object]:
    return [document["id"] for document, _ in taken.events]


@asynccontextmanager
async def stored(broker: Broker) -> AsyncIterator[State]:
    """The state that a next ingest would find."""
    async with connect(broker.amqp_url("ingest"), name="test") as connection:
        hold = await Hold.take(connection, ListSource.name, waiting=lambda: None)
        yield hold.state


async def test_the_first_ingest_of_a_source_finds_nothing_and_a_later_one_what_was_kept(broker: Broker) -> None:
    async with stored(broker) as state:
        assert state == State()
    async with ledger(broker) as taken:
        async with running(app_of(broker, ListSource(EVENTS[:50], resumable=True))):
            await eventually(lambda: len(taken.events) == 50)
        async with stored(broker) as state:
            assert state.cursor == "50"
            assert state.seq == max(int(str(document["seq"])) for document, _ in taken.events)
        again = ListSource(EVENTS, resumable=True)
        async with running(app_of(broker, again)):
            await eventually(lambda: len(taken.events) == 400)
    assert again.taken == [event.id for event in EVENTS[50:]]
    numbers = [int(str(document["seq"])) for document, _ in taken.events]
    assert len(numbers) == len(set(numbers))
    assert min(numbers[50:]) > max(numbers[:50])


async def test_a_second_ingest_waits_and_takes_over_without_a_gap_or_a_double(broker: Broker) -> None:
    async with ledger(broker) as taken:
        second = ListSource(EVENTS, resumable=True)
        standby = app_of(broker, second)
        async with running(app_of(broker, ListSource(EVENTS[:100], resumable=True))) as stopping:
            await eventually(lambda: len(taken.events) == 100)
            async with running(standby):
                await eventually(lambda: standby.health.ready, what="who waits is ready to take over")
                assert second.taken == []
                stopping.set()
                await eventually(lambda: len(taken.events) == 400)
    assert sorted(map(str, ids(taken))) == sorted(event.id for event in EVENTS)


async def test_a_broker_that_was_away_is_no_reason_to_read_again(broker: Broker) -> None:
    source = ListSource(EVENTS[:100], resumable=True)
    losses = metric("roost_broker_losses_total")
    async with (
        ledger(broker) as taken,
        proxy(broker) as between,
        running(app := through(broker, between, source)),
    ):
        await eventually(lambda: len(taken.events) == 100)
        cut(between)
        await eventually(lambda: metric("roost_broker_losses_total") > losses)
        await eventually(lambda: app.health.ready)
    assert source.taken == [event.id for event in EVENTS[:100]]
    assert len(taken.events) == 100


@pytest.mark.usefixtures("short_heartbeat")
async def test_who_was_cut_off_and_finds_another_one_at_work_lets_go(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "PATIENCE_S", 0.5)
    first, second = (ListSource(EVENTS, resumable=True) for _ in range(2))
    async with ledger(broker) as taken, proxy(broker) as between, running(through(broker, between, first)):
        await eventually(lambda: len(taken.events) == 400)
        between.stall()
        async with running(app_of(broker, second)):
            # The broker gives the silent connection up, and the other one takes over.
            await eventually(lambda: second.reads == 1, within_s=30)
            # Both live; the first one can speak again, and must not go on as if nothing had been.
            between.flow()
            await eventually(lambda: metric("roost_ingest_active") == 0, within_s=30)
        await eventually(lambda: first.reads == 2, within_s=30)
    assert set(ids(taken)) == {event.id for event in EVENTS}


class Noting(ListSource):
    """Notes something when it is begun to be read, and something else when that ends."""

    def __init__(self, name: str) -> None:
        super().__init__(EVENTS[:5])
        self.found: list[str] = []
        self._by = name

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        self.found.append(notes.text)
        await notes.keep(f"{self._by} has begun")
        self.reads += 1
        try:
            yield Item()
            await forever()
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(notes.keep(f"{self._by} has ended"), 0.5)


@pytest.mark.usefixtures("short_heartbeat")
async def test_the_last_words_of_one_who_is_cut_off_do_not_come_after_those_of_another(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "PATIENCE_S", 600.0)
    first, second = Noting("the first"), Noting("the second")
    async with proxy(broker) as between, running(through(broker, between, first)):
        await eventually(lambda: first.reads == 1)
        between.stall()
        async with running(app_of(broker, second)):
            await eventually(lambda: second.reads == 1, within_s=30)
        assert second.found == ["the first has begun"]
        # The other one has come and gone meanwhile, and what it noted is the truth.
        between.flow()
        await eventually(lambda: first.reads == 2, within_s=30)
    assert first.found == ["", "the second has ended"]
    async with stored(broker) as state:
        assert state.notes == "the first has ended"


@pytest.mark.usefixtures("short_heartbeat")
async def test_a_source_that_lets_one_reader_in_is_let_go_of_without_the_broker(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "PATIENCE_S", 0.5)
    monkeypatch.setattr(Noting, "one_reader", True)
    source = Noting("it")
    async with proxy(broker) as between, running(through(broker, between, source)):
        await eventually(lambda: source.reads == 1)
        between.stall()
        await eventually(lambda: metric("roost_ingest_active") == 0, within_s=30)
        between.flow()
        await eventually(lambda: source.reads == 2, within_s=30)


async def test_a_state_that_an_operator_deletes_is_written_again(broker: Broker) -> None:
    source = ListSource(EVENTS, resumable=True)
    async with ledger(broker) as taken:
        async with running(app := app_of(broker, source)):
            await eventually(lambda: len(taken.events) == 400)
            losses = metric("roost_broker_losses_total")
            request(broker, "DELETE", "/api/queues/%2F/ingest.state.list")
            await eventually(lambda: metric("roost_broker_losses_total") > losses)
            await eventually(lambda: app.health.ready)
        async with stored(broker) as state:
            assert state.cursor == "400"
    assert source.reads == 1


@pytest.mark.parametrize("payload", ["bm9uc2Vuc2U=", "eyJvd25lciI6Iv8ifQ=="])
async def test_a_state_that_cannot_be_read_is_no_reason_to_stand_still(broker: Broker, payload: str) -> None:
    async with stored(broker):
        pass
    request(
        broker,
        "POST",
        "/api/exchanges/%2F/ingest.state/publish",
        {"routing_key": "list", "payload": payload, "payload_encoding": "base64", "properties": {}},
    )
    async with (
        ledger(broker) as taken,
        running(app_of(broker, ListSource(EVENTS[:5], resumable=True))),
    ):
        await eventually(lambda: len(taken.events) == 5)


def cut(between: Proxy) -> None:
    """End every connection; new ones pass."""
    between.flow()
