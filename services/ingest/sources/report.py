"""What a source says of itself: how it is, and which labels its origin is being asked for."""

import asyncio

import structlog

from services.ingest.sources.pacing import Clock, SystemClock
from shared import metrics
from shared.sources import MOST_NOT_ASKED, SourceStatus, State

log = structlog.get_logger()

MOST_LOGGED = 20
"""So many labels that a source is not asked for stand in a log line."""
LOG_NOT_ASKED_EVERY_S = 60.0
"""Anybody can want anything, and should not fill the log with it."""


class Report:
    """The one place where a source keeps its state; the application publishes it when it has changed.

    A change of state is logged, one line each, and a metric.
    """

    def __init__(self, source: str, *, state: State = "connecting", clock: Clock | None = None) -> None:
        """`source` is the source's name."""
        self.changed = asyncio.Event()
        """Set whenever something has changed; whoever publishes clears it."""
        self.state: State = state
        self._source = source
        self._clock = clock or SystemClock()
        self._detail = ""
        self._resumes_at: float | None = None
        self._asking: dict[str, float] = {}
        self._not_asked: tuple[str, ...] = ()
        self._log_not_asked_at = 0.0
        self._count()

    def live(self) -> None:
        """The origin sends."""
        self._become("live")

    def connecting(self) -> None:
        """The origin has not answered yet."""
        self._become("connecting")

    def away(self, reason: str) -> None:
        """The origin can't be reached, refuses, or has fallen silent; `reason` is one line for people."""
        self._become("away", reason)

    def spent(self, reason: str, *, resumes_in_s: float) -> None:
        """A budget is used up, and the source goes on in so many seconds."""
        self._become("spent", reason, self._clock.monotonic() + resumes_in_s)

    def asks(self, asking: dict[str, float], not_asked: tuple[str, ...]) -> None:
        """Which labels the origin is being asked for, each with the seconds until it has to work, and which not."""
        now = self._clock.monotonic()
        self._asking = {label: now + seconds for label, seconds in asking.items()}
        if not_asked != self._not_asked:
            more = len(not_asked) > len(self._not_asked)
            self._not_asked = not_asked
            metrics.SOURCE_NOT_ASKED.labels(source=self._source).set(len(not_asked))
            if more and now >= self._log_not_asked_at:
                self._log_not_asked_at = now + LOG_NOT_ASKED_EVERY_S
                log.info(
                    "watched, but the source is not asked for it: found only in what comes anyway",
                    source=self._source,
                    labels=not_asked[:MOST_LOGGED],
                    number=len(not_asked),
                )
        self.changed.set()

    def status(self) -> SourceStatus:
        """All of it, as it is now."""
        now = self._clock.monotonic()
        return SourceStatus(
            source=self._source,
            state=self.state,
            detail=self._detail,
            resumes_in_s=None if self._resumes_at is None else max(0.0, self._resumes_at - now),
            asking={label: until - now for label, until in self._asking.items() if until > now},
            not_asked=self._not_asked[:MOST_NOT_ASKED],
            not_asked_count=len(self._not_asked),
        )

    def _become(self, state: State, detail: str = "", resumes_at: float | None = None) -> None:
        if (state, detail) == (self.state, self._detail):
            self._resumes_at = resumes_at
            return
        if state in ("away", "spent"):
            log.warning(f"the source is {state}", source=self._source, reason=detail)
        elif state == "live" and self.state != "live":
            log.info("the source is live", source=self._source)
        self.state, self._detail, self._resumes_at = state, detail, resumes_at
        self._count()
        self.changed.set()

    def _count(self) -> None:
        metrics.SOURCE_LIVE.labels(source=self._source).set(self.state == "live")
