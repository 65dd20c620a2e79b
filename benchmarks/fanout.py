"""What one delivery costs the server: a tweet to the thousand members of one room.

    python -m benchmarks.fanout [--quick] [--json] [--save]

All servers run at the same time on one core, each with its own thousand clients, and take turns: a round has each of
them once, and the figures are medians over the rounds. Load and everything else is on the other core. The processor
time of the server's process, in user mode and in the kernel, from the command to the last client's last tweet is
divided by the deliveries. Nothing is subtracted: what a server does beside, such as heartbeats, it does for its
clients.
"""

from typing import Any

from benchmarks import tweets
from benchmarks.children import Process, children
from benchmarks.figures import Options, Outcome, log, median, rounded, run, share_of_core, table
from benchmarks.machine import cores, cpu_s, description, require_files
from benchmarks.node import require, socket_io_version
from benchmarks.servers import NAMES, ROOM, us_key

MEMBERS = 1000
SINGLE, BURST = 1, 20
"""Tweets in one turn of the loop."""

EVERY_MS = {SINGLE: 80.0, BURST: 800.0}
"""So rarely that the slowest server is done before the next turn."""

SERVERS = ("roost", "node", "stock", "floor")

_PATIENCE_S = 30.0


class Contestant:
    """One server and its clients."""

    def __init__(self, name: str, server: Process, port: int, load: Process) -> None:
        self.name = name
        self._server = server
        self._load = load
        self._next = 0
        self.busiest = 0.0
        """The largest share of its core that the load generator has used beside this server."""
        load.ask("connect", group=name, port=port, count=MEMBERS, rooms=[ROOM])

    def measure(self, at_once: int, times: int) -> float:
        """Fire; returns µs of the server's processor time per delivery. Every member has had every tweet."""
        count = at_once * times
        arguments: dict[str, Any] = {"first": self._next, "count": count}
        if self.name == "node":
            numbers = range(self._next, self._next + count)
            arguments = {"documents": [tweets.document(number) for number in numbers]}
        self._next += count
        self._server.ask("prepare", **arguments)
        self._load.ask("reset", group=self.name)
        before = cpu_s(self._server.pid)
        self._server.ask("fire", tweets=at_once, times=times, every_ms=EVERY_MS[at_once])
        delivered = self._load.ask("await_tweets", group=self.name, each=count, timeout_s=_PATIENCE_S)["tweets"]
        used = cpu_s(self._server.pid) - before
        self.busiest = max(self.busiest, self._load.ask("busy")["share"])
        return used * 1e6 / float(delivered)


def measure(options: Options) -> Outcome:
    """Run it."""
    rounds, singles, bursts = (2, 10, 2) if options.quick else (7, 50, 5)
    require_files(len(SERVERS) * MEMBERS)
    node = require()
    with children() as start:
        servers = {name: start.server(name) for name in SERVERS}
        # Last, so that it ends first.
        load = start.load()
        contestants = [Contestant(name, server, port, load) for name, (server, port) in servers.items()]
        log.info("%d clients of each of %d servers", MEMBERS, len(contestants))
        for contestant in contestants:  # code is loaded, compiled, memory taken
            contestant.measure(SINGLE, 5)
            contestant.measure(BURST, 1)
            contestant.busiest = 0.0
        taken: dict[str, dict[int, list[float]]] = {name: {SINGLE: [], BURST: []} for name in SERVERS}
        for number in range(rounds):
            for contestant in contestants:
                for at_once, times in ((SINGLE, singles), (BURST, bursts)):
                    taken[contestant.name][at_once].append(contestant.measure(at_once, times))
            log.info("round %d of %d: %s", number + 1, rounds, _told(taken))
        busiest = max(contestant.busiest for contestant in contestants)
    figures = {
        kind: {us_key(name): rounded(median(taken[name][at_once])) for name in SERVERS}
        for kind, at_once in (("single", SINGLE), ("burst", BURST))
    }
    details = {
        "with": {**description(node), "socket.io": socket_io_version()},
        "members": MEMBERS,
        "bytes": tweets.SIZE,
        "rounds": rounds,
        "load": rounded(busiest),
        "spread": {
            kind: {us_key(name): [rounded(min(taken[name][n])), rounded(max(taken[name][n]))] for name in SERVERS}
            for kind, n in (("single", SINGLE), ("burst", BURST))
        },
    }
    return Outcome(figures, _table(figures, busiest), details)


def _told(taken: dict[str, dict[int, list[float]]]) -> str:
    return ", ".join(
        f"{NAMES[name]} {values[SINGLE][-1]:.1f} / {values[BURST][-1]:.2f}" for name, values in taken.items()
    )


def _table(figures: dict[str, dict[str, float]], busiest: float) -> str:
    single, burst = ({name: figures[kind][us_key(name)] for name in SERVERS} for kind in ("single", "burst"))
    rows = [
        [
            NAMES[name],
            f"{single[name]:.3g}",
            f"{single[name] / single['node']:.2f}",
            f"{single[name] / single['floor']:.2f}",
            f"{burst[name]:.3g}",
            f"{burst[name] / burst['node']:.3f}",
        ]
        for name in SERVERS
    ]
    head = ["µs per delivery", "single", "× Node.js", "× floor", f"burst of {BURST}", "× Node.js"]
    return "\n".join([table(head, rows), share_of_core("load generator", busiest, cores())])


if __name__ == "__main__":
    run("fanout", __doc__ or "", measure)
