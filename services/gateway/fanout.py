"""From a message of the broker to the members of its rooms."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from services.gateway import frames
from services.gateway.connection import Connection
from services.gateway.followers import Followers
from services.gateway.holes import Hole
from services.gateway.rooms import Room, Rooms
from services.gateway.versions import Delivery, Versions
from shared import feed, metrics
from shared.broker import Message
from shared.events import Action, Document, UnreadableError
from shared.labels import Facets, Label

log = structlog.get_logger()

EVENTS = {Action.CREATE: "newTweet", Action.UPDATE: "updateTweet", Action.DESTROY: "destroyTweet"}
"""The Socket.IO event for what a tweet is to a room."""

LONGEST_WAIT_S = 0.01
"""For so long at most what is to be sent waits for company, under load."""

MAX_WAITING_BYTES = 256 * 1024
"""What waits for one room at most; more leaves at once, so that no write is far above the bound of a connection."""


class Fanout:
    """Delivers tweets to the members of rooms.

    What is told to a room is encoded once and waits until the next flush; then all of it goes to each member in one
    piece. An idle gateway flushes in the next turn of its loop. After a flush the next one comes no sooner than that
    one took, and `LONGEST_WAIT_S` later at most: the more there is to do, the more leaves in one write.
    """

    def __init__(
        self,
        rooms: Rooms[Connection],
        versions: Versions[Connection],
        everybody: Callable[[], Iterable[Connection]],
    ) -> None:
        """`everybody` are all clients, in rooms or not."""
        self._rooms = rooms
        self._everybody = everybody
        self._versions = versions
        self.followers: Followers[Connection] = Followers()
        self._waiting: dict[Room[Connection], frames.Batch] = {}
        self._flushing: asyncio.Handle | None = None
        self._waiting_since = 0.0
        self._rest_until = 0.0

    def deliver(self, message: Message) -> list[Document]:
        """One message of the broker to all rooms that it matches; returns the documents that it brought."""
        try:
            documents = feed.unpack(message.body, message.headers)
        except UnreadableError as error:
            self._unreadable(message, str(error))
            return []
        keys = feed.labels(message.routing_key, message.headers)
        rooms = [room for key in keys if (room := self._rooms.with_key(key)) is not None]
        for document in documents:
            metrics.GATEWAY_RECEIVED.inc()
            try:
                if not self.take(document, rooms):
                    metrics.GATEWAY_NOTHING_NEW.inc()
            except (TypeError, RecursionError) as error:
                self._unreadable(message, f"no JSON can be made of it: {error}")
        if self._flushing is not None and asyncio.get_running_loop().time() > self._waiting_since + LONGEST_WAIT_S:
            # Messages come so fast that the loop has had no turn for it.
            self.flush()
        return documents

    def take(
        self,
        document: Document,
        rooms: Iterable[Room[Connection]],
        is_news: Callable[[Delivery[Connection]], bool] = lambda _: True,
        *,
        from_past: bool = False,
    ) -> bool:
        """One event that matches `rooms`, to those who have to be told; returns whether it has changed anything.

        `is_news` tells whether the members of a room lack what was not in its memory. Raises `TypeError` or
        `RecursionError` where no JSON can be made of the document.
        """
        deliveries = self._versions.apply(document, rooms, from_past=from_past)
        told = set()
        for delivery in deliveries:
            if delivery.room.members and is_news(delivery):
                self._tell_room(document["id"], delivery)
                told.add(delivery.room)
        if document["action"] != Action.CREATE:
            self._tell_followers(document, told)
        return bool(deliveries)

    def _tell_room(self, id: str, delivery: Delivery[Connection]) -> None:
        """Tell the members of a room, but for those who were told of this version when the room did not show it."""
        action, room, json, seq = delivery
        event = frames.event(EVENTS[action], json, room.json)
        counted = None if action is Action.DESTROY else seq
        known = self._versions.get(id)
        holders = self.followers.holding(id, room, known.newest[0]) if known is not None and not known.gone else ()
        if not holders:
            self._wait(room, event, counted)
        else:
            self._flush_room(room)
            batch = frames.Batch()
            batch.add(event, counted)
            for member in room.members.difference(holders):
                self.tell_one(member, room, batch)
        metrics.GATEWAY_DELIVERIES.labels(event=EVENTS[action]).inc()

    def _tell_followers(self, document: Document, told: set[Room[Connection]]) -> None:
        """Tell those who hold a tweet that their room was not shown, but for the rooms that are `told`."""
        known = self._versions.get(document["id"])
        if known is None or known.newest != (document["mtime"], Action(document["action"]).rank):
            return
        if known.gone:
            following = self.followers.gone(document["id"])
        else:
            following = self.followers.updated(document["id"], document["mtime"])
        facets = Facets.of_document(document) if following else None
        name = EVENTS[Action(document["action"])]
        for member, room in following:
            # A token grants rooms, and no tweets beside them that somebody names.
            may_know = known.gone or member.grant.everything or (facets is not None and room.label.matches(facets))
            if room not in told and may_know:
                batch = frames.Batch()
                batch.add(frames.event(name, known.json, room.json), None if known.gone else known.seq)
                self.tell_one(member, room, batch)
                metrics.GATEWAY_DELIVERIES.labels(event=name).inc()

    def tell(self, room: Room[Connection], name: str, payload: object) -> None:
        """Send the members of a room an event: `(payload, room)`."""
        if room.members:
            self._wait(room, frames.event(name, frames.json(payload), room.json))

    def tell_gap(self, room: Room[Connection], hole: Hole) -> None:
        """Tell a room that tweets may be missing from it; how many there were nobody knows."""
        self.tell(room, "gap", {"missed": None, "from": hole.from_seq, "to": hole.to_seq})

    def tell_everybody(self, name: str, payload: object) -> None:
        """Send every client an event: `(payload)`."""
        batch = frames.Batch()
        batch.add(frames.event(name, frames.json(payload)))
        for connection in self._everybody():
            if connection.ready is not None:
                connection.ready(batch.wire)
            else:
                connection.post(batch.packets[0])

    def tell_one(self, member: Connection, room: Room[Connection], batch: frames.Batch) -> None:
        """Send one member of a room what concerns nobody else."""
        if member.ready is not None:
            member.ready(batch.wire)
        else:
            member.deliver(room.label, batch)

    def settle(self, label: Label) -> None:
        """Before somebody joins a room or leaves it: send what was told to it so far to those who are in it."""
        room = self._rooms.with_key(label.key)
        if room is not None:
            self._flush_room(room)

    def flush(self) -> None:
        """Send all that waits."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        waiting, self._waiting = self._waiting, {}
        for room, batch in waiting.items():
            try:
                _send(room, batch)
            except Exception:
                # One room's trouble is not the others'.
                log.exception("a room could not be told", room=room.name)
        ended = loop.time()
        self._rest_until = ended + min(ended - began, LONGEST_WAIT_S)
        metrics.GATEWAY_FLUSHES.inc()

    def _wait(self, room: Room[Connection], event: bytes, seq: int | None = None) -> None:
        batch = self._waiting.get(room)
        if batch is None:
            batch = self._waiting[room] = frames.Batch()
        batch.add(event, seq)
        if batch.size > MAX_WAITING_BYTES:
            self._flush_room(room)
        elif self._flushing is None:
            loop = asyncio.get_running_loop()
            self._waiting_since = loop.time()
            if self._waiting_since >= self._rest_until:
                self._flushing = loop.call_soon(self.flush)
            else:
                self._flushing = loop.call_at(self._rest_until, self.flush)

    def _flush_room(self, room: Room[Connection]) -> None:
        batch = self._waiting.pop(room, None)
        if batch is not None:
            _send(room, batch)

    def _unreadable(self, message: Message, reason: str) -> None:
        metrics.GATEWAY_UNREADABLE.inc()
        log.warning("unreadable message on the exchange tweets", reason=reason, key=message.routing_key)


def _send(room: Room[Connection], batch: frames.Batch) -> None:
    wire = batch.wire
    for member in room.members:
        # The way of nearly all: uvloop gathers what is written to a transport in one turn of the loop, of several
        # rooms too, and makes one system call of it.
        if member.ready is not None:
            member.ready(wire)
        else:
            member.deliver(room.label, batch)
