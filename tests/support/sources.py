"""What a source needs of its surroundings, and sources made of a list."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from services.ingest.sources import Item, Notes, Source
from services.ingest.sources.report import Report
from shared.events import Event, Tweet


class MemoryNotes:
    """A source's notes (`services.ingest.sources.Notes`), kept in memory."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    async def keep(self, text: str) -> None:
        await asyncio.sleep(0)
        self.text = text


class ListSource:
    """Yields what it is given and knows how much of it was taken.

    With `resumable` its cursor is the number of items that were read, and it goes on from there.
    """

    name = "list"
    demand = None
    one_reader = False

    def __init__(
        self,
        items: Iterable[Event | None],
        *,
        can_wait: bool = True,
        resumable: bool = False,
        error: Exception | None = None,
    ) -> None:
        """An item that is None moves the cursor on alone."""
        self.can_wait = can_wait
        self.report = Report(self.name, state="live")
        self.taken: list[str] = []
        self.reads = 0
        """How often it was begun to read it."""
        self._items = items
        self._resumable = resumable
        self._error = error

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        self.reads += 1
        first = int(cursor or 0) if self._resumable else 0
        for number, event in enumerate(self._items, 1):
            if number <= first:
                continue
            if event is not None:
                self.taken.append(event.id)
            yield Item(event, str(number) if self._resumable else None)
            await asyncio.sleep(0)
        if self._error:
            raise self._error


async def event_of(stream: AsyncGenerator[Item, None]) -> Event:
    """The next event of a source that is being read."""
    while True:
        item = await anext(stream)
        if item.event is not None:
            return item.event


async def tweet_of(stream: AsyncGenerator[Item, None]) -> Tweet:
    """The next event, which has to be a tweet."""
    event = await event_of(stream)
    assert isinstance(event, Tweet)
    return event


def reading(source: Source, cursor: str | None = None) -> AsyncGenerator[Item, None]:
    """The source being read, with notes in memory."""
    return source.read(cursor, MemoryNotes())
