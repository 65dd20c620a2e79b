"""An archive in memory for a gateway's parts that ask one, and a gateway that consists of these parts alone."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgpack
import orjson

from services.gateway.arrivals import Arrivals
from services.gateway.auth import EVERYTHING, Grant
from services.gateway.catchup import CatchUp
from services.gateway.connection import Connection
from services.gateway.history import NoArchiveError
from services.gateway.holes import Hole
from services.gateway.mending import Mending
from services.gateway.outbox import Outbox
from services.gateway.outlet import Outlet
from services.gateway.rooms import Room
from services.gateway.wishes import Wish
from shared.events import Document
from shared.history import Answer, LabelsQuery, Place, Query, StatesQuery
from shared.labels import Facets, Label, parse_key
from tests.unit.newcomer import Newcomer
from tests.unit.parts import Parts

SECOND = 1_000_000
NOW = 1_000_000 * SECOND


class ArchiveInMemory:
    """Answers as the archive does, from a list of documents, with `most` of them at a time."""

    def __init__(self, most: int = 10_000) -> None:
        self.documents: list[Document] = []
        self.most = most
        self.is_here = True
        self.expected = True
        self.lags = asyncio.Event()
        self.lags.set()
        """Cleared while it has not stored all that was published."""
        self.asked: list[Query] = []
        self.meanwhile: Callable[[Query], None] = lambda _: None
        """Called when an answer is made and not yet there."""
        self.complete_to: int | None = None
        """What it says in answer to a mark, if not the newest `seq` that it has."""

    @property
    def newest(self) -> int | None:
        """The greatest `seq` that it has spoken of."""
        return None

    async def here(self, patience_s: float) -> bool:
        """As `History`."""
        return self.is_here

    async def caught_up(self) -> int:
        """As `History`."""
        await asyncio.sleep(0)
        await self.lags.wait()
        if not self.is_here:
            raise NoArchiveError("away")
        return self._newest() if self.complete_to is None else self.complete_to

    async def ask(self, query: Query) -> Answer:
        """As `History`."""
        self.asked.append(query)
        await asyncio.sleep(0)
        if not self.is_here:
            raise NoArchiveError("away")
        answer = self._answer(query)
        self.meanwhile(query)
        return answer

    def _answer(self, query: Query) -> Answer:
        if isinstance(query, StatesQuery):
            return self._of([one for one in self._current() if one["id"] in query.ids], 0)
        if isinstance(query, LabelsQuery):
            labels = [parse_key(key) for key in query.labels]
            found = [one for one in self._current() if any(_matches(label, one) for label in labels)]
            until = query.until if query.until is not None else self._newest()
            found = [one for one in found if query.since < one["seq"] <= until]
            return self._page(found, min(query.limit, self.most), query.since)
        label = parse_key(query.label)
        found = [one for one in self._current() if _matches(label, one)]
        if query.before is not None:
            found = [one for one in found if _place(one) < query.before]
        limit = min(query.limit, self.most)
        if query.since is None:
            return self._page(found, limit, 0)
        newer = [one for one in found if one["seq"] > query.since]
        if len(newer) >= query.least:
            return self._page(newer, limit, query.since)
        return self._page(found, min(limit, query.least), 0)

    def _page(self, found: list[Document], limit: int, from_seq: int) -> Answer:
        found = sorted(found, key=_place, reverse=True)
        return self._of(found[:limit], found[limit]["seq"] if len(found) > limit else from_seq)

    def _of(self, found: list[Document], from_seq: int) -> Answer:
        packed = [msgpack.packb(one) for one in found]
        return Answer(documents=packed, from_seq=from_seq, complete_to=self._newest())

    def _current(self) -> list[Document]:
        newest: dict[str, Document] = {}
        for one in sorted(self.documents, key=lambda one: (one["mtime"], one["action"] == "destroy")):
            newest[one["id"]] = one
        return list(newest.values())

    def _newest(self) -> int:
        return max((int(one["seq"]) for one in self.documents), default=0)


class ListeningOutbox(Outbox):
    """Remembers what rooms were told, and tells nobody."""

    def __init__(self) -> None:
        super().__init__(list)
        self.told: list[tuple[str, bytes]] = []

    def put(self, outlet: Outlet[Connection], event: bytes, seq: int | None = None) -> None:
        """Remember what a room was told."""
        assert isinstance(outlet, Room)
        self.told.append((outlet.name, event))


class World:
    """The parts of a gateway between its archive and its rooms."""

    def __init__(self, *, remembered: int = 1000, most: int = 10_000) -> None:
        self.archive = ArchiveInMemory(most)
        self.outbox = ListeningOutbox()
        parts = Parts(remembered=remembered, outbox=self.outbox)
        self.rooms, self.versions = parts.rooms, parts.versions
        self.fanout, self.followers = parts.fanout, parts.followers
        history = cast(Any, self.archive)
        self.received: int | None = NOW
        self.catchup = CatchUp(history, self.versions, self.fanout, received=lambda: self.received)
        self.mending = Mending(self.catchup, history, self.rooms, self.fanout.tell_gap, lambda _: None)
        self.arrivals = Arrivals(
            self.catchup, self.versions, self.outbox, self.followers, send_buffer_bytes=10_000_000
        )
        self.catchup.bound()

    async def comes(self, name: str = "nfl", grant: Grant = EVERYTHING, **wish: Any) -> Newcomer:
        """Somebody enters a room, with a wish."""
        newcomer = Newcomer(grant)
        member, label = cast(Connection, newcomer), Label("term", name)
        opens = label not in self.rooms
        room = self.rooms.come(member, label)
        if opens:
            self.catchup.opening(room)
        asked = Wish(name, **wish)
        if asked.looks_back:
            await self.arrivals.prepare(room, asked)
        self.rooms.join(member, label, self.arrivals.tell(member, room, asked))
        self.catchup.opened(room)
        return newcomer

    @property
    def told(self) -> list[tuple[str, bytes]]:
        """What rooms were told: room and event."""
        return self.outbox.told

    @told.setter
    def told(self, told: list[tuple[str, bytes]]) -> None:
        self.outbox.told = told

    @property
    def gaps(self) -> list[tuple[str, Hole]]:
        """The gaps that rooms were told of."""
        events = [(room, orjson.loads(event.removeprefix(b"2"))) for room, event in self.told]
        return [(room, Hole(event[1]["from"], event[1]["to"])) for room, event in events if event[0] == "gap"]

    def brings(self, text: str) -> int:
        """How often a room was told of a text."""
        return sum(text.encode() in event for _, event in self.told)

    def room(self, name: str = "nfl") -> Room[Connection]:
        """An open room."""
        room = self.rooms.with_key(Label("term", name).key)
        assert room is not None
        return room

    def lives(self, documents: Iterable[Document], name: str | None = "nfl") -> None:
        """Documents come from the broker, matching a room or none."""
        for document in documents:
            self.fanout.take(document, [self.room(name)] if name else [])

    async def end(self) -> None:
        """End what is under way."""
        await self.mending.stop()
        await self.catchup.stop()


def _matches(label: Label, document: Document) -> bool:
    if label.family == "action":
        return bool(document["action"] == label.value)
    return document["action"] != "destroy" and label.matches(Facets.of_document(document))


def _place(document: Document) -> Place:
    return Place(document["seq"], document["id"])
