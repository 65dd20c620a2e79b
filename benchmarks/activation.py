"""How soon a new term is found after somebody has bound it, while a router looks for very many others.

    python -m benchmarks.activation [--quick] [--json] [--save]

A router runs and 10,000 terms are bound, then 100,000 (not with `--quick`). Again and again a consumer binds a term
that nobody had. From the broker's answer on, tweets with that term are published, one every two milliseconds, and
numbered. The first that the consumer is sent says how long after the binding tweets went by unseen: the time from
the answer to the moment when that tweet was published. Every later one has to come, too: `missed` are those that did
not. `loop_lag_ms` is the longest time that the router's event loop stood still in the last minute, as its metrics
tell it (`roost_loop_lag_worst_seconds`): with the coming of the many terms, if these came within that minute.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from random import Random
from typing import Any

from benchmarks.broker import private_broker
from benchmarks.children import children
from benchmarks.corpus import Corpus, key_of
from benchmarks.failure import BenchmarkError
from benchmarks.figures import Options, Outcome, log, percentile, rounded, run, table
from benchmarks.machine import anywhere, description
from benchmarks.scrape import await_terms, scrape
from shared import feed, raw
from shared.broker import Channel, Message, Queue, connect
from shared.events import Tweet, User
from shared.topology import RAW_EXCHANGE, TWEETS_EXCHANGE
from tests.support.broker import Broker

EVERY_S = 0.002
"""Time between two tweets."""
MORE = 10
"""Tweets after the one that was found first."""
NUMBERS = (10_000, 100_000)
ROOM = 10
"""So many less are bound: beyond 100,000 a router takes no more."""

BIND_S = 300.0
"""For a hundred thousand bindings."""

_PATIENCE_S = 10.0
_LONGEST_PAUSE_S = 0.05


class Probe:
    """Binds terms and publishes tweets that have them."""

    def __init__(self, channel: Channel, queue: Queue) -> None:
        self._channel = channel
        self._queue = queue
        self._found: set[int] = set()
        self._arrived = asyncio.Event()
        self._next = 0

    async def received(self, message: Message) -> None:
        """Note the numbers of tweets that came."""
        for document in feed.unpack(message.body, message.headers):
            self._found.add(int(document["id"].partition(":")[2]))
        self._arrived.set()

    async def activate(self, term: str) -> tuple[float, int]:
        """Bind a term and unbind it when it is found.

        Returns after how many ms tweets with it are found, and how many of those after the first one were not.
        """
        self._arrived.clear()
        published: dict[int, float] = {}
        await self._queue.bind(TWEETS_EXCHANGE, key_of(term))
        bound = time.perf_counter()
        async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as publishing:
            left = MORE
            while left:
                left -= self._arrived.is_set()
                number = self._next = self._next + 1
                published[number] = time.perf_counter()
                publishing.create_task(self._publish(number, term))
                await asyncio.sleep(max(0.0, bound + EVERY_S * len(published) - time.perf_counter()))
        first = min(self._found & set(published))
        expected = {number for number in published if number >= first}
        missed = await self._await(expected)
        await self._queue.unbind(TWEETS_EXCHANGE, key_of(term))
        return (published[first] - bound) * 1000, missed

    async def _await(self, expected: set[int]) -> int:
        deadline = time.monotonic() + 1.0
        while (missed := len(expected - self._found)) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(EVERY_S)
        return missed

    async def _publish(self, number: int, term: str) -> None:
        now_us = time.time_ns() // 1000
        tweet = Tweet(
            id=f"bench:{number}",
            mtime=now_us // 1000,
            source="bench",
            url=f"https://example.org/status/{number}",
            text=f"The first word of {term} came after it was asked for",
            lang="en",
            created_at="2026-02-02T02:40:00Z",
            user=User(id="somebody", screen_name="somebody", name="Some Body"),
        )
        body = raw.pack([raw.entry(tweet, now_us)])
        await self._channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, headers=raw.headers(), persistent=True)


def measure(options: Options) -> Outcome:
    """Run it."""
    numbers, times = (NUMBERS[:1], 40) if options.quick else (NUMBERS, 300)
    log.info("making up terms")
    corpus = Corpus(1000)
    terms = corpus.strangers(max(numbers) + times * len(numbers))
    found: dict[int, dict[str, float]] = {}
    with ExitStack() as stack:
        with anywhere():
            broker = stack.enter_context(private_broker())
        start = stack.enter_context(children())
        _, port = start.router(broker)
        others = start.counter(broker.amqp_url("admin"))
        bound = 0
        for at, number in enumerate(numbers):
            log.info("binding %d terms", number)
            others.ask("bind", BIND_S, terms=terms[bound : number - ROOM])
            bound = number - ROOM
            await_terms([port], bound)
            fresh = terms[max(numbers) + at * times :][:times]
            found[number] = asyncio.run(_activate(broker, port, fresh))
            log.info("%d terms: %s", number, found[number])
    figures: dict[str, Any] = {**found[numbers[0]]}
    for number in numbers[1:]:
        figures[f"terms_{number}"] = found[number]
    details = {"with": description(servers_on="any"), "times": times}
    return Outcome(figures, _table(found, times), details)


async def _activate(broker: Broker, port: int, terms: Sequence[str]) -> dict[str, float]:
    random = Random(len(terms))
    taken = []
    missed = 0
    worst = 0.0
    # Rights of an operator: it publishes like ingest and consumes like anybody.
    async with connect(broker.amqp_url("admin"), name="benchmark") as connection:
        channel = await connection.channel(confirms=True)
        queue = await (await connection.channel()).declare_exclusive_queue(f"benchmark.{uuid.uuid4().hex}")
        probe = Probe(channel, queue)
        await queue.consume(probe.received, ack=False)
        for number, term in enumerate(terms):
            try:
                ms, lacking = await probe.activate(term)
            except TimeoutError:
                raise BenchmarkError(f"no tweet with a new term came within {_PATIENCE_S:.0f} s") from None
            taken.append(ms)
            missed += lacking
            if number % 100 == 0:
                worst = max(worst, await asyncio.to_thread(_worst_lag_ms, port))
            # Not in step with anything that the router does now and then.
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))
    worst = max(worst, await asyncio.to_thread(_worst_lag_ms, port))
    taken.sort()
    return {
        "p50_ms": rounded(percentile(taken, 50)),
        "p99_ms": rounded(percentile(taken, 99)),
        "max_ms": rounded(taken[-1]),
        "loop_lag_ms": rounded(worst),
        "missed": missed,
    }


def _worst_lag_ms(port: int) -> float:
    return scrape(port)["roost_loop_lag_worst_seconds"] * 1000


def _table(found: Mapping[int, Mapping[str, float]], times: int) -> str:
    columns = ("p50_ms", "p99_ms", "max_ms", "loop_lag_ms")
    rows = [
        [f"{number:,}", *(f"{one[column]:.3g}" for column in columns), f"{one['missed']:.0f}"]
        for number, one in found.items()
    ]
    head = ["terms there already", "p50 ms", "p99 ms", "most ms", "worst loop lag, ms", "missed later"]
    told = f"{times} new terms each; a tweet every {EVERY_S * 1000:.0f} ms from the broker's answer to the binding on"
    return "\n".join([table(head, rows), told])


if __name__ == "__main__":
    run("activation", __doc__ or "", measure)
