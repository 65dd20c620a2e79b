"""One client: a page in a browser, but for the page. It is in one room or two, of one gateway or the other."""

import asyncio
import contextlib
import random
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from benchmarks.websocket import CLOSE, PING, PONG, TEXT, after_head, frames, masked, upgrade
from tests.chaos.posts import call_number
from tests.chaos.records import Delivery, Gap, Join
from tests.chaos.rooms import ROOMS

BACKFILL = 50
ON_PAGE = 500
"""Tweets of one room that a client holds, and names when it comes back."""
RETRY_S = 0.5
COME_BACK_S = (0.1, 1.0)
"""After a lost connection a client waits for some time in between, as those of people do."""

_EVENTS = {"newTweet": False, "updateTweet": False, "destroyTweet": True}
"""Whether it is the end of a tweet."""


class Notes(Protocol):
    """Where clients note what they get."""

    def delivery(self, row: Delivery) -> None: ...

    def gap(self, row: Gap) -> None: ...

    def join(self, row: Join) -> None: ...


class Membership:
    """What a client knows of one of its rooms, over all its connections."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.seq: int | None = None
        """The greatest that it saw."""
        self.page: OrderedDict[str, int] = OrderedDict()
        """id → `mtime` of the tweets that it shows."""
        self.joined_at: float | None = None
        """When it was first in the room."""
        self.is_in = False
        self.heard = 0
        """All roll calls up to this one, since the first that it heard, or that it heard first after a gap."""
        self.newest = 0
        """The newest that it heard."""
        self._begins_anew = True
        self._ahead: set[int] = set()

    def request(self) -> dict[str, object]:
        """What it asks for now."""
        name = ROOMS[self.room].name
        if self.seq is None:
            return {"room": name, "backfill": BACKFILL}
        return {"room": name, "since": self.seq, "documents": dict(self.page)}

    def shown(self, id: str, mtime: int, seq: int, text: str) -> None:
        """There is a tweet, or a version of one."""
        self.page[id] = max(mtime, self.page.get(id, 0))
        if len(self.page) > ON_PAGE:
            self.page.popitem(last=False)
        self.seq = max(seq, self.seq or 0)
        number = call_number(text)
        if number is not None:
            self._hear(number)

    def gone(self, id: str) -> None:
        """A tweet is no more."""
        self.page.pop(id, None)

    def told_of_gap(self) -> None:
        """Something is missing, and will not come any more."""
        self._begins_anew = True

    def _hear(self, number: int) -> None:
        if number > self.newest and self._begins_anew:
            self.heard, self._begins_anew = number - 1, False
        self.newest = max(number, self.newest)
        if number > self.heard:
            self._ahead.add(number)
        while self.heard + 1 in self._ahead:
            self.heard += 1
            self._ahead.discard(self.heard)


class Client:
    """Stays in its rooms, on whichever gateway lets it in."""

    def __init__(self, number: int, rooms: Sequence[int], ports: Sequence[int], notes: Notes) -> None:
        """`ports` are the gateways; it begins with the one that its number says."""
        self.number = number
        self.memberships = {ROOMS[room].name: Membership(room) for room in rooms}
        self.connections = 0
        """How many it has had."""
        self.refused: Counter[str] = Counter()
        """Codes of refused requests."""
        self.notes = notes
        self._ports = ports
        self._turn = number

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost; without end."""
        loop = asyncio.get_running_loop()
        while True:
            port = self._ports[self._turn % len(self._ports)]
            over = loop.create_future()
            try:
                transport, _ = await loop.create_connection(
                    lambda port=port, over=over: _Connection(self, f"127.0.0.1:{port}", over),  # type: ignore[misc]
                    "127.0.0.1",
                    port,
                )
            except OSError:
                over.cancel()
            else:
                try:
                    await over
                finally:
                    transport.abort()
            for membership in self.memberships.values():
                membership.is_in = False
            self._turn += 1
            await asyncio.sleep(random.uniform(*COME_BACK_S))

    def event(self, connection: int, name: str, payload: Any, room: str) -> None:
        """Something about a room has come."""
        now = time.monotonic()
        membership = self.memberships[room]
        if name in _EVENTS:
            gone, text = _EVENTS[name], payload.get("text", "")
            id, mtime = payload["id"], payload["mtime"]
            check = 0 if gone else zlib.crc32(text.encode())
            self.notes.delivery(Delivery(self.number, connection, membership.room, now, id, mtime, gone, check))
            if gone:
                membership.gone(id)
            else:
                membership.shown(id, mtime, payload["seq"], text)
        elif name == "gap":
            membership.told_of_gap()
            self.notes.gap(Gap(self.number, membership.room, now, payload["from"], payload["to"]))

    def acknowledged(self, room: str) -> None:
        """It is in a room."""
        membership = self.memberships[room]
        membership.is_in = True
        if membership.joined_at is None:
            membership.joined_at = time.monotonic()
            self.notes.join(Join(self.number, membership.room, membership.joined_at))


class _Connection(asyncio.Protocol):
    """One connection to a gateway, from its opening to its end."""

    numbers = 0

    def __init__(self, client: Client, host: str, over: asyncio.Future[None]) -> None:
        """`over` is done when the connection has ended."""
        type(self).numbers += 1
        self._number = self.numbers
        self._client = client
        self._host = host
        self._over = over
        self._upgraded = False
        self._rest = b""
        self._asked: list[str] = []
        """Rooms by the number of the request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.write(upgrade(self._host))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        try:
            if not self._upgraded:
                rest = after_head(data)
                if rest is None:
                    self._rest = data
                    return
                self._upgraded, data = True, rest
            found, self._rest = frames(data)
        except ValueError:
            self._client.refused["handshake"] += 1
            self._transport.abort()
            return
        for opcode, payload in found:
            if opcode == TEXT:
                self._packet(payload)
            elif opcode == PING:
                self._transport.write(masked(PONG, payload))
            elif opcode == CLOSE:
                self._transport.write(masked(CLOSE, payload))
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _packet(self, payload: bytes) -> None:
        """One packet of Engine.IO, and mostly one of Socket.IO."""
        kind = payload[:2]
        if kind == b"42":
            name, *arguments = orjson.loads(payload[2:])
            if len(arguments) == 2:
                self._client.event(self._number, name, *arguments)
        elif kind == b"43":
            number, _, answer = payload[2:].partition(b"[")
            self._answered(self._asked[int(number)], orjson.loads(b"[" + answer)[0])
        elif payload == b"2":
            self._transport.write(masked(TEXT, b"3"))
        elif payload[:1] == b"0":
            self._transport.write(masked(TEXT, b"40"))
        elif kind == b"40":
            self._client.connections += 1
            for room in self._client.memberships:
                self._ask(room)
        elif kind == b"44":
            self._client.refused["connection"] += 1
            self._transport.abort()

    def _ask(self, room: str) -> None:
        if not self._transport.is_closing():
            request = orjson.dumps(["subscribe", self._client.memberships[room].request()])
            self._transport.write(masked(TEXT, b"42%d" % len(self._asked) + request))
            self._asked.append(room)

    def _answered(self, room: str, answer: Any) -> None:
        if isinstance(answer, dict) and "error" in answer:
            self._client.refused[answer["error"]["code"]] += 1
            asyncio.get_running_loop().call_later(RETRY_S, self._ask, room)
        else:
            self._client.acknowledged(room)


async def run_all(clients: Sequence[Client], *, within_s: float) -> None:
    """Run clients, which begin one after the other; without end."""
    tasks = []
    try:
        for client in clients:
            tasks.append(asyncio.create_task(client.run()))
            await asyncio.sleep(within_s / len(clients))
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
