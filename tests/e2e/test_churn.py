"""Terms that come and go by the hundred a second beside ten thousand that stay, and a router of its own process."""

import asyncio
import itertools
import random
import statistics
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b

import pytest

from benchmarks.activation import Probe
from benchmarks.children import children
from shared.broker import Queue, connect
from shared.demand import Demand, Follower, fetch_bindings, follow
from shared.topology import TWEETS_EXCHANGE
from tests.support.broker import Broker
from tests.support.exchange import publish
from tests.support.processes import Process, processes
from tests.support.tweets import tweet
from tests.support.waiting import eventually

STAYING = 10_000
PER_S = 300
"""Terms that come in a second, and as many that go."""
CHANNELS = 6
"""On which they are bound and unbound, so that the broker keeps up."""

NOISE = 5
"""On a machine that does other things besides, a single figure may be so many times worse; `benchmarks.activation`
holds the true bounds."""
LOOP_LAG_S = 0.02
GROWTH_BYTES = 16 * 2**20
"""What a router may have resident more in the end than when the coming and going had begun."""

EACH = 4
"""Of the terms that stay, one of so many is looked for in the end."""
BATCH = 500
LONGEST_PAUSE_S = 0.1


def found_after_s(broker: Broker) -> float:
    """How soon after the broker's answer to its binding a term is found: the broker tells of it that late."""
    return 0.05 if broker.version().startswith("3.") else 0.1


def terms() -> Iterator[str]:
    """Strings of one length, so that none is in another one."""
    return (blake2b(b"%d" % number, digest_size=5).hexdigest() for number in itertools.count())


class Crowd:
    """Somebody who binds and unbinds the keys of terms, `PER_S` of each a second."""

    def __init__(self, terms: Iterator[str], queues: Sequence[Queue]) -> None:
        """`queues` are one queue, on several channels: the broker does what one channel asks one after the other."""
        self.gone: list[str] = []
        self._terms = terms
        self._there: list[tuple[Queue, list[str]]] = [(queue, []) for queue in queues]

    @property
    def there(self) -> list[str]:
        """The terms that are bound."""
        return [term for _, terms in self._there for term in terms]

    async def come_and_go(self, seconds: float) -> float:
        """Do it for some time; returns how many have come a second."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        per_s = PER_S / len(self._there)
        await asyncio.gather(*(self._on(queue, there, per_s, round(per_s * seconds)) for queue, there in self._there))
        return PER_S * seconds / (loop.time() - began)

    async def _on(self, queue: Queue, there: list[str], per_s: float, number: int) -> None:
        loop = asyncio.get_running_loop()
        chance = random.Random(number)
        began = loop.time()
        for turn in range(number):
            await asyncio.sleep(max(0.0, began + turn / per_s - loop.time()))
            there.append(next(self._terms))
            await queue.bind(TWEETS_EXCHANGE, f"term.{there[-1]}")
            if len(there) > per_s:  # they stay a second on average, and some far longer
                term = there.pop(chance.randrange(len(there)))
                await queue.unbind(TWEETS_EXCHANGE, f"term.{term}")
                self.gone.append(term)


@asynccontextmanager
async def follower(broker: Broker) -> AsyncIterator[tuple[Follower, Demand]]:
    """What a router knows of the bindings, beside the router."""
    demand = Demand()
    async with connect(broker.amqp_url("router"), name="test follower") as connection:
        following = await follow(
            demand,
            connection,
            queue_name=f"router.events.{uuid.uuid4().hex}",
            management_url=broker.management_url("router"),
            vhost="/",
        )
        await following.snapshot()
        yield following, demand


async def activations(probe: Probe, fresh: Iterator[str], until: asyncio.Event) -> tuple[list[float], int]:
    """Again and again ask for a term and publish tweets with it.

    Returns the seconds from the broker's answer to the publishing of the first tweet that was found, and how many of
    all later ones were not.
    """
    chance = random.Random(1)
    taken, missed = [], 0
    while not until.is_set():
        ms, lacking = await probe.activate(next(fresh))
        taken.append(ms / 1000)
        missed += lacking
        # Not in step with anything that the router does now and then.
        await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE_S))
    return taken, missed


async def publish_each(broker: Broker, texts: Sequence[str]) -> None:
    for first in range(0, len(texts), BATCH):
        await publish(broker, *(tweet(f"Only {text} here") for text in texts[first : first + BATCH]))


def lag(process: Process) -> float:
    """The worst of its loop in the last minute."""
    return process.metric("roost_loop_lag_worst_seconds")


async def resident(process: Process) -> float:
    return await asyncio.to_thread(process.metric, "process_resident_memory_bytes")


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(180)])])
async def test_three_hundred_terms_a_second_come_and_go_and_leave_nothing(broker: Broker, seconds: int) -> None:
    soon = found_after_s(broker)
    fresh = terms()
    staying = list(itertools.islice(fresh, STAYING))
    with children() as start_others:
        others = start_others.counter(broker.amqp_url("admin"))
        await asyncio.to_thread(others.ask, "bind", terms=staying)
        async with (
            processes(broker) as start,
            follower(broker) as (following, demand),
            connect(broker.amqp_url("admin"), name="test crowd") as connection,
        ):
            router = await start.start("router")
            own = await (await connection.channel()).declare_exclusive_queue(f"test.{uuid.uuid4().hex}")
            probe = Probe(await connection.channel(confirms=True), own)
            await own.consume(probe.received, ack=False)
            name = f"test.{uuid.uuid4().hex}"
            await (await connection.channel()).declare_exclusive_queue(name)
            crowd = Crowd(fresh, [await (await connection.channel()).queue(name) for _ in range(CHANNELS)])

            over = asyncio.Event()
            probing = asyncio.create_task(activations(probe, fresh, over))
            await crowd.come_and_go(seconds / 4)
            before = await resident(router)
            per_s = await crowd.come_and_go(seconds * 3 / 4)
            over.set()
            taken, missed = await probing
            growth = await resident(router) - before
            median = statistics.median(taken)
            print(
                f"{per_s:.0f} terms a second; {len(taken)} found after {median * 1000:.1f} ms (median), "
                f"{max(taken) * 1000:.1f} ms at most; worst loop lag {lag(router) * 1000:.1f} ms; "
                f"{growth / 2**20:+.1f} MiB"
            )
            assert per_s > PER_S / 2, "the broker did not keep up"
            assert median <= soon
            assert max(taken) <= soon * NOISE
            assert missed == 0, "what is found once is found from then on"
            assert lag(router) <= LOOP_LAG_S * NOISE
            assert growth <= GROWTH_BYTES

            # What the router knows is what the broker has, and nobody had to be put right.
            wanted = await fetch_bindings(broker.management_url("router"), "/")
            assert {binding.key for binding in wanted} >= {f"term.{term}" for term in (*staying, *crowd.there)}
            await eventually(lambda: demand.bindings() == wanted, what="every change has been told")
            assert await following.snapshot() == 0
            await eventually(lambda: router.metric("roost_router_wanted_keys") == len(demand))
            assert router.metric("roost_router_terms") == STAYING + len(crowd.there)
            assert router.metric("roost_demand_drift_total") == 0

            # Each term that is there is found, and none that has gone.
            published, unmatched = (f"roost_router_{what}_total" for what in ("published", "unmatched"))
            found, lost = router.metric(published), router.metric(unmatched)
            looked_for = [*staying[::EACH], *crowd.there]
            await publish_each(broker, [*looked_for, *crowd.gone])
            await eventually(lambda: router.metric(unmatched) - lost == len(crowd.gone), what="others are unmatched")
            await eventually(lambda: router.metric(published) - found == len(looked_for), what="these are published")
            print(f"worst loop lag with tweets of {len(looked_for)} labels: {lag(router) * 1000:.1f} ms")
            assert lag(router) <= LOOP_LAG_S * NOISE
