"""From a message of the broker to the members of its rooms."""

import socketio
import structlog

from services.gateway.rooms import Room, Rooms
from services.gateway.versions import Delivery, Versions
from shared import feed, metrics
from shared.broker import Message
from shared.events import Action, UnreadableError

log = structlog.get_logger()

EVENTS = {Action.CREATE: "newTweet", Action.UPDATE: "updateTweet", Action.DESTROY: "destroyTweet"}
"""The Socket.IO event for what a tweet is to a room."""


class Fanout:
    """Delivers tweets to rooms. It has no state of its own.

    Who is in a room is known twice: to `Rooms`, for what the gateway wants of the broker, and to Socket.IO, which
    does the sending. `enter` and `leave` are the only places that tell the latter.
    """

    def __init__(self, server: socketio.AsyncServer, rooms: Rooms, versions: Versions) -> None:
        self._server = server
        self._rooms = rooms
        self._versions = versions

    async def deliver(self, message: Message) -> None:
        """One message of the broker to all rooms that it matches."""
        try:
            documents = feed.unpack(message.body, message.headers)
        except UnreadableError as error:
            self._unreadable(message, str(error))
            return
        rooms = [
            room
            for key in feed.labels(message.routing_key, message.headers)
            if (room := self._rooms.with_key(key)) is not None
        ]
        for document in documents:
            metrics.GATEWAY_RECEIVED.inc()
            deliveries = self._versions.apply(document, rooms)
            if not deliveries:
                metrics.GATEWAY_NOTHING_NEW.inc()
            for delivery in deliveries:
                try:
                    await self._tell(delivery)
                except (TypeError, ValueError, RecursionError) as error:
                    self._unreadable(message, f"no JSON can be made of it: {error}")

    def _unreadable(self, message: Message, reason: str) -> None:
        metrics.GATEWAY_UNREADABLE.inc()
        log.warning("unreadable message on the exchange tweets", reason=reason, key=message.routing_key)

    async def enter(self, sid: str, room: Room) -> None:
        """From now on deliver what is told to `room` to the socket `sid`."""
        await self._server.enter_room(sid, room.key)

    async def leave(self, sid: str, room: Room) -> None:
        """Undo `enter`."""
        await self._server.leave_room(sid, room.key)

    async def _tell(self, delivery: Delivery) -> None:
        room = delivery.room
        if room.members:
            event = EVENTS[delivery.action]
            await self._server.emit(event, (delivery.document, room.name), room=room.key)
            metrics.GATEWAY_DELIVERIES.labels(event=event).inc()
