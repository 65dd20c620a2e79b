"""Whether Roost holds its latency: 6,000 tweets a second, 600 of them for 1,000 clients in 200 rooms.

    python -m tests.latency --seconds 600

Beside it, by turns, a process of Node.js that tries the terms in a loop, with no broker: the yardstick of
`benchmarks.latency`. The last line is JSON: percentiles of all deliveries, and the worst 99th percentile of a
stretch. The exit code is 1 where a tweet was lost, or where the 99th percentile of any stretch is over the bound.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from benchmarks.figures import percentile
from benchmarks.latency import Measured, sides
from benchmarks.machine import pin

PER_S = 6000
STRETCH_S = 20.0
"""How long it is measured at a time."""
WARM_S = 3.0
BOUND_MS = 50.0
"""For the 99th percentile from ingest to the clients, on two cores that have nothing else to do."""


class Held(NamedTuple):
    """What was measured, stretch by stretch."""

    roost: list[Measured]
    node: list[Measured]

    def figures(self) -> dict[str, float]:
        """Of Roost and of the yardstick."""
        return _figures("", self.roost) | _figures("node_", self.node)


def _figures(name: str, stretches: Sequence[Measured]) -> dict[str, float]:
    """Of all stretches of one side, in ms; `name` begins the names of the figures."""
    every = sorted(chain.from_iterable(one.all_us for one in stretches))
    return {
        f"{name}p50_ms": percentile(every, 50) / 1000,
        f"{name}p99_ms": percentile(every, 99) / 1000,
        f"{name}worst_p99_ms": max(one.p99_ms for one in stretches),
        f"{name}lost": sum(one.lost for one in stretches),
    }


def hold(seconds: float) -> Held:
    """Stream for so many seconds, and a stretch beside each minute to the yardstick."""
    held = Held([], [])
    with sides() as (roost, peer):
        for side in (roost, peer):
            side.measure(PER_S, WARM_S)
        for number in range(max(1, round(seconds / STRETCH_S))):
            held.roost.append(roost.measure(PER_S, STRETCH_S))
            if number % 3 == 0:
                held.node.append(peer.measure(PER_S, STRETCH_S / 2))
            one = held.roost[-1]
            print(f"{one.p50_ms:6.2f} ms, 99 % {one.p99_ms:6.2f} ms, lost {one.lost}", flush=True)
    return held


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.latency", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    pin()
    figures = hold(arguments.seconds).figures()
    print(json.dumps(figures))
    return int(figures["lost"] > 0 or figures["worst_p99_ms"] > BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
