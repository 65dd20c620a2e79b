"""What clients may ask for, and the answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from socketio.exceptions import ConnectionRefusedError

from services.gateway.auth import DeniedError, TokenCheck, socket_token
from services.gateway.bindings import Bindings
from services.gateway.connection import Connection
from services.gateway.engine import Server
from services.gateway.fanout import Fanout
from services.gateway.limits import Pace, PacePerAddress, PerAddress
from services.gateway.notices import Notices
from services.gateway.rooms import Rooms
from services.gateway.settings import GatewaySettings
from shared import metrics
from shared.labels import Label, LabelError, parse_path

log = structlog.get_logger()

Refusal = dict[str, dict[str, str]]
"""Acknowledgement of a refused request: `{"error": {"code", "message"}}`. It has changed nothing."""

Answer = bool | dict[str, str] | Refusal
"""Any acknowledgement."""

PACE_OF_ADDRESS = 5
"""All connections of an address together may subscribe so many times as often as one."""

MAX_BEHIND = 100
"""Bindings that may be left over from rooms that were closed, beside a tenth of all rooms."""

_Handler = Callable[[Connection, object], Awaitable[Answer]]


class Clients:
    """Handles the events of all clients: joining rooms, leaving them, coming and going."""

    def __init__(
        self,
        *,
        server: Server[Connection],
        rooms: Rooms[Connection],
        bindings: Bindings,
        fanout: Fanout,
        notices: Notices,
        check: TokenCheck,
        settings: GatewaySettings,
    ) -> None:
        self._server = server
        self._rooms = rooms
        self._bindings = bindings
        self._fanout = fanout
        self._notices = notices
        self._check = check
        self._settings = settings
        self._rooms_of = PerAddress(settings.max_rooms_per_address)
        rate, burst = settings.subscribes_per_s * PACE_OF_ADDRESS, settings.max_rooms_per_address
        self._paces = PacePerAddress(rate, max(rate, burst))
        self._live = False
        server.on("connect", _logged(self._connect))
        server.on("disconnect", _logged(self._disconnect))
        server.on("subscribe", self._answering(self._subscribe))
        server.on("unsubscribe", self._answering(self._unsubscribe))
        server.on("*", _unknown)

    def tell_status(self, *, live: bool) -> None:
        """Tell every client whether tweets can arrive: `status({live})`. Who comes later is told on connection."""
        if live != self._live:
            self._live = live
            self._fanout.tell_everybody("status", {"live": live})

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: object = None) -> None:
        try:
            connection = self._server.socket(sid)
        except KeyError:
            # Several requests of a polling client are handled at once, and another one has ended it. Raised as what
            # the library knows, so that it forgets the session.
            raise ConnectionRefusedError("the session has ended") from None
        if connection.visitor.refusal is not None:
            connection.refuse()
            raise ConnectionRefusedError(connection.visitor.refusal, {"code": "too_many_connections"})
        try:
            connection.grant = self._check(socket_token(auth))
        except DeniedError as error:
            metrics.GATEWAY_REFUSED.labels(code=error.code).inc()
            connection.refuse()
            raise ConnectionRefusedError(error.message, {"code": error.code}) from None
        metrics.GATEWAY_SOCKETS.inc()
        connection.let_in = True
        connection.expire(connection.grant.expires_at)
        connection.emit("status", {"live": self._live})
        self._notices.greet(connection)

    async def _disconnect(self, sid: str, reason: object = None) -> None:
        connection = self._server.socket(sid)
        metrics.GATEWAY_SOCKETS.dec()
        connection.let_in = False
        connection.forget_all()
        self._rooms_of.give_back(connection.visitor.address, self._rooms.joined(connection))
        for label in self._rooms.leave_all(connection):
            self._bindings.release(label)

    async def _subscribe(self, connection: Connection, request: object) -> Answer:
        if refusal := self._take_turn(connection):
            return refusal
        label = _label_of(request.get("room") if isinstance(request, dict) else request)
        if not isinstance(label, Label):
            return label
        if not connection.grant.allows(label):
            return _refusal("not_allowed", "your token does not grant this room")
        if not self._rooms.is_member(connection, label):
            if refusal := self._take_place(connection, label):
                return refusal
            await self._join(connection, label)
        return {"room": label.room, "label": label.key, "url": label.url} if isinstance(request, dict) else True

    def _take_turn(self, connection: Connection) -> Refusal | None:
        """Count a request of a client, unless there were too many lately."""
        now = asyncio.get_running_loop().time()
        if connection.pace is None:
            # As many at once as it may have rooms: a page that comes back asks for all of them.
            rate, rooms = self._settings.subscribes_per_s, self._settings.max_rooms_per_client
            connection.pace = Pace(rate, max(rate, rooms))
        if connection.pace.take(now) and self._paces.take(connection.visitor.address, now):
            return None
        wait_s = max(connection.pace.wait_s(now), self._paces.wait_s(connection.visitor.address, now))
        return _refusal("too_fast", f"too many requests; try again in {wait_s:.1f} s")

    def _take_place(self, connection: Connection, label: Label) -> Refusal | None:
        """Take a place for one more room of a client, unless it, its address or the gateway has too many."""
        most, most_of_one = self._settings.max_rooms, self._settings.max_rooms_per_client
        if self._rooms.joined(connection) >= most_of_one:
            return _refusal("too_many_rooms", f"you are in all the rooms that you may be in: {most_of_one}")
        if not self._rooms_of.take(connection.visitor.address):
            most_of_address = self._rooms_of.maximum
            return _refusal(
                "too_many_rooms", f"your address is in all the rooms that it may be in: {most_of_address}"
            )
        # One that is empty and only still bound makes place for one with somebody in it.
        full = label not in self._rooms and len(self._rooms) >= most
        # And what was let go has to be unbound some day: rooms that change faster than that would be without bound.
        behind = label not in self._rooms and len(self._bindings) >= most + most // 10 + MAX_BEHIND
        if behind or (full and not self._bindings.let_go_longest_left()):
            self._rooms_of.give_back(connection.visitor.address)
            return _refusal("too_many_rooms", f"all rooms that there may be here are open: {most}; try again later")
        return None

    async def _join(self, connection: Connection, label: Label) -> None:
        self._fanout.settle(label)
        room = self._rooms.join(connection, label)
        metrics.GATEWAY_ROOMS.set(len(self._rooms))
        await self._bindings.want(label)
        if self._rooms.is_member(connection, label):
            self._notices.enter(connection, room)

    async def _unsubscribe(self, connection: Connection, request: object) -> Answer:
        label = _label_of(request)
        if not isinstance(label, Label):
            return label
        if self._rooms.is_member(connection, label):
            self._fanout.settle(label)
            connection.forget(label)
            self._rooms_of.give_back(connection.visitor.address)
            if self._rooms.leave(connection, label):
                self._bindings.release(label)
        return True

    def _answering(
        self, handler: Callable[[Connection, object], Awaitable[Answer]]
    ) -> Callable[..., Awaitable[Answer]]:
        """`handler` for whatever a client may send, always with an acknowledgement."""

        async def handle(sid: str, *arguments: object) -> Answer:
            if len(arguments) != 1:
                return _refusal("bad_request", "one argument is taken, the room")
            try:
                return await handler(self._server.socket(sid), arguments[0])
            except Exception:
                log.exception("a request could not be answered")
                return _refusal("internal", "something went wrong here")

        return handle


def _logged(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`handler`, with its errors in our log: what the library would log counts as a client's mistake."""

    async def handle(*arguments: object) -> object:
        try:
            return await handler(*arguments)
        except ConnectionRefusedError:
            raise
        except Exception:
            log.exception("an event of a client could not be handled")
            raise

    return handle


async def _unknown(event: str, sid: str, *arguments: object) -> Answer:
    """The answer to an event that nobody here knows."""
    return _refusal("bad_request", "there are subscribe and unsubscribe, and no other requests")


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
