"""The passing of time, as sources that set a pace see it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What a paced source needs to know of time. Tests bring one that they turn by hand."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after `seconds`; 0 lets others run once."""
        ...


class SystemClock:
    """The time of this machine."""

    def monotonic(self) -> float:  # noqa: D102
        return time.monotonic()

    def now_ms(self) -> int:  # noqa: D102
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:  # noqa: D102
        await asyncio.sleep(seconds)
