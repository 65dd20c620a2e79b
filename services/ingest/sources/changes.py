"""Waiting for something to have changed, by several at once."""

import asyncio


class Changes:
    """Wakes everybody who waits, once for each change; each looks then whether it is what they wait for."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    async def wait(self) -> None:
        """Come back after the next change."""
        await self._next.wait()

    def tell(self) -> None:
        """Something has changed."""
        self._next.set()
        self._next = asyncio.Event()
