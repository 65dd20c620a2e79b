"""Where in Bluesky's stream we are, although every host has a clock of its own. Pure.

A cursor is a moment of a host's clock, in microseconds, and is given to other hosts as well. Their clocks differ a
little, and sometimes much: so it only goes forward, and only as far as can be believed.

- A host may be ahead, or hear of things late: then its moments are later than those in the commits themselves, for
  all commits alike. What it is ahead is taken off, or another host would leave out what lies between.
- A host whose moments lie in our own future by more than a minute is not believed at all.
- A host may be behind: to such a one a cursor of another is in its future, and it sends only what is new. That is
  noticed by the commits, and it is asked again for a moment of its own clock.
"""

from collections import deque

REWIND_S = 5
"""How far we go back when we connect again: hosts put things into different orders."""
MOST_AHEAD_S = 60
"""A moment this far in our future is no moment."""

_US = 1_000_000
_COMMITS = 16
"""So many commits tell how far a host is ahead: at least one of them came without delay."""
_WITNESSES = 3
"""So many have to agree that it is behind: a single author's server may have a wrong clock itself."""


class Position:
    """The place from which all that comes later has not been read."""

    def __init__(self, at_us: int | None = None) -> None:
        """`at_us` is the cursor that was kept, or None at the very first start."""
        self.at_us = at_us
        self._not_before_us = 0
        self._stuck_at_us: int | None = None
        self._step_s = 0

    def request_us(self, clock: "HostClock") -> int | None:
        """The cursor to ask the host with that clock for; None is live from now."""
        if self.at_us is None:
            return None
        return max(0, max(self.at_us - REWIND_S * _US, self._not_before_us) - clock.behind_us)

    def begin(self, now_us: int) -> None:
        """A host has let us in: at the very first start that is where the stream begins."""
        if self.at_us is None:
            self.at_us = now_us

    def move(self, to_us: int) -> None:
        """What lies before this moment has been read. Never goes back."""
        self.at_us = max(self.at_us or 0, to_us)

    def stuck(self) -> int:
        """Something here can't be received. Seconds by which the next request leaves this place behind; 0 at first.

        Meeting it at the same place again, 1, 2, 4 … seconds are left out, until there is progress.
        """
        if self.at_us is None:
            return 0
        if self._stuck_at_us != self.at_us:
            self._stuck_at_us, self._step_s = self.at_us, 0
            return 0
        self._step_s = max(1, self._step_s * 2)
        self._not_before_us = self.at_us + self._step_s * _US
        return self._step_s


class HostClock:
    """What is known of one host's clock."""

    def __init__(self) -> None:
        self.behind_us = 0
        """So far behind it is, where that matters."""
        self._leads: deque[int] = deque(maxlen=_COMMITS)

    def connected(self) -> None:
        """A connection begins; what was heard on another does not count."""
        self._leads.clear()

    def believed_us(self, time_us: int, rev_us: int | None, now_us: int) -> int | None:
        """How far a message of that moment has brought us, by a clock that is right; None: it does not say.

        `rev_us` is the moment of the commit, where it is one; all in microseconds.
        """
        if rev_us is not None:
            self._leads.append(time_us - rev_us)
        if self.behind_us and time_us + self.behind_us > now_us + MOST_AHEAD_S * _US:
            self.behind_us = 0  # somebody has set it right
        corrected = time_us + self.behind_us
        if corrected > now_us + MOST_AHEAD_S * _US:
            return None
        lead = min(self._leads, default=0)
        # Some delay between a commit and its host is as it should be, and what going back is for.
        return corrected - lead if lead > (REWIND_S - 1) * _US else corrected

    def is_found_behind(self) -> bool:
        """Whether commits are later than the host's clock, and by more than was known; from now on it is known."""
        if len(self._leads) < _WITNESSES:
            return False
        behind_us = -max(self._leads)
        if behind_us <= self.behind_us + REWIND_S * _US:
            return False
        self.behind_us = behind_us
        return True
