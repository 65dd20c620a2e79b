"""The Socket.IO side: what clients may ask for, and the answers."""

import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import socketio
import structlog

from services.gateway.bindings import Bindings
from services.gateway.fanout import Fanout
from services.gateway.rooms import Rooms
from shared import metrics
from shared.labels import Label, LabelError, parse_path

log = structlog.get_logger()

MAX_PAYLOAD_BYTES = 100_000
"""Largest packet a client may send; Socket.IO's own default is ten times that."""

Refusal = dict[str, dict[str, str]]
"""Acknowledgement of a refused request: `{"error": {"code", "message"}}`. It has changed nothing."""


class _StrictJson:
    """JSON as browsers read it: without NaN and Infinity, which are refused with `ValueError`."""

    dumps = staticmethod(partial(json.dumps, allow_nan=False))
    loads = staticmethod(json.loads)


class _NoClientMistakes(logging.Filter):
    """Keeps out of our log what clients do wrong, such as going on with a session of a gateway that has ended."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "further occurrences of this error" not in record.getMessage()


_logger = logging.getLogger(__name__)
_logger.addFilter(_NoClientMistakes())


def make_server() -> socketio.AsyncServer:
    """The Socket.IO server. Events of one client are handled one after the other, in their order."""
    return socketio.AsyncServer(
        async_mode="aiohttp",
        async_handlers=False,
        max_http_buffer_size=MAX_PAYLOAD_BYTES,
        namespaces=["/"],
        json=_StrictJson,
        logger=_logger,
        engineio_logger=_logger,
    )


class Clients:
    """Handles the events of all clients: joining rooms, leaving them, coming and going."""

    def __init__(
        self, server: socketio.AsyncServer, rooms: Rooms, bindings: Bindings, fanout: Fanout, *, max_rooms: int
    ) -> None:
        self._server = server
        self._rooms = rooms
        self._bindings = bindings
        self._fanout = fanout
        self._max_rooms = max_rooms
        self._live = False
        for event, handler in {
            "connect": self._connect,
            "disconnect": self._disconnect,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
        }.items():
            server.on(event, handler)

    async def tell_status(self, *, live: bool) -> None:
        """Tell every client whether tweets can arrive: `status({live})`. Who comes later is told on connection."""
        if live != self._live:
            self._live = live
            await self._server.emit("status", {"live": live})

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: object = None) -> None:
        metrics.GATEWAY_SOCKETS.inc()
        await self._server.emit("status", {"live": self._live}, to=sid)

    async def _disconnect(self, sid: str, reason: object = None) -> None:
        metrics.GATEWAY_SOCKETS.dec()
        for label in self._rooms.leave_all(sid):
            self._bindings.release(label)

    async def _subscribe(self, sid: str, request: object = None) -> bool | dict[str, str] | Refusal:
        label = _label_of(request.get("room") if isinstance(request, dict) else request)
        if not isinstance(label, Label):
            return label
        if label not in self._rooms and len(self._rooms) >= self._max_rooms:
            return _refusal("too_many_rooms", f"this gateway has {self._max_rooms} rooms already; try again later")
        await self._join(sid, label)
        return {"room": label.room, "label": label.key, "url": label.url} if isinstance(request, dict) else True

    async def _join(self, sid: str, label: Label) -> None:
        room = self._rooms.join(sid, label)
        metrics.GATEWAY_ROOMS.set(len(self._rooms))
        await self._bindings.want(label)
        if self._rooms.is_member(sid, label):
            await self._fanout.enter(sid, room)

    async def _unsubscribe(self, sid: str, request: object = None) -> bool | Refusal:
        label = _label_of(request)
        if not isinstance(label, Label):
            return label
        room = self._rooms.with_key(label.key)
        if room is not None and self._rooms.is_member(sid, label):
            await self._fanout.leave(sid, room)
            if self._rooms.leave(sid, label):
                self._bindings.release(label)
        return True


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
