"""Something that is there or is waited for, such as a channel of the present connection."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Present(Generic[T]):
    """The one that is in use now. Whoever finds it broken puts it away, and nobody's newer one."""

    def __init__(self) -> None:
        self._value: T | None = None
        self._there = asyncio.Event()

    def set(self, value: T) -> None:
        """From now on it is this one."""
        self._value = value
        self._there.set()

    def clear(self, value: T | None = None) -> None:
        """There is none; with `value`, only if it is still that one."""
        if value is None or value is self._value:
            self._value = None
            self._there.clear()

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._value is not None

    async def get(self) -> T:
        """The present one; waits while there is none."""
        while (value := self._value) is None:
            await self._there.wait()
        return value
