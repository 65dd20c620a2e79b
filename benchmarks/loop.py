"""What is compared with: a loop over all terms for each tweet, in Node.js.

`match` is the loop as one writes it first, `filters.forEach(f => text.match(f))` with strings for filters, of which
Node.js makes a RegExp each time; `regexp` has them made once; `includes` does without.
"""

from collections.abc import Sequence

from benchmarks.children import Children
from benchmarks.corpus import places
from benchmarks.failure import BenchmarkError
from benchmarks.figures import median

LOOPS = {
    "match": "text.match(f), f a string",
    "regexp": "text.match(f), f a RegExp",
    "includes": "text.includes(f)",
}
"""What people are told, by name."""

_WARM = 100
"""Texts before those that count: code is compiled."""
_ROUNDS = 3


def loop_us(start: Children, texts: Sequence[str], terms: Sequence[str], *, count: int) -> dict[str, float]:
    """µs of processor that one text costs with each loop: medians of three rounds.

    Raises `BenchmarkError` where the loop does not find what is there.
    """
    count = min(count, len(texts) // _ROUNDS)
    process = start.loop()
    process.ask("prepare", texts=list(texts[: _ROUNDS * count]), terms=list(terms))
    taken: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    for number in range(_ROUNDS):
        first = number * count
        there = len(places(texts[first : first + count], terms))
        for loop, values in taken.items():
            process.ask("search", loop=loop, first=first, count=min(count, _WARM))
            answer = process.ask("search", loop=loop, first=first, count=count)
            if answer["matched"] != there:
                raise BenchmarkError(f"Node.js finds terms in {answer['matched']} texts, and they are in {there}")
            values.append(answer["us"])
    process.end()
    return {loop: median(values) for loop, values in taken.items()}
