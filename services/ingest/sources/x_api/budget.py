"""How many posts a day X may deliver, because each of them costs money. Pure: the clock is passed in.

A crash must not make the day's budget begin again. So posts are set aside in chunks, and a chunk is noted down
*before* any of it is taken: after a crash everything in the note counts as used, whether it was or not. That loses
at most a chunk and a half of a day's budget and never exceeds it.

Days are UTC days and only go forward. A clock that steps back over midnight does not bring yesterday back, and
passing midnight again does not bring a new budget: while the day is ahead of the clock, it goes on being that day.
A day that is further ahead than `MOST_DAYS_AHEAD` (in a note or after a step back) can only come from a clock that
was wrong, perhaps by years; its count is then taken for today's, so that the next midnight helps.
"""

from collections.abc import Callable
from datetime import date
from typing import Annotated

import msgspec

CHUNKS = 20
"""A day's budget is set aside in so many parts."""
MOST_DAYS_AHEAD = 1
"""How many days ahead of the clock a day is believed."""

_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()


class _Note(msgspec.Struct):
    day: date
    posts: Annotated[int, msgspec.Meta(ge=0)]


class Budget:
    """Counts the posts of a UTC day against the most that may be taken.

    Before each post: if `spent`, wait `resumes_in_s()`; if `must_wait`, keep what `reserve()` returns, and take
    nothing until it is kept. After it: `take()`.

    X may have delivered more than was looked at yet. It has to be paid for all the same, so it is part of the next
    note, beyond the day's budget if need be.
    """

    def __init__(self, posts_per_day: int, *, note: str = "", now_ms: Callable[[], int]) -> None:
        """`note` is the one that was kept last, if any; one that can't be read counts as none.

        `now_ms` gives milliseconds since the epoch. Raises `ValueError` for a negative budget.
        """
        if posts_per_day < 0:
            raise ValueError(f"{posts_per_day} posts a day is not a budget")
        self.posts_per_day = posts_per_day
        """The most posts to be taken in a day."""
        self._chunk = max(1, posts_per_day // CHUNKS)
        self._now_ms = now_ms
        self._day, self._used = _read(note) or (self._today(), 0)
        self._aside = self._used
        """Posts of the day that are noted down, those that are used included."""

    @property
    def used(self) -> int:
        """Posts taken today, and those of an earlier process that were set aside."""
        self._turn()
        return self._used

    @property
    def spent(self) -> bool:
        """Nothing is left of today's budget."""
        return self.used >= self.posts_per_day

    @property
    def must_wait(self) -> bool:
        """Something is left, but nothing that is set aside: a new note has to be kept before the next post."""
        return not self.spent and self._used >= self._aside

    @property
    def left(self) -> int:
        """So many posts may still be taken today."""
        return max(0, self.posts_per_day - self.used)

    @property
    def set_aside(self) -> int:
        """So many posts may be taken before a new note has to be kept."""
        self._turn()
        return max(0, self._aside - self._used)

    def take(self, posts: int = 1) -> None:
        """So many posts were delivered."""
        self._turn()
        self._used += posts

    def resumes_in_s(self) -> float:
        """Seconds until the next day, which has a budget of its own."""
        self._turn()
        return ((self._day + 1) * _DAY_MS - self._now_ms()) / 1000

    def wants_reserve(self, delivered: int = 0) -> bool:
        """Time for `reserve`: less than half a chunk is left of what is set aside, and there is more; or less than
        was delivered and is not taken yet.
        """
        self._turn()
        ahead = self._aside - self._used
        return ahead < delivered or (self._aside < self.posts_per_day and ahead < self._chunk / 2)

    def reserve(self, delivered: int = 0) -> str:
        """Set a chunk more aside, and at least what was delivered and is not taken yet.

        Returns the note, which must be kept before anything more is taken.
        """
        self._turn()
        chunk = min(max(self._aside, self._used) + self._chunk, self.posts_per_day)
        self._aside = max(self._aside, self._used + delivered, chunk)
        return self._note(self._aside)

    def settled(self) -> str:
        """The exact note, for a clean stop: gives back what is set aside. Afterwards nothing is."""
        self._turn()
        self._aside = self._used
        return self._note(self._used)

    def _turn(self) -> None:
        today = self._today()
        if today > self._day:
            self._day, self._used, self._aside = today, 0, 0
        elif today < self._day - MOST_DAYS_AHEAD:
            self._day = today

    def _today(self) -> int:
        return self._now_ms() // _DAY_MS

    def _note(self, posts: int) -> str:
        return msgspec.json.encode(_Note(date.fromordinal(self._day + _EPOCH), posts)).decode()


def _read(note: str) -> tuple[int, int] | None:
    """The day, counted from the epoch, and the posts that are used of it."""
    try:
        read = msgspec.json.decode(note, type=_Note)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return read.day.toordinal() - _EPOCH, read.posts
