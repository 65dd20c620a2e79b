"""A thousand quiet rooms beside the two that get nearly everything: who is in a quiet one notices nothing."""

import asyncio
import contextlib
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from benchmarks.children import Process as Child
from benchmarks.figures import percentile
from benchmarks.machine import require_files
from benchmarks.tweets import SENT
from services.ingest.pump import SequenceClock
from shared import raw
from shared.broker import Channel, connect
from shared.topology import RAW_EXCHANGE
from tests.support.broker import Broker, free_port
from tests.support.processes import processes
from tests.support.tweets import tweet
from tests.support.waiting import eventually

QUIET = 1000
QUIET_PER_S = 200
"""In all: each of them has a tweet every five seconds."""
BUSY = ("", "e")
MEMBERS = 3
"""Of each busy room."""
BUSY_PER_S = 1000

BATCH_S = 0.005
"""What comes in this time is one raw batch, as ingest makes them."""
START_S = 30.0
PATIENCE_S = 10.0

MOST = 2.0
"""By so much the latency of quiet rooms may grow."""
FLOOR_MS = 5.0
"""Below it everybody is served at once, and a ratio is one of the machine's moods."""
HOPS = 5
"""Processes that a tweet waits for: the broker twice, router, gateway, client. Where the machine lets this process
wait for its turn it does so with each of them."""


class Run(NamedTuple):
    """How long tweets took to quiet rooms, from before their publishing to the client, in ms."""

    p50: float
    p99: float
    waited: float
    """How much too late this process got its turn from the machine; the 99th percentile."""


class Published(NamedTuple):
    """What a stream was."""

    quiet: int
    """Tweets for quiet rooms."""
    total: int
    late: list[float]
    """Seconds that each turn came too late."""


class Stream:
    """Tweets for quiet rooms by turns, and others that are for the busy ones alone."""

    def __init__(self, channel: Channel, rooms: Sequence[str]) -> None:
        self._channel = channel
        self._rooms = rooms
        self._clock = SequenceClock()
        self._next = 0

    async def run(self, seconds: float, *, busy: bool) -> Published:
        """Publish at an even pace."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        quiet = others = 0
        late = []
        async with asyncio.TaskGroup() as publishing:
            while (passed := loop.time() - began) < seconds:
                texts = []
                while quiet < passed * QUIET_PER_S:
                    texts.append(f"once in a while {self._rooms[self._next % len(self._rooms)]}")
                    self._next += 1
                    quiet += 1
                while busy and others < passed * BUSY_PER_S:
                    texts.append("the same everywhere, every moment")
                    others += 1
                if texts:
                    publishing.create_task(self._publish(texts))
                due = loop.time() + BATCH_S
                await asyncio.sleep(BATCH_S)
                late.append(loop.time() - due)
        return Published(quiet, quiet + others, late)

    async def _publish(self, texts: Sequence[str]) -> None:
        sent = f"{SENT}{time.monotonic_ns():019d} "
        headers = raw.headers(raw.Link("test", self._clock.last))
        body = raw.pack([raw.entry(tweet(sent + text), self._clock.next()) for text in texts])
        await self._channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, headers=headers, persistent=True)


@contextmanager
def load() -> Iterator[Child]:
    """The clients, a process of their own on any core."""
    require_files(QUIET + len(BUSY) * MEMBERS)
    process = Child([sys.executable, "-m", "benchmarks.load"], core=None, name="the clients")
    try:
        process.answer(START_S)
        yield process
    finally:
        process.end()


class Rooms:
    """Clients in quiet rooms, and for some time in busy ones."""

    def __init__(self, clients: Child, port: int, stream: Stream) -> None:
        self._clients = clients
        self._port = port
        self._stream = stream

    async def open(self, group: str, rooms: Sequence[str], *, each: int = 1) -> None:
        count = len(rooms) * each
        await self._ask("connect", group=group, port=self._port, count=count, rooms=rooms, under_way=50)

    async def run(self, seconds: float, *, busy: bool) -> Run:
        """The latency of quiet rooms, with busy ones beside them or without."""
        if busy:
            await self.open("busy", BUSY, each=MEMBERS)
            await self._ask("reset", group="busy")
        await self._ask("reset", group="quiet")
        stream = await self._stream.run(seconds, busy=busy)
        await self._ask("await_total", group="quiet", total=stream.quiet, timeout_s=PATIENCE_S)
        if busy:
            # All texts have an "e".
            everything = stream.total * len(BUSY) * MEMBERS
            await self._ask("await_total", group="busy", total=everything, timeout_s=PATIENCE_S)
            await self._ask("close", group="busy")
        found = await self._ask("latencies", group="quiet")
        assert found["number"] == stream.quiet
        return Run(found["p50_ms"], found["p99_ms"], percentile(sorted(stream.late), 99) * 1000)

    async def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self._clients.ask, do, **arguments)


class Found(NamedTuple):
    """What several pairs of runs have shown."""

    alone: list[Run]
    beside: list[Run]

    def good(self, of: Callable[[list[float]], float]) -> bool:
        """Whether quiet rooms keep their latency, by the best or the median of the runs of each kind."""
        ratio = self._p99(self.beside, of) / self._p99(self.alone, of)
        floor = max(FLOOR_MS, HOPS * of([run.waited for run in self.beside]))
        return ratio <= MOST or self._p99(self.beside, of) <= floor

    def __str__(self) -> str:
        ratio = self._p99(self.beside, statistics.median) / self._p99(self.alone, statistics.median)
        kinds = ("alone", self.alone), ("beside busy ones", self.beside)
        told = [
            f"{kind}: " + ", ".join(f"{run.p99:.1f} (p50 {run.p50:.1f}, waited {run.waited:.1f})" for run in runs)
            for kind, runs in kinds
        ]
        return f"p99 of quiet rooms, ms: {'; '.join(told)}; medians × {ratio:.2f}"

    @staticmethod
    def _p99(runs: list[Run], of: Callable[[list[float]], float]) -> float:
        return of([run.p99 for run in runs])


@pytest.mark.parametrize(
    ("pairs", "most_pairs", "seconds", "of"),
    [
        # In a moment anything that the machine does besides is in the percentile: the best run of several is nearest.
        pytest.param(2, 5, 1.5, min, id="short"),
        pytest.param(5, 7, 4.0, statistics.median, id="long", marks=pytest.mark.slow),
    ],
)
async def test_a_thousand_quiet_rooms_keep_their_latency(
    broker: Broker, pairs: int, most_pairs: int, seconds: float, of: Callable[[list[float]], float]
) -> None:
    names = [f"q{number:04d}z" for number in range(QUIET)]
    port = free_port()
    with load() as clients, contextlib.ExitStack() as after:
        after.callback(gc.unfreeze)
        async with processes(broker) as start, connect(broker.amqp_url("ingest"), name="test ingest") as connection:
            router, _ = await asyncio.gather(start.start("router"), start.start("gateway", port=port))
            rooms = Rooms(clients, port, Stream(await connection.channel(confirms=True), names))
            await rooms.open("quiet", names)
            await eventually(lambda: router.metric("roost_router_terms") >= QUIET, what="the router knows all")
            # What the whole test run has left is not looked through by the garbage collector meanwhile.
            gc.collect()
            gc.freeze()
            await rooms.run(seconds / 2, busy=True)  # the first of everything takes longer
            found = Found([], [])
            while len(found.alone) < pairs or (not found.good(of) and len(found.alone) < most_pairs):
                # By turns, so that neither is always the first.
                for busy in (False, True) if len(found.alone) % 2 else (True, False):
                    (found.beside if busy else found.alone).append(await rooms.run(seconds, busy=busy))
    print(found)
    assert found.good(of), found
