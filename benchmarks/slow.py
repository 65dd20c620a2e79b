"""What those who read suffer from those who don't.

    python -m benchmarks.slow [--quick] [--json] [--save]

300 clients in four busy rooms of a gateway, and then 100 more in the same rooms that never read. The time from
publishing a tweet to its arrival is measured without and with them, in pairs of runs, each pair on a fresh gateway:
`p99_ratio` is the median over the pairs of the 99th percentile with them to that without. The pace is chosen so that
the gateway uses 40 % of its core without them. Before each run long tweets go to all, in steps that readers follow,
until more has been written to each connection than a stalled one is kept: so the run has their buffers full.
`rss_growth_mb` is what the gateway has resident more after the run with them than after the run without, in MiB;
the kernel's buffers are not in it.
"""

from benchmarks.broker import private_broker
from benchmarks.children import Process, children
from benchmarks.figures import Options, Outcome, log, median, rounded, run, share_of_core, table
from benchmarks.machine import cores, cpu_s, description, memory_kb, require_files

READERS, STALLED = 300, 100
ROOMS = ["nfl", "nyc", "rain", "jazz"]

UTILISATION = 0.4
"""Share of its core that the gateway is to use without stalled clients."""
FASTEST, SLOWEST = 800.0, 20.0
"""Bounds of the tweets a second: the broker and the load have one core together."""

LONG = 16_000
"""Bytes of a long tweet."""
STEP, STEPS = 10, 10
"""Long tweets to each room at a time, and how often: together 1.6 MB a connection, where the gateway keeps 1 MiB."""

_PATIENCE_S = 30.0


class Rooms:
    """Four busy rooms on one gateway."""

    def __init__(self, gateway: Process, port: int, load: Process, publisher: Process) -> None:
        self._gateway = gateway
        self._port = port
        self._load = load
        self._publisher = publisher
        self._next = 0
        load.ask("connect", group="readers", port=port, count=READERS, rooms=ROOMS)

    def calibrate(self, seconds: float) -> float:
        """Tweets a second that make the gateway use `UTILISATION` of its core."""
        self.run(SLOWEST, seconds)
        before = cpu_s(self._gateway.pid)
        self.run(SLOWEST, seconds)
        each = (cpu_s(self._gateway.pid) - before) / (SLOWEST * seconds)
        return min(FASTEST, max(SLOWEST, UTILISATION / each))

    def stall(self) -> None:
        """Let those come who never read."""
        self._load.ask("connect", group="stalled", port=self._port, count=STALLED, rooms=ROOMS, stalled=True)

    def leave(self) -> None:
        """All clients go."""
        self._load.ask("close", group="stalled")
        self._load.ask("close", group="readers")

    def fill(self) -> None:
        """Write more to each connection than is kept for one that does not read."""
        for _ in range(STEPS):
            self._load.ask("reset", group="readers")
            count = STEP * len(ROOMS)
            self._publisher.ask("publish", rooms=ROOMS, first=self._next, count=count, size=LONG)
            self._next += count
            self._arrived(count)

    def run(self, per_s: float, seconds: float) -> dict[str, float]:
        """Publish timed tweets at a pace; returns percentiles of their latency, and who used how much of its core."""
        self._load.ask("reset", group="readers")
        before = cpu_s(self._gateway.pid)
        count = self._publisher.ask("stream", rooms=ROOMS, first=self._next, per_s=per_s, seconds=seconds)["count"]
        self._next += count
        self._arrived(count)
        used = (cpu_s(self._gateway.pid) - before) / seconds
        found = self._load.ask("latencies", group="readers")
        return {**found, "gateway": used, "load": self._load.ask("busy")["share"]}

    def _arrived(self, count: int) -> None:
        total = count * READERS // len(ROOMS)
        self._load.ask("await_total", group="readers", total=total, timeout_s=_PATIENCE_S)


def measure(options: Options) -> Outcome:
    """Run it."""
    pairs, seconds = (3, 0.8) if options.quick else (5, 8.0)
    require_files(READERS + STALLED)
    ratios, growths, runs, per_s = [], [], [], 0.0
    with private_broker() as broker, children() as lasting:
        rabbitmq = broker.version()
        load, publisher = lasting.load(), lasting.publisher(broker.amqp_url("router"))
        for number in range(pairs):
            with children() as fresh:
                gateway, port = fresh.gateway(broker.amqp_url("gateway"))
                rooms = Rooms(gateway, port, load, publisher)
                per_s = per_s or rooms.calibrate(seconds)
                rooms.fill()
                without = rooms.run(per_s, seconds)
                before_kb = memory_kb(gateway.pid)
                rooms.stall()
                rooms.fill()
                beside = rooms.run(per_s, seconds)
                growths.append((memory_kb(gateway.pid) - before_kb) / 1024)
                rooms.leave()
            ratios.append(beside["p99_ms"] / without["p99_ms"])
            runs.append((without, beside))
            log.info(
                "pair %d of %d: %.0f tweets/s, p99 %.2f and %.2f ms, gateway at %.0f %% and %.0f %%, %+.1f MiB",
                *(number + 1, pairs, per_s, without["p99_ms"], beside["p99_ms"]),
                *(100 * without["gateway"], 100 * beside["gateway"], growths[-1]),
            )
    figures = {"p99_ratio": rounded(median(ratios)), "rss_growth_mb": rounded(median(growths))}
    details = {
        "with": {**description(), "RabbitMQ": rabbitmq},
        "pairs": pairs,
        "seconds": seconds,
        "tweets_per_s": rounded(per_s),
        "ratios": [rounded(ratio) for ratio in ratios],
        "growths_mb": [rounded(growth) for growth in growths],
        "without": {name: rounded(median([without[name] for without, _ in runs])) for name in runs[0][0]},
        "beside": {name: rounded(median([beside[name] for _, beside in runs])) for name in runs[0][1]},
    }
    return Outcome(figures, _table(figures, details, runs), details)


def _table(
    figures: dict[str, float], details: dict[str, object], runs: list[tuple[dict[str, float], dict[str, float]]]
) -> str:
    rows = [
        [what, *(f"{median([run[name] for run in of_kind]):.2f}" for name in ("p50_ms", "p99_ms", "gateway", "load"))]
        for what, of_kind in (
            ("readers alone", [without for without, _ in runs]),
            (f"{STALLED} stalled beside", [beside for _, beside in runs]),
        )
    ]
    lines = [
        table([f"{READERS} readers", "p50 ms", "p99 ms", "gateway's core", "load's core"], rows),
        f"p99: × {figures['p99_ratio']:.2f}, median of {len(runs)} pairs ({details['ratios']}); "
        f"memory: {figures['rss_growth_mb']:+.1f} MiB; {details['tweets_per_s']} tweets a second",
        share_of_core("load generator", max(run["load"] for pair in runs for run in pair), cores()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run("slow", __doc__ or "", measure)
