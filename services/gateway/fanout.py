"""From a message of the broker to those who are told of it: the members of its rooms, and subscriptions."""

from collections.abc import Iterable

import structlog

from services.gateway import frames
from services.gateway.connection import Connection
from services.gateway.followers import Followers
from services.gateway.holes import Hole, gap
from services.gateway.outbox import Outbox
from services.gateway.rooms import Room, Rooms
from services.gateway.subscriptions.collections import TWEET
from services.gateway.subscriptions.delivery import Subscribers
from services.gateway.versions import Delivery, Versions
from services.gateway.views import View
from shared import feed, metrics
from shared.broker import Message
from shared.events import COLLECTION, Action, Document, UnreadableError, collection_of

log = structlog.get_logger()

EVENTS = {Action.CREATE: "newTweet", Action.UPDATE: "updateTweet", Action.DESTROY: "destroyTweet"}
"""The Socket.IO event for what a tweet is to a room."""


class Fanout:
    """Finds out by version what an event is to each room and each interest, and has them told."""

    def __init__(
        self,
        rooms: Rooms[Connection],
        versions: Versions[View],
        followers: Followers[Connection],
        subscribers: Subscribers,
        outbox: Outbox,
    ) -> None:
        self._rooms = rooms
        self._versions = versions
        self._followers = followers
        self._subscribers = subscribers
        self._outbox = outbox

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
        self._outbox.flush_if_late()
        return documents

    def take(
        self,
        document: Document,
        rooms: Iterable[Room[Connection]],
        *,
        from_past: bool = False,
    ) -> bool:
        """One event that matches `rooms`, to those who have to be told; returns whether it was new to any view.

        What comes `from_past` and is new to a room is told only to those who were there then, or asked for it.
        Raises `TypeError` or `RecursionError` where no JSON can be made of the document.
        """
        interests = self._subscribers.wanting(document, rooms)
        views: list[View] = [*rooms, *interests] if collection_of(document) == COLLECTION else [*interests]
        deliveries = self._versions.apply(document, views, from_past=from_past)
        told = set()
        for delivery in deliveries:
            room = delivery.view
            if isinstance(room, Room) and room.members:
                is_late = from_past and delivery.action is Action.CREATE
                if is_late and (room.earliest is None or delivery.seq <= room.earliest):
                    continue
                self._tell_room(document["id"], room, delivery, is_late=is_late)
                told.add(room)
        if document["action"] != Action.CREATE:
            self._tell_followers(document, told)
        self._subscribers.tell(document, deliveries, interests, is_late=from_past)
        return bool(deliveries)

    def tell_gap(self, room: Room[Connection], hole: Hole) -> None:
        """Tell a room that tweets may be missing from it; how many there were nobody knows."""
        if room.members:
            self._outbox.put(room, room.event("gap", frames.json(gap(hole))))
            metrics.GATEWAY_GAPS.inc(len(room.members))
        self._subscribers.tell_gap(room.interests, hole)

    def _tell_room(self, id: str, room: Room[Connection], delivery: Delivery[View], *, is_late: bool) -> None:
        """Tell the members of a room, but for those who were told of this version when the room did not show it.

        What `is_late` is nothing to those who came after that: on their page it would be the oldest, and what is
        between it and the others they were not shown.
        """
        name = EVENTS[delivery.action]
        event = room.event(name, delivery.json)
        seq = None if delivery.action is Action.DESTROY else delivery.seq
        known = self._versions.get(id)
        spared = set()
        if known is not None and not known.gone:
            spared.update(self._followers.holding(id, room, known.newest[0]))
        if is_late:
            spared.update(member for member, after in room.members.items() if delivery.seq <= after)
        self._outbox.put_some(room, room.members.keys() - spared if spared else room.members, event, seq)
        metrics.GATEWAY_DELIVERIES.labels(event=name).inc()

    def _tell_followers(self, document: Document, told: set[Room[Connection]]) -> None:
        """Tell those who hold a tweet that their room was not shown, but for the rooms that are `told`."""
        known = self._versions.get(document["id"])
        newest = (document["mtime"], Action(document["action"]).rank)
        if known is None or known.newest != newest or known.collection != COLLECTION:
            return
        if known.gone:
            following = self._followers.gone(document["id"])
        else:
            following = self._followers.updated(document["id"], document["mtime"])
        facets = TWEET.facets_of(document) if following else None
        name = EVENTS[Action(document["action"])]
        for member, room in following:
            # A token grants rooms, and no tweets beside them that somebody names.
            may_know = known.gone or member.grant.everything or (facets is not None and room.label.matches(facets))
            if room not in told and may_know:
                batch = frames.Batch()
                batch.add(room.event(name, known.json), None if known.gone else known.seq)
                self._outbox.send_one(member, room, batch)
                metrics.GATEWAY_DELIVERIES.labels(event=name).inc()

    def _unreadable(self, message: Message, reason: str) -> None:
        metrics.GATEWAY_UNREADABLE.inc()
        log.warning("unreadable message on the exchange tweets", reason=reason, key=message.routing_key)
