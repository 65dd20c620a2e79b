"""How long an event loop keeps its work waiting: the time in which something holds it, and nothing else runs."""

import asyncio
from collections import deque

from shared import metrics

TICK_S = 0.01
"""How often it is looked; what holds the loop for less may go unseen."""
WORST_OF_S = 60.0
"""Over which time the worst is told."""


async def watch() -> None:
    """Measure the running loop's lag, for ever."""
    loop = asyncio.get_running_loop()
    worst: deque[tuple[float, float]] = deque()
    """When there was which lag, without those that had a worse one after them."""
    while True:
        began = loop.time()
        await asyncio.sleep(TICK_S)
        now = loop.time()
        lag = max(0.0, now - began - TICK_S)
        metrics.LOOP_LAG_SECONDS.observe(lag)
        while worst and worst[-1][1] <= lag:
            worst.pop()
        worst.append((now, lag))
        while worst[0][0] < now - WORST_OF_S:
            worst.popleft()
        metrics.LOOP_LAG_WORST_SECONDS.set(worst[0][1])
