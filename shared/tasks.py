"""Running several things at once, so that the failure of one is the failure of all and is raised as it is."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Run `works` until one of them ends; cancel the others, wait for them, raise what the first one raised."""
    await _run(works, asyncio.FIRST_COMPLETED)


async def together(*works: Coroutine[Any, Any, object]) -> None:
    """Run `works` until all have ended, or one has failed: then cancel the others and raise what it raised."""
    await _run(works, asyncio.FIRST_EXCEPTION)


async def _run(works: tuple[Coroutine[Any, Any, object], ...], until: str) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=until)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
