"""A service's session with the broker, run again whenever it is lost."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from shared import metrics
from shared.broker.errors import BrokerLostError, InUseError, raise_if_cancelled
from shared.tasks import first_of

log = structlog.get_logger()

RAN_WELL_S = 10.0
"""A session that lasted this long, longer than any attempt to connect, was one: the next pause is short again."""

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0


async def keep_session(
    session: Callable[[], Coroutine[Any, Any, None]], stopping: asyncio.Event, *, grace_s: float = 1.0
) -> None:
    """Run `session` again whenever it loses the broker, with growing, jittered pauses, until it returns.

    A session opens its connections, does its work and returns once `stopping` is set; it is cancelled when it has
    not within `grace_s` seconds, say because it was connecting to a host that does not answer.
    """
    delay = FIRST_DELAY_S
    told = ""
    loop = asyncio.get_running_loop()
    while not stopping.is_set():
        began = loop.time()
        try:
            await first_of(session(), _overdue(stopping, grace_s))
        except BrokerLostError as error:
            raise_if_cancelled()
            if loop.time() - began > RAN_WELL_S:
                delay, told = FIRST_DELAY_S, ""
            pause = delay * random.uniform(0.5, 1)
            metrics.BROKER_LOSSES.inc()
            if str(error) != told:
                told = str(error)
                if isinstance(error, InUseError):
                    log.info("another one was quicker, trying again until it is gone", reason=told)
                else:
                    log.warning("broker is away, trying again until it is back", reason=told)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)
            delay = min(LONGEST_DELAY_S, delay * 2)


async def _overdue(stopping: asyncio.Event, grace_s: float) -> None:
    await stopping.wait()
    await asyncio.sleep(grace_s)
