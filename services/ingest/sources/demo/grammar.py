"""Text from templates: choices that follow Zipf's law, put into sentences."""

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


def words(text: str) -> list[str]:
    """The words of a long list, written with commas between them."""
    return text.split(",")


class Zipf(Generic[T]):
    """A choice among items, in which the n-th is about n times as rare as the first."""

    def __init__(self, items: Sequence[T], *, exponent: float = 1.0, offset: float = 1.0) -> None:
        """A larger `offset` (Mandelbrot's) makes the first few less dominant."""
        weights = [(rank + offset) ** -exponent for rank in range(len(items))]
        self._items = items
        self._thresholds = list(accumulate(weights))

    def pick(self, random: Random) -> T:
        """One of the items."""
        return self._items[bisect(self._thresholds, random.random() * self._thresholds[-1])]


class Weighted(Generic[T]):
    """A choice among items with given weights."""

    def __init__(self, items: Mapping[T, float]) -> None:
        self._items = list(items)
        self._thresholds = list(accumulate(items.values()))

    def pick(self, random: Random) -> T:
        """One of the items."""
        return self._items[bisect(self._thresholds, random.random() * self._thresholds[-1])]


class Template:
    """A sentence with places to fill: "Heard {artist} again, still {feeling}."."""

    def __init__(self, text: str, slots: Mapping[str, "Zipf[str]"]) -> None:
        """Every `{name}` in `text` is a key of `slots`."""
        # `re.split` with a group alternates between plain text and the names.
        parts = re.split(r"\{(\w+)\}", text)
        self._parts = [slots[part] if index % 2 else part for index, part in enumerate(parts) if part]

    def render(self, random: Random) -> str:
        """The sentence with its places filled, beginning with a capital where its script has them."""
        text = "".join([part if isinstance(part, str) else part.pick(random) for part in self._parts])
        return text[0].upper() + text[1:]
