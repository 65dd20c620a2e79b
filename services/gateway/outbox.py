"""What waits to be sent, and when it leaves."""

import asyncio
from collections.abc import Callable, Collection, Iterable

import structlog

from services.gateway import frames
from services.gateway.connection import Connection
from services.gateway.outlet import Outlet
from shared import metrics

log = structlog.get_logger()

LONGEST_WAIT_S = 0.01
"""For so long at most what is to be sent waits for company, under load."""

MAX_WAITING_BYTES = 256 * 1024
"""What waits for one outlet at most; more leaves at once, so that no write is far above the bound of a connection."""


class Outbox:
    """Sends what is told to many.

    It is encoded once and waits until the next flush; then all of it goes to each member in one piece. An idle
    gateway flushes in the next turn of its loop. After a flush the next one comes no sooner than that one took, and
    `LONGEST_WAIT_S` later at most: the more there is to do, the more leaves in one write.
    """

    def __init__(self, everybody: Callable[[], Iterable[Connection]]) -> None:
        """`everybody` are all clients, in rooms or not."""
        self._everybody = everybody
        self._waiting: dict[Outlet[Connection], frames.Batch] = {}
        self._flushing: asyncio.Handle | None = None
        self._waiting_since = 0.0
        self._rest_until = 0.0

    def put(self, outlet: Outlet[Connection], event: bytes, seq: int | None = None) -> None:
        """Send the members of an outlet one more event; `seq` is that of the tweet it brings, if it brings one."""
        batch = self._waiting.get(outlet)
        if batch is None:
            batch = self._waiting[outlet] = frames.Batch()
        batch.add(event, seq)
        if batch.size > MAX_WAITING_BYTES:
            self.settle(outlet)
        elif self._flushing is None:
            loop = asyncio.get_running_loop()
            self._waiting_since = loop.time()
            if self._waiting_since >= self._rest_until:
                self._flushing = loop.call_soon(self.flush)
            else:
                self._flushing = loop.call_at(self._rest_until, self.flush)

    def send_one(self, member: Connection, outlet: Outlet[Connection], batch: frames.Batch) -> None:
        """Send one member what concerns nobody else. What waits for all has to be settled before."""
        if member.ready is not None:
            member.ready(batch.wire)
        else:
            member.deliver(outlet, batch)

    def put_some(
        self, outlet: Outlet[Connection], members: Collection[Connection], event: bytes, seq: int | None = None
    ) -> None:
        """Send some members of an outlet one more event, in one piece with others where that goes to all of them."""
        if len(members) == len(outlet.members):
            self.put(outlet, event, seq)
        elif members:
            self.settle(outlet)
            batch = frames.Batch()
            batch.add(event, seq)
            for member in members:
                self.send_one(member, outlet, batch)

    def send_everybody(self, event: bytes) -> None:
        """Send every client an event."""
        batch = frames.Batch()
        batch.add(event)
        for connection in self._everybody():
            if connection.ready is not None:
                connection.ready(batch.wire)
            else:
                connection.post(batch.packets[0])

    def settle(self, outlet: Outlet[Connection]) -> None:
        """Send what waits for an outlet now: before somebody joins or leaves, or is told something else than all."""
        batch = self._waiting.pop(outlet, None)
        if batch is not None:
            _send(outlet, batch)

    def flush(self) -> None:
        """Send all that waits."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        waiting, self._waiting = self._waiting, {}
        for outlet, batch in waiting.items():
            try:
                _send(outlet, batch)
            except Exception:
                # One room's trouble is not the others'.
                log.exception("the members of a room could not be told", events=len(batch.events))
        ended = loop.time()
        self._rest_until = ended + min(ended - began, LONGEST_WAIT_S)
        metrics.GATEWAY_FLUSHES.inc()

    def flush_if_late(self) -> None:
        """Send all that waits, where messages come so fast that the loop has had no turn for it."""
        if self._flushing is not None and asyncio.get_running_loop().time() > self._waiting_since + LONGEST_WAIT_S:
            self.flush()


def _send(outlet: Outlet[Connection], batch: frames.Batch) -> None:
    wire = batch.wire
    for member in outlet.members:
        # The way of nearly all: uvloop gathers what is written to a transport in one turn of the loop, of several
        # rooms too, and makes one system call of it.
        if member.ready is not None:
            member.ready(wire)
        else:
            member.deliver(outlet, batch)
