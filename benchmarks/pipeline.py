"""How many tweets a second go from ingest to those who want them, through a broker and a router.

    python -m benchmarks.pipeline [--quick] [--routers 2] [--json] [--save]

A generator publishes packed batches as ingest does, persistent and confirmed; `python -m services.router` takes them
from its queue, finds the terms that somebody has bound, publishes, acknowledges; one consumer is bound to all of the
terms and counts. All of it, with RabbitMQ, is on any core. A rate is that of tweets whose batches a router has
acknowledged, in a window of seconds after a first time that does not count. In the end everything that was published
has been acknowledged, and what the consumer lacks is `lost`.

- `tweets_per_s`: 1,000 terms, and 3 % of the tweets have one or more of them;
- `passthrough_per_s`: the same router takes the same tweets by their places in known batches, and looks for nothing;
- `all_matched_ratio`: every tweet has one to three of 1,000 terms, by the same without looking for them;
- `terms_10_per_s`, `terms_100000_per_s` (not with `--quick`): the same 3 % with so many terms;
- `node_loop_per_s`, `node_includes_per_s`: what the loop over 1,000 terms in Node.js does on a core of its own,
  without a broker and without publishing anything.

With `--routers 2` two routers share the queue, and the first row is measured with one besides. `router_us` is the
processor time of all routers per tweet: it shows whether routers are in each other's way, also where there are no
cores for two.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.broker import pid_of, private_broker
from benchmarks.children import Children, Process, children, wait_until
from benchmarks.corpus import SHARE, Batches, Corpus, batches
from benchmarks.failure import BenchmarkError
from benchmarks.figures import Options, Outcome, log, median, rounded, run, table
from benchmarks.loop import LOOPS, loop_us
from benchmarks.machine import anywhere, cpu_s, description
from benchmarks.node import require
from benchmarks.scrape import await_terms, scrape
from tests.support.broker import Broker

TERMS = 1000
FEWEST, MOST = 10, 100_000
MOST_EMPTY = 0.3
"""If nothing waits for the routers more often than that, they may not be what limits."""
DRAIN_S = 60.0
BIND_S = 300.0
"""For a hundred thousand bindings."""


SHARES = ("router", "broker", "generator", "consumer")
"""Whose processor time is told."""


class Case(NamedTuple):
    """What is measured beside each other."""

    title: str
    terms: str
    """The name of the terms that the consumer is bound to."""
    passthrough: bool = False


CASES = {
    "few": Case(f"{TERMS:,} terms, {SHARE:.0%} of tweets matched", "few"),
    "few_pass": Case("the same tweets by their places", "few", passthrough=True),
    "all": Case(f"{TERMS:,} terms, all tweets matched", "all"),
    "all_pass": Case("all, with the same keys", "all", passthrough=True),
    "ten": Case(f"{FEWEST} terms, {SHARE:.0%} of tweets matched", "ten"),
    "most": Case(f"{MOST:,} terms, {SHARE:.0%} of tweets matched", "most"),
}


class Rate(NamedTuple):
    """What one turn has measured."""

    per_s: float
    router_us: float
    """Processor time of the routers per tweet."""
    shares: dict[str, float]
    """Of a core, by process."""
    published: int
    """Tweets, with those before and after the window."""
    matched: int
    delivered: int
    empty: float
    """At which share of all looks nothing waited for the routers."""


class Pipeline:
    """The broker, the generator, and what they are given."""

    def __init__(self, start: Children, broker: Broker, folder: Path, window_s: float, warm_s: float) -> None:
        self._start = start
        self._broker = broker
        self._folder = folder
        self._window_s = window_s
        self._warm_s = warm_s
        self._batches: dict[str, tuple[Path, Batches]] = {}
        self._terms: dict[str, Sequence[str]] = {}
        # Its rights are an operator's: it looks how much waits.
        self._feeder = start.feeder(broker.amqp_url("admin"))
        self._broker_pid = 0
        self._consumer: Process | None = None
        self._bound = ""

    def prepare(self, name: str, given: Batches, terms: Sequence[str]) -> None:
        """Have batches and terms at hand under a name."""
        path = self._folder / name
        given.save(path)
        self._feeder.ask("load", path=str(path))
        self._batches[name] = path, given
        self._terms[name] = terms

    def measure(self, name: str, routers: int) -> Rate:
        """Measure one case."""
        case = CASES[name]
        if case.terms != self._bound:
            if self._consumer is not None:
                self._consumer.end()
            self._consumer = self._start.counter(self._broker.amqp_url("admin"))
            self._consumer.ask("bind", BIND_S, terms=self._terms[case.terms])
            self._bound = case.terms
        assert self._consumer is not None
        self._broker_pid = self._broker_pid or pid_of(self._broker)
        return self._turn(case, self._consumer, routers)

    def _turn(self, case: Case, consumer: Process, number: int) -> Rate:
        path, given = self._batches[case.terms]
        instead = path if case.passthrough else None
        routers = [self._start.router(self._broker, instead=instead) for _ in range(number)]
        try:
            if not case.passthrough:
                await_terms([port for _, port in routers], len(self._terms[case.terms]))
            before = consumer.ask("count")["tweets"]
            self._feeder.ask("start", path=str(path))
            wait_until(lambda: self._received(routers) > 0, within_s=DRAIN_S, what="a router acknowledges batches")
            time.sleep(self._warm_s)
            first = self._sample(routers, consumer)
            time.sleep(self._window_s)
            last = self._sample(routers, consumer)
            answer = self._feeder.ask("stop")
            rounds, rest = divmod(answer["batches"], len(given.bodies))
            published = rounds * given.tweets + sum(given.sizes[:rest])
            matched = rounds * given.matched + sum(map(len, given.keys[:rest]))
            wait_until(
                lambda: self._received(routers) >= published, within_s=DRAIN_S, what="all batches are acknowledged"
            )
            delivered = self._await_delivered(consumer, before, matched)
        finally:
            for process, _ in routers:
                process.end()
        took, received = last["time"] - first["time"], last["received"] - first["received"]
        log.info("%s: %.0f a second", case.title, received / took)
        shares = {name: (last[name] - first[name]) / took for name in SHARES}
        router_us = shares["router"] * took * 1e6 / received
        return Rate(received / took, router_us, shares, published, matched, delivered, answer["empty"])

    def _sample(self, routers: Sequence[tuple[Process, int]], consumer: Process) -> dict[str, float]:
        received = self._received(routers)
        return {
            "time": time.perf_counter(),
            "received": received,
            "router": sum(cpu_s(process.pid) for process, _ in routers),
            "broker": cpu_s(self._broker_pid),
            "generator": cpu_s(self._feeder.pid),
            "consumer": cpu_s(consumer.pid),
        }

    def _received(self, routers: Sequence[tuple[Process, int]]) -> float:
        return sum(scrape(port)["roost_router_received_total"] for _, port in routers)

    def _await_delivered(self, consumer: Process, before: int, matched: int) -> int:
        """How many tweets have come of those that should, all of them or after some time of waiting."""
        deadline = time.monotonic() + DRAIN_S
        while (delivered := int(consumer.ask("count")["tweets"]) - before) < matched and time.monotonic() < deadline:
            time.sleep(0.02)
        if delivered > matched:
            raise BenchmarkError(f"{delivered} tweets were delivered, and {matched} have a term")
        return delivered


def measure(options: Options) -> Outcome:
    """Run it."""
    tweets, rounds, window_s, warm_s = (6_000, 1, 1.0, 0.3) if options.quick else (100_000, 3, 5.0, 1.5)
    node = require()
    log.info("making up %d tweets", tweets)
    corpus = Corpus(tweets)
    few = corpus.few(TERMS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roost-benchmark-")))
        with anywhere():
            broker = stack.enter_context(private_broker())
        start = stack.enter_context(children())
        log.info("Node.js")
        loops = loop_us(start, corpus.texts, few, count=500 if options.quick else 3000)
        pipeline = Pipeline(start, broker, folder, window_s, warm_s)
        pipeline.prepare("few", batches(corpus.entries, few), few)
        many = corpus.many(TERMS)
        pipeline.prepare("all", batches(corpus.having(many), many), many)
        ten = corpus.few(FEWEST)
        pipeline.prepare("ten", batches(corpus.entries, ten), ten)
        turns = [(name, options.routers) for name in ("ten", "few", "few_pass", "all", "all_pass")] * rounds
        if options.routers > 1:
            turns += [("few", 1)] * rounds
        if not options.quick:
            pipeline.prepare("most", batches(corpus.entries, few), few + corpus.strangers(MOST - TERMS))
            turns += [("ten", options.routers), *[("most", options.routers)] * rounds]
        taken: dict[str, list[Rate]] = {}
        alone: list[Rate] = []
        for name, routers in turns:
            rates = alone if routers < options.routers else taken.setdefault(name, [])
            rates.append(pipeline.measure(name, routers))
    return _outcome(options, taken, alone, loops, node)


def _outcome(
    options: Options, taken: dict[str, list[Rate]], alone: list[Rate], loops: dict[str, float], node: str
) -> Outcome:
    per_s = {name: median([rate.per_s for rate in rates]) for name, rates in taken.items()}
    rates = [rate for some in (*taken.values(), alone) for rate in some]
    published = sum(rate.published for rate in rates)
    delivered = sum(rate.delivered for rate in rates)
    figures = {
        "tweets_per_s": rounded(per_s["few"]),
        "passthrough_per_s": rounded(per_s["few_pass"]),
        "passthrough_ratio": rounded(per_s["few"] / per_s["few_pass"]),
        "all_matched_per_s": rounded(per_s["all"]),
        "all_passthrough_per_s": rounded(per_s["all_pass"]),
        "all_matched_ratio": rounded(per_s["all"] / per_s["all_pass"]),
        "terms_10_per_s": rounded(per_s["ten"]),
        "node_loop_per_s": rounded(1e6 / loops["match"]),
        "node_includes_per_s": rounded(1e6 / loops["includes"]),
        "node_loop_ratio": rounded(per_s["few"] * loops["match"] / 1e6),
        "router_us": rounded(_router_us(taken["few"])),
        "published": published,
        "delivered": delivered,
        "lost": sum(rate.matched for rate in rates) - delivered,
    }
    if "most" in taken:
        figures["terms_100000_per_s"] = rounded(per_s["most"])
        figures["terms_100000_ratio"] = rounded(per_s["most"] / per_s["ten"])
    if alone:
        figures["one_router_us"] = rounded(_router_us(alone))
        figures["one_router_per_s"] = rounded(median([rate.per_s for rate in alone]))
    details = {
        "with": description(node, servers_on="any"),
        "routers": options.routers,
        "spread": {
            name: [rounded(min(rate.per_s for rate in some)), rounded(max(rate.per_s for rate in some))]
            for name, some in taken.items()
        },
    }
    return Outcome(figures, _table(options, taken, alone, loops, figures), details)


def _router_us(rates: Sequence[Rate]) -> float:
    return median([rate.router_us for rate in rates])


def _table(
    options: Options,
    taken: dict[str, list[Rate]],
    alone: list[Rate],
    loops: dict[str, float],
    figures: Mapping[str, float],
) -> str:
    base = figures["tweets_per_s"]
    rows = [_row(CASES[name].title, rates, base) for name, rates in taken.items()]
    if alone:
        rows.append(_row(f"{CASES['few'].title}, one router", alone, base))
    for loop, title in LOOPS.items():
        rows.append([f"Node.js, {title}", f"{1e6 / loops[loop]:,.0f}", f"{1e6 / loops[loop] / base:.3f}", *["–"] * 5])
    head = ["tweets a second", "", f"× {TERMS:,} terms", "µs of router", "router", "broker", "generator", "consumer"]
    told = [
        f"the same by their places: × {figures['passthrough_ratio']}; all of them: × {figures['all_matched_ratio']}",
        f"{figures['published']:,} tweets published and confirmed, {figures['delivered']:,} delivered, "
        f"{figures['lost']:,} lost",
    ]
    if "terms_100000_ratio" in figures:
        told[0] += f"; {MOST:,} terms by {FEWEST}: × {figures['terms_100000_ratio']}"
    told.append(f"routers: {options.routers}; shares are of one core; all on any core")
    for name, rates in taken.items():
        if (empty := median([rate.empty for rate in rates])) > MOST_EMPTY:
            told.append(f"WARNING: {CASES[name].title}: at {empty:.0%} of looks nothing waited for the routers")
    return "\n".join([table(head, rows), *told])


def _row(title: str, rates: Sequence[Rate], base: float) -> list[str]:
    per_s = median([rate.per_s for rate in rates])
    shares = [median([rate.shares[name] for rate in rates]) for name in SHARES]
    return [
        title,
        f"{per_s:,.0f}",
        f"{per_s / base:.2f}",
        f"{_router_us(rates):.2f}",
        *(f"{share:.0%}" for share in shares),
    ]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--routers", type=int, choices=(1, 2), default=1, help="how many routers share the work")


if __name__ == "__main__":
    run("pipeline", __doc__ or "", measure, more=_arguments)
