"""What a source could not read: counted each time, said once per kind."""

import structlog

from shared.metrics import SOURCE_UNREADABLE

log = structlog.get_logger()


class Unreadables:
    """Keeps account of what one source skips, so that a flood of it does not flood the log."""

    def __init__(self, source: str) -> None:
        """`source` is the source's name."""
        self._source = source
        self._told: set[str] = set()

    def skip(self, reason: str, detail: str) -> None:
        """Count something that is skipped. `reason` is one of a few fixed words, `detail` is for people."""
        SOURCE_UNREADABLE.labels(source=self._source, reason=reason).inc()
        if reason not in self._told:
            self._told.add(reason)
            log.warning(
                "the source sent something unreadable",
                source=self._source,
                reason=reason,
                detail=detail,
                note="skipped; more of this kind are only counted",
            )
