"""Between Bluesky's stream and whoever reads the source: a few posts in order, some waiting for their author."""

import asyncio
from collections import OrderedDict, deque
from typing import NamedTuple

from services.ingest.sources import Item
from services.ingest.sources.bluesky_api.handles import Authors, Waiter
from services.ingest.sources.bluesky_api.payload import Author, Key, signed
from services.ingest.sources.changes import Changes
from services.ingest.sources.pacing import Clock
from shared.events import Event, Tweet

MOST_PENDING = 1000
"""Items that nobody has taken yet; while there are so many, nothing more is received."""
MOST_PENDING_BYTES = 16 * 1024 * 1024
"""And as received they are no more than about this."""
PATIENCE_S = 1.0
"""So long a post waits for its author, from its arrival on."""
MOST_SEEN = 20_000
"""Changes that are remembered: minutes of the stream, where going back takes seconds."""


class _Pending(NamedTuple):
    event: Event | None
    cursor: str
    author: Author | Waiter | None
    size: int


class Window:
    """Items in the order of their arrival. An item that waits for its author holds up those behind it, but the
    second that each may wait begins when it arrives: however many there are, they wait together.
    """

    def __init__(self, authors: Authors, clock: Clock) -> None:
        self._authors = authors
        self._clock = clock
        self._items: deque[_Pending] = deque()
        self._size = 0
        self._due: deque[tuple[float, Waiter]] = deque()
        self._changes = Changes()
        self._waits = asyncio.Event()
        self._broken: BaseException | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be put in."""
        return len(self._items) >= MOST_PENDING or self._size >= MOST_PENDING_BYTES

    def put(self, event: Event | None, cursor: str, *, size: int) -> None:
        """Add what has been received: `size` is the bytes it took."""
        author: Author | Waiter | None = None
        if isinstance(event, Tweet):
            author = self._authors.author(event.user.id)
            if isinstance(author, asyncio.Future):
                self._due.append((self._clock.monotonic() + PATIENCE_S, author))
                self._waits.set()
        self._items.append(_Pending(event, cursor, author, size))
        self._size += size
        self._changes.tell()

    async def room(self) -> None:
        """Come back when something more may be put in."""
        while self.is_full:
            await self._changes.wait()

    async def take(self) -> Item:
        """The oldest item, with its author or without."""
        while not self._items:
            if self._broken is not None:
                raise self._broken
            await self._changes.wait()
        event, cursor, author, size = self._items[0]
        if isinstance(author, asyncio.Future):
            author = await author
        self._items.popleft()
        self._size -= size
        self._changes.tell()
        return Item(signed(event, author) if isinstance(event, Tweet) else event, cursor)

    async def run(self) -> None:
        """Let nobody wait for an author longer than `PATIENCE_S`; without end."""
        while True:
            if not self._due:
                self._waits.clear()
                await self._waits.wait()
            deadline, waiter = self._due[0]
            rest = deadline - self._clock.monotonic()
            if waiter.done():
                self._due.popleft()
            elif rest > 0:
                await self._clock.sleep(rest)
            else:
                self._authors.lapse(waiter)

    def break_off(self, work: asyncio.Task[None]) -> None:
        """What should fill the window has ended, by a mistake of ours: whoever takes the next item is told."""
        if not work.cancelled():
            self._broken = work.exception() or RuntimeError("the stream has ended")
            self._changes.tell()


class Seen:
    """The changes that were read last, by which those read once more are known."""

    def __init__(self, most: int = MOST_SEEN) -> None:
        self._most = most
        self._keys: OrderedDict[Key, None] = OrderedDict()

    def is_new(self, key: Key) -> bool:
        """Whether it has not been seen; from now on it has."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)
        return True
