"""The load generator: up to ten thousand Socket.IO clients in one process, without a library for each.

    python -m benchmarks.load

obeys commands (`benchmarks.control`). Clients stand in groups; each command names one. The processor time that it
used itself is told with what it measured: near a whole core the figures would be its own.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

import uvloop

from benchmarks.control import Answer, obey, own_output
from benchmarks.figures import percentile
from benchmarks.tweets import SENT
from benchmarks.websocket import CLOSE, PING, PONG, TEXT, after_head, frames, masked, upgrade

ADDRESSES = 100
"""Source addresses, 127.0.0.2 and those after it: no limit for one address is met, nor the end of its ports."""

UID = "news"
"""The name of subscriptions whose tweets are counted."""

STALLED_RECEIVE_BUFFER = 4096
"""Bytes asked for: the kernel rounds up."""

_POLL_S = 0.005
_SENT = SENT.encode()
_DIGITS = 19
_TWEETS = (b'42["newTweet"', f'42["{UID}:tweet:create"'.encode())
"""How packets begin that bring a tweet: to a room, to a subscription."""

_JOINED = b"43"
_REFUSED = b'430[{"error"'
_RESET = struct.pack("ii", 1, 0)
"""`SO_LINGER` of a connection that is reset when it is closed."""

_COMMANDS = (
    "connect",
    "reset",
    "await_tweets",
    "await_total",
    "total",
    "busy",
    "latencies",
    "await_closed",
    "open",
    "close",
)


Subscription = str | dict[str, Any]
"""What a client subscribes to: a room, or whatever else `subscribe` takes."""


class Group:
    """Clients that belong together."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.latencies: list[int] = []
        """Nanoseconds from sending to arrival of each timed tweet."""


class Member(asyncio.Protocol):
    """One client: connects, subscribes to its room or collection, counts what comes."""

    def __init__(
        self, group: Group, host: str, room: Subscription, joined: asyncio.Future[None], *, stalled: bool
    ) -> None:
        self._group = group
        self._host = host
        self._room = room
        self._joined = joined
        self._stalled = stalled
        self._upgraded = False
        self._rest = b""
        self.tweets = 0
        self.bytes = 0
        self.closed = False
        self.transport: asyncio.Transport | None = None

    async def joined(self) -> None:
        """Wait until the server has acknowledged the subscription; raises `ConnectionError` where it refused."""
        await self._joined

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask for a WebSocket."""
        self.transport = transport
        transport.write(upgrade(self._host))

    def data_received(self, data: bytes) -> None:
        """Count the tweets, and answer what wants an answer."""
        self.bytes += len(data)
        if self._rest:
            data = self._rest + data
        try:
            if not self._upgraded:
                rest = after_head(data)
                if rest is None:
                    self._rest = data
                    return
                self._upgraded = True
                data = rest
            found, self._rest = frames(data)
        except ValueError as error:
            self._fail(error)
            return
        now = time.monotonic_ns()
        for opcode, payload in found:
            if opcode == TEXT and payload.startswith(_TWEETS):
                self.tweets += 1
                place = payload.find(_SENT)
                if place >= 0:
                    sent = payload[place + len(_SENT) : place + len(_SENT) + _DIGITS]
                    self._group.latencies.append(now - int(sent))
            else:
                self._control(opcode, payload)

    def leave(self) -> None:
        """End the connection at once and for good: no port is kept for a minute, as after a closing in good order."""
        if self.transport is not None and not self.transport.is_closing():
            own = self.transport.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The end."""
        self.closed = True
        self._fail(ConnectionError(f"the server closed the connection: {error}"))

    def _control(self, opcode: int, payload: bytes) -> None:
        assert self.transport is not None
        if opcode == TEXT:
            kind = payload[:2]
            if payload == b"2":
                self.transport.write(masked(TEXT, b"3"))
            elif payload[:1] == b"0":
                self.transport.write(masked(TEXT, b"40"))
            elif kind == b"40":
                request = json.dumps(["subscribe", self._room], separators=(",", ":")).encode()
                self.transport.write(masked(TEXT, b"420" + request))
            elif kind == _JOINED and not self._joined.done():
                if payload.startswith(_REFUSED):
                    self._fail(ConnectionError(f"refused: {payload.decode(errors='replace')}"))
                    return
                self._joined.set_result(None)
                if self._stalled:
                    self.transport.pause_reading()
            elif kind == b"44":
                self._fail(ConnectionError(f"refused: {payload.decode(errors='replace')}"))
        elif opcode == CLOSE:
            self.transport.write(masked(CLOSE, payload))
            self.transport.close()
        elif opcode == PING:
            self.transport.write(masked(PONG, payload))

    def _fail(self, error: Exception) -> None:
        if not self._joined.done():
            self._joined.set_exception(error)
            if self.transport is not None:
                self.transport.abort()


class Load:
    """The commands."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._addresses = itertools.cycle(f"127.0.0.{2 + number}" for number in range(ADDRESSES))
        self._since = (time.monotonic(), time.process_time())

    async def connect(
        self,
        *,
        group: str,
        port: int,
        count: int,
        rooms: Sequence[Subscription],
        under_way: int = 100,
        stalled: bool = False,
        timeout_s: float = 50.0,
    ) -> Answer:
        """Make `count` clients, in the rooms by turns, `under_way` at a time; each has joined its room at the end."""
        into = self._groups.setdefault(group, Group())
        wanted = zip(range(count), itertools.cycle(rooms), strict=False)
        began = time.monotonic()
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as workers:
            for _ in range(under_way):
                workers.create_task(self._connect_some(into, port, wanted, stalled))
        took = time.monotonic() - began
        return {"connected": count, "seconds": took, "per_s": count / took}

    async def reset(self, *, group: str) -> Answer:
        """Count from here on, tweets and our own processor time."""
        members = self._groups[group]
        for member in members.members:
            member.tweets = 0
        members.latencies.clear()
        self._since = (time.monotonic(), time.process_time())
        return {}

    async def await_tweets(self, *, group: str, each: int, timeout_s: float) -> Answer:
        """Wait until every client of the group has had `each` tweets since `reset`; none may have more."""
        members = self._groups[group].members
        deadline = time.monotonic() + timeout_s
        while min(member.tweets for member in members) < each:
            if time.monotonic() > deadline:
                lacking = sum(member.tweets < each for member in members)
                raise TimeoutError(f"{lacking} of {len(members)} clients lack tweets after {timeout_s:.0f} s")
            await asyncio.sleep(_POLL_S)
        if max(member.tweets for member in members) > each:
            raise ValueError("a client has tweets that were not sent to it")
        return {"tweets": sum(member.tweets for member in members)}

    async def await_total(self, *, group: str, total: int, timeout_s: float) -> Answer:
        """Wait until the clients of the group have had `total` tweets together since `reset`."""
        members = self._groups[group].members
        deadline = time.monotonic() + timeout_s
        while (had := sum(member.tweets for member in members)) < total:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{had} of {total} tweets after {timeout_s:.0f} s")
            await asyncio.sleep(_POLL_S)
        return {"tweets": had}

    async def total(self, *, group: str) -> Answer:
        """How many tweets the clients of the group have had together since `reset`."""
        return {"tweets": sum(member.tweets for member in self._groups[group].members)}

    async def busy(self) -> Answer:
        """Which share of the time since `reset`, or since the last `busy`, this process used its core."""
        began, used = self._since
        self._since = now = (time.monotonic(), time.process_time())
        return {"share": (now[1] - used) / max(1e-9, now[0] - began)}

    async def latencies(self, *, group: str) -> Answer:
        """Percentiles, in ms, of the tweets that came since `reset`; in `all_us` each of them, the least first."""
        sample = sorted(self._groups[group].latencies)
        return {
            "all_us": [one // 1000 for one in sample],
            "number": len(sample),
            "p50_ms": percentile(sample, 50) / 1e6,
            "p99_ms": percentile(sample, 99) / 1e6,
            "max_ms": sample[-1] / 1e6,
        }

    async def await_closed(self, *, group: str, timeout_s: float) -> Answer:
        """Wait until the server has closed every connection of the group."""
        members = self._groups[group].members
        began = time.monotonic()
        while open_ := sum(not member.closed for member in members):
            if time.monotonic() > began + timeout_s:
                raise TimeoutError(f"{open_} connections are open after {timeout_s:.0f} s")
            await asyncio.sleep(_POLL_S)
        del self._groups[group]
        return {"seconds": time.monotonic() - began}

    async def open(self, *, group: str) -> Answer:
        """How many connections of the group are open."""
        return {"open": sum(not member.closed for member in self._groups[group].members)}

    async def close(self, *, group: str) -> Answer:
        """Go, without a word."""
        for member in self._groups.pop(group).members:
            member.leave()
        return {}

    def leave(self) -> None:
        """All go."""
        for group in self._groups.values():
            for member in group.members:
                member.leave()

    async def _connect_some(
        self, group: Group, port: int, wanted: Iterator[tuple[int, Subscription]], stalled: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        for _, room in wanted:
            own = socket.socket()
            with contextlib.ExitStack() as unless_connected:
                unless_connected.callback(own.close)
                # Else each connection keeps its port from whoever wants to listen on all addresses.
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if stalled:
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_RECEIVE_BUFFER)
                own.bind((next(self._addresses), 0))
                # On loopback this is one system call and no wait: fewer are under way than the server's backlog.
                own.connect(("127.0.0.1", port))
                own.setblocking(False)
                member = Member(group, f"127.0.0.1:{port}", room, loop.create_future(), stalled=stalled)
                await loop.create_connection(lambda member=member: member, sock=own)  # type: ignore[misc]
                unless_connected.pop_all()
            group.members.append(member)
            await member.joined()


async def main(output: IO[str]) -> None:
    """Obey until the input ends."""
    load = Load()
    try:
        await obey(output, {name: getattr(load, name) for name in _COMMANDS})
    finally:
        load.leave()
        await asyncio.sleep(0)


if __name__ == "__main__":
    uvloop.run(main(own_output()))
