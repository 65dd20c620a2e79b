"""How long after a fault everybody had everything again. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.chaos.records import Fault

LATE_S = 1.0
"""What arrives sooner is no matter: nobody waits for it."""

AFTERMATH_S = 6.0
"""After rooms were bound anew a gateway looks for so long for what routers did not publish for it yet."""


class Wait(NamedTuple):
    """From the moment when something happened to the moment when a client had it; `inf` if it never did."""

    since: float
    until: float


class Window(NamedTuple):
    """A fault, and how long it was felt."""

    fault: Fault
    level_s: float
    """Seconds from the fault until no client waited longer than `LATE_S` for anything; 0 if none ever did, `inf` if
    somebody waits to this day."""

    def touches(self, begin: float, end: float) -> bool:
        """Whether somebody may have felt it between two moments."""
        return begin <= self.fault.at + self.level_s + AFTERMATH_S and end >= self.fault.at - LATE_S


def windows(faults: Sequence[Fault], waits: Iterable[Wait]) -> list[Window]:
    """Each fault with what followed it. A wait counts to the last fault before its end that it can come from."""
    late = [wait for wait in waits if wait.until - wait.since > LATE_S]
    found = []
    for number, fault in enumerate(faults):
        following = faults[number + 1].at if number + 1 < len(faults) else math.inf
        ours = [wait.until for wait in late if fault.at - LATE_S <= wait.since < following - LATE_S]
        found.append(Window(fault, max(0.0, max(ours, default=fault.at) - fault.at)))
    return found


def worst(found: Iterable[Window]) -> dict[str, float | None]:
    """Of each kind of fault the longest, in seconds; None where it was never over."""
    longest: dict[str, float] = {}
    for window in found:
        longest[window.fault.name] = max(window.level_s, longest.get(window.fault.name, 0.0))
    return {name: round(level_s, 1) if math.isfinite(level_s) else None for name, level_s in longest.items()}
