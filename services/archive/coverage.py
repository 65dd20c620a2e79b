"""Of which stretches of each source's chain of batches the archive has all. Pure.

A batch whose link says `after` and whose last event has the number `last` makes the *span* (after, last] complete.
Spans that touch are one. What is between two spans of a source was published and did not arrive.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Hole = tuple[int, int]
"""(after, last]: something of this may be missing."""


class Span(NamedTuple):
    """What is complete: all that has a greater `seq` than `after`, up to and with `last`."""

    after: int
    last: int


class Coverage:
    """The spans of all sources. It is never changed, so threads may share it."""

    def __init__(self, spans: Mapping[str, tuple[Span, ...]] | None = None) -> None:
        """`spans` of each source are in order and apart from each other."""
        self.spans = dict(spans or {})

    def add(self, source: str, span: Span) -> tuple["Coverage", Span, list[Span]]:
        """What is covered with `span`, too; the span that it is part of now, and those that this one replaces."""
        spans = self.spans.get(source, ())
        touching = [old for old in spans if old.after <= span.last and span.after <= old.last]
        whole = Span(
            min([span.after, *(old.after for old in touching)]), max([span.last, *(old.last for old in touching)])
        )
        if whole in touching:
            return self, whole, []
        apart = [old for old in spans if old not in touching]
        return Coverage(self.spans | {source: tuple(sorted([*apart, whole]))}), whole, touching

    @classmethod
    def of(cls, spans: Iterable[tuple[str, Span]]) -> "Coverage":
        """The coverage by all `spans`, in any order."""
        coverage = cls()
        for source, span in spans:
            coverage, _, _ = coverage.add(source, span)
        return coverage

    def missing(self, after: int, last: int) -> Hole | None:
        """The smallest (from, to] that has all holes in (after, last]; None where there are none.

        A source that begins in the middle, with a link to something, lacks what was before. What is behind its last
        span nobody knows.
        """
        found: list[Hole] = []
        for spans in self.spans.values():
            at = 0
            for span in spans:
                begin, end = max(at, after), min(span.after, last)
                if begin < end:
                    found.append((begin, end))
                at = span.last
        return (min(begin for begin, _ in found), max(end for _, end in found)) if found else None
