"""What clients may ask for, and the answers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import socketio
import structlog

from services.gateway.bindings import Bindings
from services.gateway.fanout import Fanout
from services.gateway.notices import Notices
from services.gateway.rooms import Rooms
from shared import metrics
from shared.labels import Label, LabelError, parse_path

log = structlog.get_logger()

Refusal = dict[str, dict[str, str]]
"""Acknowledgement of a refused request: `{"error": {"code", "message"}}`. It has changed nothing."""

Answer = bool | dict[str, str] | Refusal
"""Any acknowledgement."""


class Clients:
    """Handles the events of all clients: joining rooms, leaving them, coming and going."""

    def __init__(
        self,
        server: socketio.AsyncServer,
        rooms: Rooms,
        bindings: Bindings,
        fanout: Fanout,
        notices: Notices,
        *,
        max_rooms: int,
        max_rooms_per_client: int,
    ) -> None:
        self._server = server
        self._rooms = rooms
        self._bindings = bindings
        self._fanout = fanout
        self._notices = notices
        self._max_rooms = max_rooms
        self._max_rooms_per_client = max_rooms_per_client
        self._live = False
        server.on("connect", _logged(self._connect))
        server.on("disconnect", _logged(self._disconnect))
        server.on("subscribe", _answering(self._subscribe))
        server.on("unsubscribe", _answering(self._unsubscribe))

    async def tell_status(self, *, live: bool) -> None:
        """Tell every client whether tweets can arrive: `status({live})`. Who comes later is told on connection."""
        if live != self._live:
            self._live = live
            await self._server.emit("status", {"live": live})

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: object = None) -> None:
        metrics.GATEWAY_SOCKETS.inc()
        await self._server.emit("status", {"live": self._live}, to=sid)
        await self._notices.greet(sid)

    async def _disconnect(self, sid: str, reason: object = None) -> None:
        metrics.GATEWAY_SOCKETS.dec()
        for label in self._rooms.leave_all(sid):
            self._bindings.release(label)

    async def _subscribe(self, sid: str, request: object) -> Answer:
        label = _label_of(request.get("room") if isinstance(request, dict) else request)
        if not isinstance(label, Label):
            return label
        if not self._rooms.is_member(sid, label):
            if self._rooms.joined(sid) >= self._max_rooms_per_client:
                return _refusal("too_many_rooms", f"you are in {self._max_rooms_per_client} rooms already")
            # One that is empty and only still bound makes place for one with somebody in it.
            full = label not in self._rooms and len(self._rooms) >= self._max_rooms
            if full and not self._bindings.let_go_longest_left():
                return _refusal("too_many_rooms", f"there are {self._max_rooms} rooms here already; try again later")
            await self._join(sid, label)
        return {"room": label.room, "label": label.key, "url": label.url} if isinstance(request, dict) else True

    async def _join(self, sid: str, label: Label) -> None:
        room = self._rooms.join(sid, label)
        metrics.GATEWAY_ROOMS.set(len(self._rooms))
        await self._bindings.want(label)
        if self._rooms.is_member(sid, label):
            await self._fanout.enter(sid, room)
            await self._notices.enter(sid, room)

    async def _unsubscribe(self, sid: str, request: object) -> Answer:
        label = _label_of(request)
        if not isinstance(label, Label):
            return label
        room = self._rooms.with_key(label.key)
        if room is not None and self._rooms.is_member(sid, label):
            await self._fanout.leave(sid, room)
            if self._rooms.leave(sid, label):
                self._bindings.release(label)
        return True


def _logged(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`handler`, with its errors in our log: what the library would log counts as a client's mistake."""

    async def handle(*arguments: object) -> object:
        try:
            return await handler(*arguments)
        except Exception:
            log.exception("an event of a client could not be handled")
            raise

    return handle


def _answering(handler: Callable[[str, object], Awaitable[Answer]]) -> Callable[..., Awaitable[Answer]]:
    """`handler` for whatever a client may send, always with an acknowledgement."""

    async def handle(sid: str, *arguments: object) -> Answer:
        if len(arguments) != 1:
            return _refusal("bad_request", "one argument is taken, the room")
        try:
            return await handler(sid, arguments[0])
        except Exception:
            log.exception("a request could not be answered")
            return _refusal("internal", "something went wrong here")

    return handle


def _label_of(path: object) -> Label | Refusal:
    if not isinstance(path, str):
        return _refusal("bad_request", 'a room is a string, as it stands in the URL: "nfl"')
    try:
        return parse_path(path)
    except LabelError as error:
        return _refusal("bad_room", str(error))


def _refusal(code: str, message: str) -> Refusal:
    metrics.GATEWAY_REFUSED.labels(code=code).inc()
    return {"error": {"code": code, "message": message}}
