"""What a client has sent and nobody has come to yet."""

import asyncio
from collections import deque
from typing import Protocol

MAX_PACKETS = 100
"""Packets that may wait; at more, nothing is read from the client until all are handled."""

MAX_BYTES = 256 * 1024
"""What they may have together."""


TURN = 20
"""Messages of one client that are handled before others have their turn."""


class Handler(Protocol):
    """Who handles what has come."""

    full: bool
    """While it is, nothing more is handed over: the client does not take the answers."""

    async def handle(self, data: str | bytes) -> None:
        """Handle one message."""

    async def transport_ended(self) -> None:
        """There will be no more of them."""

    def mind_reading(self) -> None:
        """It may be time to read from the client, or to read no more."""


class Inbox:
    """Messages of one client, handled one after the other in a task that ends with the last of them."""

    __slots__ = ("_bytes", "_ended", "_handler", "_waiting", "_working")

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        # Made for the first message, gone with the last: most clients of most times have sent nothing.
        self._waiting: deque[str | bytes] | None = None
        self._bytes = 0
        self._ended = False
        self._working: asyncio.Task[None] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def crowded(self) -> bool:
        """Whether more waits than may."""
        return self._bytes > MAX_BYTES or (self._waiting is not None and len(self._waiting) > MAX_PACKETS)

    def put(self, data: str | bytes) -> None:
        """A message has come."""
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(data)
        self._bytes += len(data)
        self._handler.mind_reading()
        self.go_on()

    def end(self) -> None:
        """The connection is lost: that is told after the message in hand; the rest is asked by nobody any more."""
        self._waiting = None
        self._bytes = 0
        self._ended = True
        self.go_on()

    def go_on(self) -> None:
        """Handle what waits, if that is not under way."""
        if self._working is None and (self._waiting or self._ended):
            self._working = asyncio.create_task(self._handle_all())

    async def _handle_all(self) -> None:
        try:
            handled = 0
            while self._waiting and not self._handler.full:
                data = self._waiting.popleft()
                self._bytes -= len(data)
                await self._handler.handle(data)
                handled += 1
                if handled % TURN == 0:
                    await asyncio.sleep(0)
            if self._ended:
                await self._handler.transport_ended()
        finally:
            self._working = None
            if not self._waiting:
                self._waiting = None
            self._handler.mind_reading()
