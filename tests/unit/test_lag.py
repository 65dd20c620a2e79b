"""How long a loop keeps its work waiting is measured and told."""

import asyncio
import contextlib
import time

import pytest

from shared import lag
from tests.support.services import metric
from tests.support.waiting import eventually

HELD_S = 0.2


async def test_what_holds_the_loop_is_told_and_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "WORST_OF_S", 1.0)
    watching = asyncio.create_task(lag.watch())
    try:
        looks = metric("roost_loop_lag_seconds_count")
        await eventually(lambda: metric("roost_loop_lag_seconds_count") > looks)
        time.sleep(HELD_S)  # noqa: ASYNC251 - this is what holds it
        await eventually(lambda: metric("roost_loop_lag_worst_seconds") >= HELD_S - 2 * lag.TICK_S)
        await eventually(lambda: metric("roost_loop_lag_worst_seconds") < HELD_S / 2)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
