"""Where tweets come from. One file a source; `open_source` in `services.ingest.app` chooses."""

from collections.abc import AsyncIterator
from typing import Protocol

from shared.events import Event


class Source(Protocol):
    """A stream of normalised events. It knows nothing of the broker; the pump knows nothing of it."""

    name: str
    """What `Tweet.source` says."""

    can_wait: bool
    """Whether it loses nothing when nobody reads it for a while. A source that can't wait is read on while
    the broker refuses, and what does not fit the buffer is dropped and counted."""

    def events(self) -> AsyncIterator[Event]:
        """Every event, in the source's order, as it comes. Ends when the source has no more.

        What can't be read is logged, counted (`shared.metrics.SOURCE_UNREADABLE`) and skipped.
        """
        ...


class SourceError(ValueError):
    """A source can't be opened; the message names the setting and says why."""
