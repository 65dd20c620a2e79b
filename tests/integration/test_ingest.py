"""Ingest's pump on a real broker whose queue is full."""

from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from tests.support.broker import Broker
from tests.support.exchange import consumer
from tests.support.management import Policy
from tests.support.services import metric, router, running
from tests.support.sources import ListSource
from tests.support.tweets import tweet
from tests.support.waiting import eventually


class Posts(ListSource):
    """A source of so many posts, as fast as they are taken."""

    def __init__(self, *, can_wait: bool, number: int) -> None:
        super().__init__((tweet(f"post {index}") for index in range(number)), can_wait=can_wait)

    @property
    def read_so_far(self) -> int:
        return len(self.taken)


def ingest(broker: Broker, source: Posts) -> IngestApp:
    return IngestApp(IngestSettings(amqp_url=broker.amqp_url("ingest"), buffer_events=100), source)


async def test_a_full_queue_makes_a_source_wait_and_nothing_is_lost(broker: Broker) -> None:
    source = Posts(can_wait=True, number=3000)
    refused = metric("roost_ingest_refused_batches_total")
    app = ingest(broker, source)
    async with (
        Policy(broker, "^router.raw$", **{"max-length": 3, "overflow": "reject-publish"}),
        consumer(broker, ["all"]) as taken,
        running(app),
    ):
        await eventually(lambda: metric("roost_ingest_refused_batches_total") > refused + 3)
        assert source.read_so_far < 3000
        async with router(broker):
            await eventually(lambda: len(set(taken.texts())) == 3000)
    assert set(taken.texts()) == {f"post {number}" for number in range(3000)}


async def test_a_full_queue_makes_a_live_source_drop_and_count(broker: Broker) -> None:
    source = Posts(can_wait=False, number=3000)
    dropped = metric("roost_ingest_dropped_total")
    published = metric("roost_ingest_published_total")
    app = ingest(broker, source)
    async with Policy(broker, "^router.raw$", **{"max-length": 3, "overflow": "reject-publish"}), running(app):
        await eventually(lambda: source.read_so_far == 3000)
        lost = metric("roost_ingest_dropped_total") - dropped
        assert 0 < lost < 3000
        async with router(broker):
            await eventually(lambda: metric("roost_ingest_published_total") - published == 3000 - lost)


async def test_what_is_read_before_the_broker_is_there_is_published_when_it_is(broker: Broker) -> None:
    source = Posts(can_wait=True, number=50)
    async with router(broker), consumer(broker, ["term.post"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
        async with running(ingest(broker, source)):
            await eventually(lambda: len(taken.texts()) == 50)
