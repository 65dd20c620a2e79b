"""How much one connection and one address may have. Pure: `now` is any clock in seconds that does not go back."""

MANY_ADDRESSES = 1000
"""So many are remembered before those that have been quiet are looked for."""


class Pace:
    """How often one connection may do something: `burst` times at once, and `rate` times a second after that."""

    __slots__ = ("_burst", "_last", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        """Begins with the whole burst. `rate` is above 0 and `burst` at least 1."""
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._last: float | None = None

    def take(self, now: float, count: int = 1) -> bool:
        """Take `count`, or all of the burst if that is less; returns whether they were there. Else takes none."""
        if self.wait_s(now, count) > 0:
            return False
        self._left -= min(count, self._burst)
        return True

    def wait_s(self, now: float, count: int = 1) -> float:
        """Seconds until there are `count` to take, or all of the burst; 0 if there are."""
        self._fill(now)
        return max(0.0, (min(count, self._burst) - self._left) / self._rate)

    def is_full(self, now: float) -> bool:
        """Whether all of the burst is there: then nothing was taken for a while."""
        self._fill(now)
        return self._left >= self._burst

    def _fill(self, now: float) -> None:
        if self._last is not None and now > self._last:
            self._left = min(self._burst, self._left + (now - self._last) * self._rate)
        # A clock that went back must not give the same seconds twice.
        self._last = now if self._last is None else max(now, self._last)


class PacePerAddress:
    """A pace for each address, whatever connections it has. Addresses that have been quiet are forgotten."""

    def __init__(self, rate: float, burst: float) -> None:
        """Each has a `Pace` of these."""
        self._rate = rate
        self._burst = burst
        self._paces: dict[str, Pace] = {}
        self._forget_at = MANY_ADDRESSES

    def take(self, address: str, now: float, count: int = 1) -> bool:
        """Take `count` for `address`, as `Pace.take` does."""
        if len(self._paces) > self._forget_at:
            self._paces = {each: pace for each, pace in self._paces.items() if not pace.is_full(now)}
            self._forget_at = max(MANY_ADDRESSES, 2 * len(self._paces))
        return self._paces.setdefault(address, Pace(self._rate, self._burst)).take(now, count)

    def wait_s(self, address: str, now: float, count: int = 1) -> float:
        """Seconds until there are `count` to take for `address`; 0 if there are."""
        pace = self._paces.get(address)
        return 0.0 if pace is None else pace.wait_s(now, count)

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._paces)


class PerAddress:
    """How many of something each address has, at most `maximum`. An address that has none is forgotten."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self._taken: dict[str, int] = {}

    def take(self, address: str, count: int = 1, *, instead_of: int = 0) -> bool:
        """Take `count` for `address`, or nothing; returns whether it may have them, `instead_of` so many others."""
        taken = self._taken.get(address, 0)
        if taken + count - instead_of > self.maximum:
            return False
        self._taken[address] = taken + count
        return True

    def give_back(self, address: str, count: int = 1) -> None:
        """Give back `count` of what `address` has taken. Raises `ValueError` for more than that."""
        left = self._taken.get(address, 0) - count
        if left < 0 or count < 0:
            raise ValueError(f"{address} gives back {count} and has {left + count}")
        if left:
            self._taken[address] = left
        else:
            self._taken.pop(address, None)

    def taken(self, address: str) -> int:
        """How many `address` has."""
        return self._taken.get(address, 0)

    def __len__(self) -> int:
        """How many addresses have any."""
        return len(self._taken)
