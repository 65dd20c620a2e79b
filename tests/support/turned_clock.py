"""A clock for tests of sources that do real input and output: it stands until somebody turns it.

`tests.unit.clocks.ManualClock` jumps ahead whenever anybody sleeps, which is right for one who only sleeps; where a
watchdog sleeps beside a reader that waits for its socket, time has to pass for both.
"""

import asyncio
import heapq
import inspect
import time
from collections.abc import Awaitable, Callable
from itertools import count

MIDNIGHT_MS = 1_700_006_400_000
"""00:00 UTC of some day."""

PATIENCE_S = 15.0
_SETTLE_S = 0.001
"""Real time between two turns, in which sockets on loopback do their work."""

_SETTLE_ROUNDS = 20
"""Rounds of the event loop between two turns, before and after that time: as many steps of a conversation."""


class TurnedClock:
    """Injected as a source's `Clock`."""

    def __init__(self, now_ms: int = MIDNIGHT_MS, *, step_s: float | None = None) -> None:
        """With `step_s` it turns in steps of so many seconds, otherwise from one sleeper's moment to the next."""
        self._start_ms = now_ms
        self._step_s = step_s
        self.seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return self._start_ms + round(self.seconds * 1000)

    def now_us(self) -> int:
        return self._start_ms * 1000 + round(self.seconds * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, next(self._numbers), sleeper))
        await sleeper

    def skip(self, seconds: float) -> None:
        """Turn the clock on at once, however many sleepers that wakes."""
        self.seconds += seconds
        while self._sleepers and self._sleepers[0][0] <= self.seconds:
            self._wake_next()

    async def turn(self, seconds: float, *, step_s: float | None = None) -> None:
        """Let so much time pass, with time for sockets between two steps."""
        end = self.seconds + seconds
        step_s = step_s or self._step_s
        if step_s is not None:
            while self.seconds < end:
                await self._step(min(step_s, end - self.seconds))
            return
        await settled()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.seconds = max(self.seconds, self._sleepers[0][0])
            if self._wake_next():
                await settled()
        self.seconds = max(self.seconds, end)
        await settled()

    async def until(
        self,
        condition: Callable[[], object] | Callable[[], Awaitable[object]],
        *,
        step_s: float = 0.25,
        what: str = "",
    ) -> None:
        """Let time pass until `condition()` is true; fail with `what` after `PATIENCE_S` of real time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            outcome = condition()
            if await outcome if inspect.isawaitable(outcome) else outcome:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {self.seconds:.1f} s: {what or inspect.getsource(condition).strip()}")
            await self._step(step_s)

    async def _step(self, seconds: float) -> None:
        await asyncio.sleep(_SETTLE_S)
        self.skip(seconds)
        for _ in range(20):
            await asyncio.sleep(0)

    def _wake_next(self) -> bool:
        _, _, sleeper = heapq.heappop(self._sleepers)
        if sleeper.done():
            return False
        sleeper.set_result(None)
        return True


async def settled() -> None:
    """Let what is under way between two sockets of this process arrive."""
    for pause_s in (0.0, _SETTLE_S / 2):
        for _ in range(_SETTLE_ROUNDS):
            await asyncio.sleep(0)
        await asyncio.sleep(pause_s)
