"""Between the stream that X sends and whoever reads the source."""

from collections import deque

from services.ingest.sources import Item
from services.ingest.sources.changes import Changes
from services.ingest.sources.pacing import Clock


class Handover:
    """A few items, in order. It knows for how long the oldest has waited: that is how a reader who has stopped
    reading is noticed, long before there is no room left.
    """

    def __init__(self, clock: Clock, most: int) -> None:
        """`most` items find room."""
        self._clock = clock
        self._most = most
        self._items: deque[tuple[float, Item]] = deque()
        self._changes = Changes()
        self._closed = False

    def waiting_since(self) -> float | None:
        """When the oldest item was put in, on the clock's `monotonic`; None where there is none."""
        return self._items[0][0] if self._items else None

    def put(self, item: Item) -> None:
        """Hand over an item; the caller has waited for `room`."""
        self._items.append((self._clock.monotonic(), item))
        self._changes.tell()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._changes.tell()

    async def room(self) -> None:
        """Come back when there is room for an item."""
        while len(self._items) >= self._most:
            await self._changes.wait()

    async def emptied(self) -> None:
        """Come back when every item has been taken."""
        while self._items:
            await self._changes.wait()

    async def get(self) -> Item | None:
        """Take the oldest item; None when nothing more will come."""
        while not self._items:
            if self._closed:
                return None
            await self._changes.wait()
        _, item = self._items.popleft()
        self._changes.tell()
        return item
