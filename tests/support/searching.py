"""What a search for strings is to find, and how it is brought to rest."""

from collections.abc import Iterable
from typing import Protocol

from services.router.automata import Occurrence


class Improvable(Protocol):
    """What finds strings quicker after a few steps."""

    def improve(self, *, at_rest: bool = False) -> bool: ...


def occurrences(strings: Iterable[str], text: bytes) -> set[Occurrence]:
    """What is to be found, looked for in the plainest way."""
    return {
        (string, start, start + len(encoded))
        for string in strings
        for encoded in [string.encode()]
        for start in range(len(text))
        if text.startswith(encoded, start)
    }


def improved(searcher: Improvable, *, at_rest: bool = False) -> int:
    """Improve it until there is nothing to improve; how many steps that took."""
    steps = 0
    while searcher.improve(at_rest=at_rest):
        steps += 1
        assert steps < 10_000, "it never ends"
    return steps
