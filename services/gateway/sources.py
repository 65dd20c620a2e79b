"""What sources have said of themselves, and what of it is news to whom. Pure: `now` is any clock in seconds."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from shared.events import UnreadableError
from shared.sources import FORGOTTEN_AFTER_S, MOST_NOT_ASKED, SourceStatus

MOST_SOURCES = 100
"""So many are remembered; what others say is unreadable until one of them is forgotten."""

MOST_NAMED = 50
"""So many labels that a source is not asked for are listed for people; the others are counted."""

LONGEST_NAME = 50
LONGEST_DETAIL = 300
"""Characters of a source's name and of its detail, which goes to every client."""

GROWN_S = 2.0
"""An end that is this much later than the one that was told is news; less is the way of a message."""

GONE = "gone"
"""The state, to clients, of a source that nothing has been heard of for a while."""

Seconds = float | None
"""What is told of a room and a source: seconds until it has to work, 0 when it is no more being asked, None for a
room that the source can't be, or may not be, asked for."""


class News(NamedTuple):
    """What has to be told after something was heard or forgotten."""

    name: str
    """The source."""
    source: dict[str, Any] | None
    """To everybody: `{source, state, detail, resumes_in_s}`. None if that is as it was told."""
    rooms: dict[str, Seconds]
    """To the rooms of these labels (canonical keys)."""


class _Known:
    """One source, as it was told last."""

    __slots__ = ("detail", "heard_at", "name", "not_asked", "not_asked_count", "resumes_at", "state", "until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = GONE
        self.detail = ""
        self.resumes_at: float | None = None
        self.heard_at = -math.inf
        self.until: dict[str, float] = {}
        self.not_asked: tuple[str, ...] = ()
        self.not_asked_count = 0

    def told(self, now: float) -> dict[str, Any]:
        resumes = None if self.resumes_at is None else max(0, math.ceil(self.resumes_at - now))
        return {"source": self.name, "state": self.state, "detail": self.detail, "resumes_in_s": resumes}


class Sources:
    """The sources that were heard of lately.

    A status that is heard again, with a countdown that has gone on, is no news.
    """

    def __init__(self, *, forgotten_after_s: float = FORGOTTEN_AFTER_S) -> None:
        self._forgotten_after_s = forgotten_after_s
        self._known: dict[str, _Known] = {}

    def hear(self, status: SourceStatus, now: float) -> News:
        """Note a status; returns what is new in it. Raises `UnreadableError` for one that can't be meant."""
        _require_sane(status)
        known = self._known.get(status.source)
        if known is None:
            if len(self._known) >= MOST_SOURCES:
                raise UnreadableError(f"{status.source!a} would be one more than {MOST_SOURCES} sources")
            known = self._known[status.source] = _Known(status.source)
        known.heard_at = now
        detail = _one_line(status.detail)
        is_news = (known.state, known.detail) != (status.state, detail)
        known.state, known.detail = status.state, detail
        known.resumes_at = None if status.resumes_in_s is None else now + status.resumes_in_s
        return News(known.name, known.told(now) if is_news else None, _take_rooms(known, status, now))

    def forget(self, now: float) -> list[News]:
        """Forget the sources that have not been heard of for a while."""
        silent = [known for known in self._known.values() if now - known.heard_at >= self._forgotten_after_s]
        return [self._forget(known, now) for known in silent]

    def not_live(self, now: float) -> list[dict[str, Any]]:
        """What a client that comes now has to be told: each source that is not `live`, as in `News.source`."""
        return [known.told(now) for known in self._known.values() if known.state != "live"]

    def of_room(self, label: str, now: float) -> Iterator[tuple[str, Seconds]]:
        """What somebody who enters the room of `label` has to be told, by source."""
        for known in self._known.values():
            if label in known.until:
                if (left := known.until[label] - now) > 0:
                    yield known.name, math.ceil(left)
            elif label in known.not_asked:
                yield known.name, None

    def rows(self, now: float, may_see: Callable[[str], bool] = lambda label: True) -> list[dict[str, Any]]:
        """All of it for people who ask, by source. `may_see` tells which labels they may be named."""
        return [
            {
                **known.told(now),
                "asking": sum(until > now for until in known.until.values()),
                "not_asked": known.not_asked_count,
                "not_asked_labels": list(islice(filter(may_see, known.not_asked), MOST_NAMED)),
            }
            for _, known in sorted(self._known.items())
        ]

    def __len__(self) -> int:
        """How many sources were heard of lately."""
        return len(self._known)

    def _forget(self, known: _Known, now: float) -> News:
        del self._known[known.name]
        rooms = _take_rooms(known, SourceStatus(source=known.name), now)
        known.state, known.detail, known.resumes_at = GONE, "", None
        return News(known.name, known.told(now), rooms)


def _take_rooms(known: _Known, status: SourceStatus, now: float) -> dict[str, Seconds]:
    """Note for which labels the source is asked and for which not; returns those of which that is news."""
    news: dict[str, Seconds] = {}
    asked: dict[str, float] = {}
    for label, seconds in status.asking.items():
        if seconds > 0:
            told = known.until.get(label, -math.inf)
            grown = now + seconds > told + GROWN_S
            asked[label] = now + seconds if grown else told
            if grown:
                news[label] = math.ceil(seconds)
    not_asked = tuple(label for label in status.not_asked[:MOST_NOT_ASKED] if label not in asked)
    before: Iterable[str] = (*known.until, *known.not_asked)
    after = asked.keys() | set(not_asked)
    news |= {label: 0 for label in before if label not in after}
    news |= dict.fromkeys(set(not_asked) - set(known.not_asked))
    known.until, known.not_asked = asked, not_asked
    known.not_asked_count = max(status.not_asked_count, len(not_asked))
    return news


def _require_sane(status: SourceStatus) -> None:
    """Raise `UnreadableError` for what is well-formed and yet can't be told to anybody."""
    if not 0 < len(status.source) <= LONGEST_NAME:
        raise UnreadableError(f"a source's name of {len(status.source)} characters")
    numbers = [*status.asking.values(), *([] if status.resumes_in_s is None else [status.resumes_in_s])]
    if not all(map(math.isfinite, numbers)):
        raise UnreadableError(f"{status.source!a} counts in seconds that are no number")


def _one_line(text: str) -> str:
    """`text` without line breaks and, if it goes on and on, without its end."""
    line = " ".join(text[: 2 * LONGEST_DETAIL].split())
    return line if len(line) <= LONGEST_DETAIL else f"{line[: LONGEST_DETAIL - 1]}…"
