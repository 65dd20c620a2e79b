"""Waiting for conditions instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 15.0


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], *, within_s: float = PATIENCE_S, what: str = ""
) -> None:
    """Wait until `condition()` is true; fail with `what` after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        outcome = condition()
        if await outcome if inspect.isawaitable(outcome) else outcome:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or inspect.getsource(condition).strip()}")
        await asyncio.sleep(0.02)


def eventually_now(condition: Callable[[], T], *, within_s: float = PATIENCE_S, what: str = "") -> T:
    """`eventually` for code without an event loop."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or inspect.getsource(condition).strip()}")
        time.sleep(0.05)
    return value
