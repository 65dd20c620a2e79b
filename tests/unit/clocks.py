"""A clock for tests of paced sources: time passes when somebody sleeps, and only then."""

import asyncio


class ManualClock:
    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = now_ms
        self.seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return self._start_ms + round(self.seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)
