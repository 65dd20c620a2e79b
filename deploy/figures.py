"""What services say at `/metrics`, as numbers. Pure."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Values = Mapping[str, float]
"""Each metric of one process by its name; one with labels is the sum over them."""

INGEST_PUBLISHED = "roost_ingest_published_total"
INGEST_DROPPED = "roost_ingest_dropped_total"
INGEST_BUFFERED = "roost_ingest_buffered"
ROUTER_PUBLISHED = "roost_router_published_total"
ROUTER_UNMATCHED = "roost_router_unmatched_total"
ROUTER_DEAD = "roost_router_dead_lettered_total"
ROUTER_BY_HAND = "roost_router_by_hand_total"
TERMS = "roost_router_terms"
DRIFT = "roost_demand_drift_total"
GAPS = "roost_gateway_gaps_total"
LAG = "roost_loop_lag_worst_seconds"
STARTED = "process_start_time_seconds"


def values(said: str) -> dict[str, float]:
    """The metrics in Prometheus's text; what is none is passed over."""
    found: dict[str, float] = {}
    for line in said.splitlines():
        name, _, value = line.rpartition(" ")
        name = name.partition("{")[0]
        if not line.startswith("#"):
            with contextlib.suppress(ValueError):
                found[name] = found.get(name, 0.0) + float(value)
    return found


class Said(NamedTuple):
    """What the processes of one service say."""

    service: str
    processes: Sequence[Values | None]
    """None for one that does not answer."""

    @property
    def answers(self) -> list[Values]:
        """Of those that answer."""
        return [process for process in self.processes if process is not None]

    @property
    def silence(self) -> str:
        """Who does not answer; nothing where all do."""
        if not self.processes:
            return f"no {self.service} runs"
        silent, all_of_them = len(self.processes) - len(self.answers), len(self.processes)
        if not silent:
            return ""
        which = self.service if all_of_them == 1 else f"{self.service} ({silent} of {all_of_them})"
        return f"{which} does not answer"

    def total(self, name: str) -> int:
        """The sum of a metric over the processes that answer."""
        return round(sum(process.get(name, 0.0) for process in self.answers))

    def most(self, name: str) -> float | None:
        """The greatest value of a metric; None where nobody has it."""
        return max((process[name] for process in self.answers if name in process), default=None)

    def started(self) -> list[float]:
        """When each process that answers was started, in seconds since the epoch."""
        return [process[STARTED] for process in self.answers if STARTED in process]


def silences(services: Iterable[Said]) -> str:
    """Who of all of them does not answer."""
    return " and ".join(said.silence for said in services if said.silence)
