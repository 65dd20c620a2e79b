"""Which tweets a gateway may lack, after the broker dropped some from its full queue. Pure.

One marker (`services.gateway.overflow`) says no more than that it was dropped; with what was received around it, it
says between which two tweets something is missing, and that is what a `Hole` is. How much is missing nobody knows.

What is dropped lies, in the queue, behind everything that was delivered already and before everything that will be.
So a hole begins with the last message received that is older than the first marker, and ends with the newest marker.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from shared.events import Document
from shared.history import MAX_SEQ

QUIET_S = 5.0
"""Markers that are this far apart have nothing to do with each other. Of nearer ones the later may have replaced
others that were never seen: then all between them counts as missing. Longer than a busy process stands still."""

AHEAD_US = 24 * 3600 * 1_000_000
"""How far a `seq` may be ahead of this machine's clock and still be one."""

RECENT = 20_000
"""Messages of which it is known that they were received: of more than a second, at the most that can be consumed."""


class Hole(NamedTuple):
    """Tweets with a `seq` above `from_seq`, up to and with `to_seq`, may be missing.

    None where that is not known: nothing older had been received, or a marker could not be read. The messages of
    several routers, or of one batch, are not quite in the order of `seq`: who asks for what is missing has to ask
    for a little more.
    """

    from_seq: int | None
    to_seq: int | None


def hull(holes: Iterable[Hole]) -> Hole:
    """The smallest hole that has all of some holes in it."""
    begins, ends = zip(*holes, strict=True)
    return Hole(
        None if None in begins else min(begins),
        None if None in ends else max(ends),
    )


def gap(hole: Hole, missed: int | None = None) -> dict[str, int | None]:
    """What clients are told of a hole; `missed` is the number of tweets in it, where that is known."""
    return {"missed": missed, "from": hole.from_seq, "to": hole.to_seq}


class Overflow:
    """Which tweets are missing, from markers and from what was received. Pure.

    It outlives a connection: what was noticed on one is told on the next if there was no time before.
    """

    def __init__(self, *, now_us: Callable[[], int] = lambda: MAX_SEQ) -> None:
        """`now_us` is the time in microseconds since the epoch, if that is known."""
        self._now_us = now_us
        self.newest: int | None = None
        """The greatest `seq` that was received, but for those that are days ahead: one such would hide all others."""
        self._recent: deque[int] = deque(maxlen=RECENT)
        self._noticed: _Noticed | None = None
        self._told_to: int | None = None
        self._marked_at = -math.inf

    def received(self, documents: Iterable[Document]) -> None:
        """Note the documents of one message that has come the usual way."""
        newest = max((document["seq"] for document in documents), default=None)
        if newest is not None:
            self._recent.append(newest)
            if newest < self._now_us() + AHEAD_US:
                self.newest = newest if self.newest is None else max(self.newest, newest)

    def dropped(self, documents: Iterable[Document], now: float) -> None:
        """Note the documents of a marker, at `now` seconds of any steady clock; none if it could not be read."""
        seqs = [document["seq"] for document in documents]
        goes_on = now - self._marked_at < QUIET_S
        self._marked_at = now
        if self._noticed is None:
            self._noticed = _Noticed(goes_on)
        self._noticed.add(seqs)

    @property
    def noticed(self) -> bool:
        """Whether something was dropped since the last `take`."""
        return self._noticed is not None

    def take(self) -> Hole | None:
        """The hole that was noticed since the last call, if any: it is to be told now, and is not returned again."""
        noticed, self._noticed = self._noticed, None
        if noticed is None:
            return None
        if noticed.unreadable:
            hole = Hole(None, None)
        elif not noticed.goes_on:
            older = (seq for seq in self._recent if seq < noticed.oldest)
            hole = Hole(max(older, default=None), noticed.newest)
        elif self._told_to is None:
            hole = Hole(None, noticed.newest)
        else:
            hole = Hole(min(self._told_to, noticed.oldest - 1), noticed.newest)
        self._told_to = hole.to_seq
        return hole


class _Noticed:
    """Markers that have come and make one hole."""

    def __init__(self, goes_on: bool) -> None:
        self.goes_on = goes_on
        """Whether it begins where the hole before it ended."""
        self.unreadable = False
        self.seqs: list[int] = []
        """The oldest and the newest of them, once there is one."""

    def add(self, seqs: list[int]) -> None:
        self.unreadable |= not seqs
        seqs = self.seqs + seqs
        self.seqs = [min(seqs), max(seqs)] if seqs else []

    @property
    def oldest(self) -> int:
        return self.seqs[0]

    @property
    def newest(self) -> int:
        return self.seqs[1]
