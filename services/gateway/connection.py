"""One client: what it is sent, and what it misses when it does not keep up."""

import asyncio
import time
from collections import deque

from aiohttp import WSCloseCode
from engineio import packet

from services.gateway import frames
from services.gateway.auth import EVERYTHING, Grant
from services.gateway.engine import Engine, Socket, Visitor
from services.gateway.holes import Hole, gap
from services.gateway.limits import Pace
from services.gateway.outlet import Outlet
from shared import metrics

TOKEN_EXPIRED = 4401
"""Code of a WebSocket that was closed because its token expired (RFC 6455, 7.4.2: from 4000 on they are ours)."""

REFUSAL_PATIENCE_S = 5.0
"""How long a polling client that was refused may take to ask for the answer. Most then go by themselves."""

MAX_KEPT = 1000
"""Events of one room that a client which does not keep up is told later; of more the newest."""

LONGEST_TIMER_S = 24 * 3600.0
"""The clock is looked at again after this: tokens end by the clock on the wall, timers run by another one."""


class _Missed:
    """What a client was not sent of a room."""

    __slots__ = ("first_seq", "kept", "last_seq", "tweets")

    def __init__(self) -> None:
        self.tweets = 0
        self.first_seq: int | None = None
        self.last_seq: int | None = None
        self.kept: deque[bytes] = deque(maxlen=MAX_KEPT)
        """What it is told later: deletions, above all."""

    def add(self, batch: frames.Batch) -> None:
        """A batch was not sent."""
        self.tweets += batch.tweets
        self.kept += batch.kept
        if batch.tweets:
            self.first_seq = batch.first_seq if self.first_seq is None else self.first_seq
            self.last_seq = batch.last_seq


class Connection(Socket):
    """One client.

    What waits for it is bounded. A client that takes nothing for so long that the bound is reached is sent no more
    tweets until part of it has gone out; then a `gap` tells it how many it missed of each room, and what was deleted
    meanwhile it is told, too. One that takes too little for too long is cut off.
    """

    def __init__(self, server: "Engine[Connection]", sid: str, visitor: Visitor, *, stalled_after_s: float) -> None:
        super().__init__(server, sid, visitor)
        self.grant: Grant = EVERYTHING
        """What it may see."""
        self.places = 0
        """How many rooms it takes the place of (`services.gateway.places`)."""
        self.pace: Pace | None = None
        """How often it may subscribe, once it has."""
        self._stalled_after_s = stalled_after_s
        self._missed: dict[Outlet[Connection], _Missed] | None = None
        self._cutting: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None

    def deliver(self, outlet: Outlet["Connection"], batch: frames.Batch) -> None:
        """Deliver to one that is not `ready`: it polls, does not keep up, or is at its end."""
        if self._missed is not None:
            metrics.GATEWAY_SKIPPED.inc(batch.tweets)
            self._missed.setdefault(outlet, _Missed()).add(batch)
        elif not self.upgraded:
            for pkt in batch.packets:
                self.post(pkt)

    def emit(self, name: str, *arguments: object) -> None:
        """Send this client an event."""
        self._post_event(frames.event(name, *map(frames.json, arguments)))

    def forget(self, outlet: Outlet["Connection"]) -> None:
        """It has left a room: what it missed there is of no interest."""
        if self._missed:
            self._missed.pop(outlet, None)

    def forget_all(self) -> None:
        """It has left all rooms."""
        if self._missed:
            self._missed.clear()

    def expire(self, at: float | None) -> None:
        """End the connection at a Unix time, if any. The client may come back with a new token."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if at is None:
            return
        left_s = at - time.time()
        if left_s > 0:
            self._expiry = asyncio.get_running_loop().call_later(min(left_s, LONGEST_TIMER_S), self.expire, at)
        else:
            self.end(TOKEN_EXPIRED, "the token has expired")

    def refuse(self) -> None:
        """End the connection, once it has been told why in answer to its CONNECT."""
        loop = asyncio.get_running_loop()
        # The library answers in this very turn of the loop, as soon as the handler that calls us has raised.
        loop.call_soon(self.end, WSCloseCode.POLICY_VIOLATION, "refused", REFUSAL_PATIENCE_S)

    def filled(self) -> None:
        """It does not keep up."""
        self._missed = {}
        self._cutting = asyncio.get_running_loop().call_later(self._stalled_after_s, self._cut_off)
        metrics.GATEWAY_STALLED.inc()

    def drained(self) -> None:
        """It keeps up again."""
        missed = self._no_longer_stalled()
        for outlet, of_it in missed.items():
            if of_it.tweets:
                told = gap(Hole(of_it.first_seq, of_it.last_seq), of_it.tweets)
                self._post_event(outlet.event("gap", frames.json(told)))
                metrics.GATEWAY_GAPS.inc()
            for event in of_it.kept:
                self._post_event(event)

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session, as its base does."""
        await super().close(wait, abort, reason)
        self._no_longer_stalled()
        self.expire(None)

    def _post_event(self, event: bytes) -> None:
        self.post(packet.Packet(packet.MESSAGE, event.decode()))

    def _no_longer_stalled(self) -> dict[Outlet["Connection"], _Missed]:
        """Count the time no longer; returns what it missed."""
        missed, self._missed = self._missed, None
        if self._cutting is not None:
            self._cutting.cancel()
            self._cutting = None
            metrics.GATEWAY_STALLED.dec()
        return missed or {}

    def _cut_off(self) -> None:
        metrics.GATEWAY_CUT_OFF.inc()
        self.cut("too slow")
