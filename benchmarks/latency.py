"""How long a tweet takes from ingest to the browsers that want it, idle and under load.

    python -m benchmarks.latency [--quick] [--json] [--save]

A thousand Socket.IO clients are in 200 rooms of a gateway, which is bound to 200 terms; ingest, a router and
RabbitMQ run beside it, each as its users run it, on any core. Ingest's source yields made-up tweets with the
statistics of real ones at an even pace; one of ten has the term of one room, and says when the source had it, before
it was numbered, packed and published. The time until the packet is at the client's socket is taken for each of the
five members of its room: median and 99th percentile. `idle` is one tweet at a time, for a room each, with nothing
else to do. What a client lacks in the end is `lost`.

Beside it, by turns and at the same rates, is the yardstick: one process of Node.js that yields the same tweets,
tries the 200 terms on each of them (`text.match`) and has Socket.IO send it. It has a core of its own, no broker,
nothing that survives it, and no second process.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import msgspec

from benchmarks.broker import pid_of, private_broker
from benchmarks.children import Process, children
from benchmarks.corpus import Corpus, occurring
from benchmarks.figures import Options, Outcome, log, rounded, run, share_of_core, table
from benchmarks.machine import anywhere, cores, cpu_s, description, require_files
from benchmarks.node import require, socket_io_version

ROOMS = 200
CLIENTS = 1000
EVERY = 10
"""One of so many tweets is for a room."""
RATES = (1000, 2000, 3000, 4500, 6000, 8000)
QUICK_RATES = (1000, 6000)
IDLE_PER_S = 19
IDLE = 0
"""Stands for the idle rate."""
PREPARED = 3000
"""Tweets that come again and again."""

_WAIT_S = 15.0
_POLL_S = 0.02
_EACH = CLIENTS // ROOMS


class Measured(NamedTuple):
    """What one stream has shown."""

    p50_ms: float
    p99_ms: float
    per_s: float
    """How many tweets a second there were."""
    lost: int
    load: float
    """Share of its core that the load generator used."""
    shares: dict[str, float]
    """Of a core, by process."""
    all_us: list[int]
    """How long each delivery took, the least first."""


class Side:
    """One way from a source to a thousand clients."""

    def __init__(self, name: str, source: Process, load: Process, port: int, rooms: list[str]) -> None:
        """The processor time of `watched` is told with what is measured."""
        self.name = name
        self.watched: dict[str, int] = {}
        self._source = source
        self._load = load
        self._next = 0
        load.ask("connect", group=name, port=port, count=CLIENTS, rooms=rooms)

    def measure(self, per_s: int, seconds: float) -> Measured:
        """Stream tweets, at the idle rate all for rooms."""
        rate, every = (per_s, EVERY) if per_s != IDLE else (IDLE_PER_S, 1)
        count = max(1, round(rate * seconds / every)) * every
        first, self._next = self._next, self._next + count
        self._load.ask("reset", group=self.name)
        used = {name: cpu_s(pid) for name, pid in self.watched.items()}
        took = self._source.ask("stream", first=first, count=count, per_s=rate, every=every)["seconds"]
        wanted = count // every * _EACH
        had = self._await_tweets(wanted)
        shares = {name: (cpu_s(pid) - used[name]) / took for name, pid in self.watched.items()}
        busy = self._load.ask("busy")["share"]
        sample = self._load.ask("latencies", group=self.name)
        return Measured(
            sample["p50_ms"], sample["p99_ms"], count / took, wanted - had, busy, shares, sample["all_us"]
        )

    def _await_tweets(self, wanted: int) -> int:
        deadline = time.monotonic() + _WAIT_S
        while (had := int(self._load.ask("total", group=self.name)["tweets"])) < wanted:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        return had


def measure(options: Options) -> Outcome:
    """Run it."""
    rates, seconds, idle_s = (QUICK_RATES, 2.0, 2.0) if options.quick else (RATES, 10.0, 15.0)
    node = require()
    taken: dict[str, dict[int, Measured]] = {"roost": {}, "node": {}}
    with sides() as both:
        for side in both:  # code is loaded, compiled, memory taken
            side.measure(rates[0], min(seconds, 2.0))
        for per_s in (IDLE, *rates):
            for side in both:
                one = taken[side.name][per_s] = side.measure(per_s, seconds if per_s else idle_s)
                log.info("%s, %s: %.2f and %.2f ms", side.name, per_s or "idle", one.p50_ms, one.p99_ms)
    return _outcome(taken, node)


@contextmanager
def sides() -> Iterator[tuple[Side, Side]]:
    """Roost and the yardstick, each with its clients."""
    require_files(2 * CLIENTS)
    corpus = Corpus(PREPARED)
    rooms = rooms_of(corpus)
    documents = [msgspec.msgpack.decode(entry.document) for entry in corpus.entries]
    with ExitStack() as stack:
        with anywhere():
            broker = stack.enter_context(private_broker())
        start = stack.enter_context(children())
        ingest = start.ingest(broker.amqp_url("ingest"))
        router, _ = start.router(broker)
        gateway, port = start.gateway(broker.amqp_url("gateway"), anywhere=True)
        server, node_port = start.server("node")
        load = start.load()
        for source in (ingest, server):
            source.ask("prepare", documents=documents, rooms=rooms)
        log.info("%d clients of each", CLIENTS)
        roost = Side("roost", ingest, load, port, rooms)
        roost.watched = {"ingest": ingest.pid, "router": router.pid, "gateway": gateway.pid, "broker": pid_of(broker)}
        peer = Side("node", server, load, node_port, rooms)
        peer.watched = {"node": server.pid}
        yield roost, peer


def rooms_of(corpus: Corpus) -> list[str]:
    """Terms that no tweet has and that are in none of each other: words, as they would be after one another."""
    words = [term for term in corpus.strangers(2 * ROOMS) if term.isalpha()]
    within = {inner for outer, some in zip(words, occurring(words, words), strict=True) for inner in some - {outer}}
    return [word for word in words if word not in within][:ROOMS]


def _outcome(taken: Mapping[str, Mapping[int, Measured]], node: str) -> Outcome:
    told = {name: {per_s: _told(one) for per_s, one in of_side.items()} for name, of_side in taken.items()}
    figures = {
        "idle": told["roost"][IDLE],
        "rates": {str(per_s): one for per_s, one in told["roost"].items() if per_s},
        "node_idle": told["node"][IDLE],
        "node_rates": {str(per_s): one for per_s, one in told["node"].items() if per_s},
        "lost": sum(one.lost for one in taken["roost"].values()),
        "node_lost": sum(one.lost for one in taken["node"].values()),
    }
    details = {
        "with": {**description(node, servers_on="any"), "socket.io": socket_io_version()},
        "shares": {
            str(per_s): {name: rounded(share) for name, share in one.shares.items()}
            for per_s, one in taken["roost"].items()
        },
        "per_s": {str(per_s): rounded(one.per_s, 4) for per_s, one in taken["roost"].items()},
    }
    return Outcome(figures, _table(taken, figures), details)


def _told(one: Measured) -> dict[str, float]:
    return {"p50_ms": rounded(one.p50_ms), "p99_ms": rounded(one.p99_ms)}


def _table(taken: Mapping[str, Mapping[int, Measured]], figures: Mapping[str, Any]) -> str:
    parts = ("ingest", "broker", "router", "gateway")
    rows = []
    for per_s, one in taken["roost"].items():
        other = taken["node"][per_s]
        rows.append(
            [
                f"{per_s:,}" if per_s else "one at a time",
                f"{one.per_s:,.0f}",
                f"{one.p50_ms:.3g}",
                f"{one.p99_ms:.3g}",
                *(f"{one.shares[part]:.0%}" for part in parts),
                f"{other.p50_ms:.3g}",
                f"{other.p99_ms:.3g}",
                f"{other.shares['node']:.0%}",
            ]
        )
    head = ["tweets a second", "were", "p50 ms", "p99 ms", *parts, "Node.js p50", "p99", "Node.js"]
    told = f"{CLIENTS:,} clients in {ROOMS} rooms, one tweet of {EVERY} is for a room; lost: {figures['lost']}"
    busiest = max(one.load for of_side in taken.values() for one in of_side.values())
    return "\n".join([table(head, rows), told, share_of_core("load generator", busiest, cores())])


if __name__ == "__main__":
    run("latency", __doc__ or "", measure)
