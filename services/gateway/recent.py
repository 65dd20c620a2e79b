"""The tweets that a room was shown lately, in their order, and from where on they are all there. Pure.

The archive is asked while tweets come and go. So who asks says so first (`asking`), and what was forgotten or lost
since then no answer makes whole (`covered`).
"""

from bisect import bisect_left, bisect_right, insort

from shared.history import Place

_COMPACT_AT = 1000


class Recent:
    """Places of tweets, oldest first, and what is known of their completeness.

    All tweets of the room with a `seq` above `covered_from` are among them, but for those that fell into a hole.
    """

    __slots__ = (
        "_begin",
        "_forgotten_to",
        "_losses",
        "_places",
        "covered_from",
        "hole_from",
        "hole_to",
        "missing",
        "opened_after",
    )

    def __init__(self) -> None:
        self._places: list[Place] = []
        # The oldest go first and one by one: the list is not moved up each time.
        self._begin = 0
        self._forgotten_to = 0
        self._losses = 0
        self.opened_after: int | None = None
        """The greatest `seq` that was known when the room was opened; None where none was."""
        self.covered_from: int | None = None
        """None where nobody knows: the room was opened and the archive not asked yet."""
        self.hole_from: int | None = None
        """Tweets above this `seq` may have been lost on the way, and the archive has not been asked for them yet."""
        self.hole_to: int | None = None
        """Those up to and with this one; None: all until the archive is asked."""
        self.missing: tuple[int, int] | None = None
        """Between these two `seq`s, the first excluded, tweets are missing that the archive has not either."""

    def add(self, place: Place) -> None:
        """One more tweet."""
        if not self._places or place > self._places[-1]:
            self._places.append(place)
        else:
            insort(self._places, place, lo=self._begin)

    def remove(self, place: Place) -> None:
        """A tweet is gone, or has another place now."""
        index = bisect_left(self._places, place, lo=self._begin)
        if index == len(self._places) or self._places[index] != place:
            return
        if index > self._begin:
            del self._places[index]
            return
        self._begin += 1
        if self._begin > _COMPACT_AT and self._begin * 2 > len(self._places):
            del self._places[: self._begin]
            self._begin = 0

    def forget(self, place: Place) -> None:
        """A tweet is not remembered any more, so only what is newer is complete."""
        self.remove(place)
        self._forgotten_to = max(self._forgotten_to, place.seq)
        if self.covered_from is not None:
            self.covered_from = max(self.covered_from, place.seq)

    def covers(self, *, since: int | None, least: int) -> bool:
        """Whether all above `since`, if it is given, and at any rate the `least` newest are here."""
        if self.hole_from is not None or self.covered_from is None:
            return False
        if self.covered_from == 0:
            return True
        if since is not None and since < self.covered_from:
            return False
        return len(self._places) - self._first_above(self.covered_from) >= least

    def newest(self, number: int) -> list[Place]:
        """The newest places, at most so many, oldest first. Where completeness is known, none from before it."""
        first = self._begin if self.covered_from is None else self._first_above(self.covered_from)
        return self._places[max(first, len(self._places) - number) :]

    def since(self, seq: int) -> list[Place]:
        """All places above a `seq`, oldest first."""
        return self._places[self._first_above(seq) :]

    def lost(self, from_seq: int, to_seq: int | None) -> None:
        """What came above `from_seq`, up to and with `to_seq`, may not have reached this gateway."""
        self._losses += 1
        if self.hole_from is None:
            self.hole_from, self.hole_to = from_seq, to_seq
        else:
            self.hole_from = min(self.hole_from, from_seq)
            self.hole_to = None if self.hole_to is None or to_seq is None else max(self.hole_to, to_seq)

    def asking(self) -> int:
        """The archive is about to be asked; returns what `covered` has to be given then."""
        self._forgotten_to = 0
        return self._losses

    def covered(self, asked: int, from_seq: int, missing: tuple[int, int] | None) -> None:
        """The archive has brought all above `from_seq`, but for those that are `missing` there too."""
        from_seq = max(from_seq, self._forgotten_to)
        known_from, hole_from = self.covered_from, self.hole_from
        # What was complete before is still of use where it reaches into what is complete now.
        reaches = known_from is not None and (hole_from is None or from_seq <= hole_from)
        self.covered_from = min(known_from, from_seq) if reaches and known_from is not None else from_seq
        if asked == self._losses:
            self.hole_from = self.hole_to = None
        if missing is not None and self.missing is not None:
            missing = min(missing[0], self.missing[0]), max(missing[1], self.missing[1])
        self.missing = missing or self.missing

    def unknown(self) -> None:
        """What was lost is not to be had."""
        self._losses += 1
        self.covered_from = self.hole_from = self.hole_to = None

    def __len__(self) -> int:
        return len(self._places) - self._begin

    def _first_above(self, seq: int) -> int:
        return bisect_right(self._places, seq, lo=self._begin, key=lambda place: place.seq)
