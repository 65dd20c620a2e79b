"""Where tweets come from. One file a source; `open_source` in `services.ingest.opening` chooses."""

from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from services.ingest.sources.report import Report
from shared.demand import Demand
from shared.events import Event


class Item(NamedTuple):
    """What a source yields: an event, a place to resume from, or both."""

    event: Event | None = None
    """None where the source has only moved on, past something that is no event of ours."""

    cursor: str | None = None
    """From here the source goes on after this item when it is opened again. None where it can't be resumed."""


class Notes(Protocol):
    """A few lines that a source has again after any restart: what it must not forget beside its cursor."""

    @property
    def text(self) -> str:
        """What was kept last; empty at the very first start."""
        ...

    async def keep(self, text: str) -> None:
        """Replace the text; returns when the broker has it on disk, and waits while the broker is away."""
        ...


class Source(Protocol):
    """A stream of normalised events. It knows nothing of the broker; the pump knows nothing of it."""

    name: str
    """What `Tweet.source` says."""

    can_wait: bool
    """Whether it may be left unread while the broker takes nothing. A source that can't wait is read on, and
    what does not fit the buffer is dropped and counted."""

    one_reader: bool
    """Whether its origin lets in one reader at a time, so that who is cut off from the broker must not go on reading:
    another ingest may have taken over."""

    report: Report
    """What the source says of itself to operators and readers."""

    @property
    def demand(self) -> Demand | None:
        """Where the source asks its origin for what people watch: this, which the application keeps true."""
        ...

    def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        """Everything that comes, in the source's order, from just after `cursor` on where there is one.

        Ends when the source has no more. A source that is live never ends and never raises: whatever happens to
        its origin, it says so (`report`), waits and goes on. What can't be read is logged, counted
        (`shared.metrics.SOURCE_UNREADABLE`) and skipped. It is closed in mid-read (`aclose`) when ingest stops, and
        may be read again later from another cursor.
        """
        ...


class SourceError(ValueError):
    """A source can't be opened; the message names the setting and says why."""
