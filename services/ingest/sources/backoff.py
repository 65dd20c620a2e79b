"""How long a live source waits before it connects to its origin again."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from services.ingest.sources.pacing import Clock

MOST_JITTER = 0.25
"""A pause is lengthened by up to this part of it, so that many clients don't come back at the same moment; never
shortened, because the origin may have asked for it."""


class Growth(NamedTuple):
    """How pauses of one kind of failure grow while it goes on."""

    first_s: float
    longest_s: float
    doubling: bool = True
    """Or longer by `first_s` each time."""


class Limit(NamedTuple):
    """At most so many attempts within so many seconds, whatever the failures are."""

    attempts: int
    within_s: float


class Backoff:
    """Pauses between attempts to connect: they grow with failures of a kind, and attempts are bounded over time."""

    def __init__(
        self, clock: Clock, limits: Sequence[Limit], *, jitter: Callable[[float, float], float] = random.uniform
    ) -> None:
        """`jitter(a, b)` gives a number between the two; tests bring one that is known."""
        self._clock = clock
        self._limits = limits
        self._jitter = jitter
        self._failures: dict[Growth, int] = {}
        self._attempts: deque[float] = deque(maxlen=max(limit.attempts for limit in limits))

    def attempt(self) -> None:
        """An attempt begins."""
        self._attempts.append(self._clock.monotonic())

    def worked(self) -> None:
        """A connection did its work for a while: pauses are short again."""
        self._failures.clear()

    def next_pause_s(self, growth: Growth, *, at_least_s: float = 0.0) -> float:
        """Seconds to wait after a failure of this kind; `at_least_s` is what the origin asked for, if it did."""
        failures = self._failures[growth] = self._failures.get(growth, 0) + 1
        factor = 2.0 ** min(failures - 1, 30) if growth.doubling else failures
        pause = max(min(growth.first_s * factor, growth.longest_s), at_least_s)
        return max(pause * (1 + self._jitter(0, MOST_JITTER)), self._until_within_limits_s())

    def _until_within_limits_s(self) -> float:
        now = self._clock.monotonic()
        waits = [
            self._attempts[-limit.attempts] + limit.within_s - now
            for limit in self._limits
            if len(self._attempts) >= limit.attempts
        ]
        return max(waits, default=0.0)
