"""An event loop whose clock goes on only when there is nothing else to do: a minute of waiting takes no time."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


class _NothingToWaitFor(selectors.BaseSelector):
    """Waits for no file: instead of waiting it moves the clock on."""

    def __init__(self) -> None:
        self.now = 0.0
        self._files: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.now += max(0.0, timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._files[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files


class LeapingLoop(asyncio.SelectorEventLoop):
    """No real I/O and no threads can be waited for in it."""

    def __init__(self) -> None:
        self._nothing = _NothingToWaitFor()
        super().__init__(self._nothing)
        # The loop takes what is due within one tick of its clock for due now.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._nothing.now


def leaping(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test of what happens in such a loop."""

    @functools.wraps(story)
    def test() -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(story())

    return test
