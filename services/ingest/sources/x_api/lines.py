"""X's stream, cut into lines. Pure: bytes in, lines out."""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_LINE_BYTES = 1024 * 1024
"""Longer lines are no posts, and would be held in memory whole."""

_EMPTY_LINES = re.compile(rb"(?:\r?\n)++")


class TooLong(NamedTuple):
    """In the place of a line that was longer than allowed; what it said is gone."""

    most: int
    """How many bytes a line may have."""


class Lines:
    """Takes a stream in any pieces and gives its complete lines.

    A line ends with a line feed, with or without a carriage return before it. What comes after the last one is kept
    for the next piece, up to the longest line that is allowed.
    """

    def __init__(self, most: int = MAX_LINE_BYTES) -> None:
        """`most` is the number of bytes of the longest line that is given out."""
        self._most = most
        self._begun = bytearray()
        self._skipping = False

    def feed(self, piece: bytes) -> Iterator[bytes | TooLong]:
        """The lines that `piece` completes, without their ends; an empty one is a sign of life and nothing more.

        Empty lines that follow each other in a piece are given as one: there can be a hundred thousand of them. A
        line that grows too long is given as `TooLong` as soon as that is known, and once.
        """
        start = 0
        while True:
            if not (self._begun or self._skipping) and (empty := _EMPTY_LINES.match(piece, start)):
                yield b""
                start = empty.end()
            if (end := piece.find(b"\n", start)) < 0:
                break
            yield from self._grow(piece, start, end)
            if not self._skipping:
                yield bytes(self._begun).removesuffix(b"\r")
            self._begun.clear()
            self._skipping = False
            start = end + 1
        yield from self._grow(piece, start, len(piece))

    def _grow(self, piece: bytes, start: int, end: int) -> Iterator[TooLong]:
        if self._skipping:
            return
        if len(self._begun) + end - start > self._most:
            self._begun.clear()
            self._skipping = True
            yield TooLong(self._most)
        else:
            self._begun += memoryview(piece)[start:end]
