"""Running several things at once: one failure is everybody's, and nothing is left running."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shared.tasks import first_of, forever, together

Run = Callable[..., Coroutine[Any, Any, None]]


class Work:
    """Runs until told to end, and remembers how it ended."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.ended = ""

    async def run(self) -> None:
        try:
            await self.go.wait()
            if self.error:
                raise self.error
            self.ended = "done"
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.ended = "cancelled"
            raise


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_first_to_end_ends_all() -> None:
    quick, slow = Work(), Work()
    quick.go.set()
    await first_of(slow.run(), quick.run(), forever())
    assert (quick.ended, slow.ended) == ("done", "cancelled")


async def test_together_waits_for_all() -> None:
    one, two = Work(), Work()
    running = asyncio.create_task(together(one.run(), two.run()))
    one.go.set()
    await turns()
    assert not running.done()
    two.go.set()
    await running
    assert (one.ended, two.ended) == ("done", "done")


@pytest.mark.parametrize("run", [first_of, together])
async def test_a_failure_is_raised_as_it_is_after_the_others_have_ended(run: Run) -> None:
    failing, other = Work(), Work()
    failing.error = KeyError("as it is")
    failing.go.set()
    with pytest.raises(KeyError, match="as it is"):
        await run(other.run(), failing.run())
    assert other.ended == "cancelled"


@pytest.mark.parametrize("run", [first_of, together])
async def test_who_is_cancelled_cancels_all_of_it(run: Run) -> None:
    one, two = Work(), Work()
    running = asyncio.create_task(run(one.run(), two.run()))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (one.ended, two.ended) == ("cancelled", "cancelled")
