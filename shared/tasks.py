"""Running several things at once, so that the failure of one is the failure of all and is raised as it is."""

import asyncio
from collections.abc import Coroutine
from typing import Any

Work = Coroutine[Any, Any, object]


async def first_of(*works: Work) -> None:
    """Run `works` until one of them ends; cancel the others, wait for them, raise what the first one raised."""
    await _run(works, until_first=True)


async def together(*works: Work) -> None:
    """Run `works` until all have ended, or one has failed: then cancel the others and raise what it raised."""
    await _run(works, until_first=False)


async def _run(works: tuple[Work, ...], *, until_first: bool) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():
                    # Cancelled by somebody else: as quiet as an end, and as bad as a failure.
                    raise RuntimeError(f"{task.get_name()} was cancelled from outside")
                task.result()
            if until_first:
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
