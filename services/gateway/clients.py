"""What clients may ask for, and the answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from socketio.exceptions import ConnectionRefusedError

from services.gateway import frames, wishes
from services.gateway.answers import Answer, Refusal, refusal
from services.gateway.arrivals import Arrivals
from services.gateway.auth import DeniedError, TokenCheck, socket_token
from services.gateway.bindings import Bindings
from services.gateway.catchup import CatchUp
from services.gateway.connection import Connection
from services.gateway.engine import Server
from services.gateway.followers import Followers
from services.gateway.limits import Pace, PacePerAddress
from services.gateway.notices import Notices
from services.gateway.outbox import Outbox
from services.gateway.places import Places
from services.gateway.rooms import Room, Rooms
from services.gateway.settings import GatewaySettings
from services.gateway.subscriptions import request
from services.gateway.subscriptions.subscribing import Subscribing
from services.gateway.wishes import BadRequestError, Wish
from shared import metrics
from shared.labels import Label, LabelError, parse_path

log = structlog.get_logger()

PACE_OF_ADDRESS = 5
"""All connections of an address together may subscribe so many times as often as one."""

DOCUMENTS_A_TURN = 200
"""Tweets that a client may name, each of which has to be looked for, at the price of one more subscription."""

_Handler = Callable[[Connection, object], Awaitable[Answer]]


class Clients:
    """Handles the events of all clients: joining rooms, leaving them, coming and going."""

    def __init__(
        self,
        *,
        server: Server[Connection],
        rooms: Rooms[Connection],
        bindings: Bindings,
        places: Places,
        outbox: Outbox,
        followers: Followers[Connection],
        notices: Notices,
        catchup: CatchUp,
        arrivals: Arrivals,
        subscribing: Subscribing,
        check: TokenCheck,
        settings: GatewaySettings,
    ) -> None:
        self._server = server
        self._rooms = rooms
        self._bindings = bindings
        self._places = places
        self._outbox = outbox
        self._followers = followers
        self._notices = notices
        self._catchup = catchup
        self._arrivals = arrivals
        self._subscribing = subscribing
        self._check = check
        self._settings = settings
        rate, burst = settings.subscribes_per_s * PACE_OF_ADDRESS, settings.max_rooms_per_address
        self._paces = PacePerAddress(rate, max(rate, burst))
        self._live = False
        self._coming: dict[Connection, dict[Label, asyncio.Future[None]]] = {}
        """Those who are on their way into a room."""
        server.on("connect", _logged(self._connect))
        server.on("disconnect", _logged(self._disconnect))
        server.on("subscribe", self._answering(self._subscribe))
        server.on("unsubscribe", self._answering(self._unsubscribe))
        server.on("*", _unknown)

    def tell_status(self, *, live: bool) -> None:
        """Tell every client whether tweets can arrive: `status({live})`. Who comes later is told on connection."""
        if live != self._live:
            self._live = live
            self._outbox.send_everybody(frames.event("status", frames.json({"live": live})))

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
        self._subscribing.leave(connection)
        self._places.give_back(connection, connection.places)
        self._followers.leave(connection)
        self._coming.pop(connection, None)
        for label in self._rooms.leave_all(connection):
            self._bindings.release(label)

    async def _subscribe(self, connection: Connection, asked: object) -> Answer:
        if request.is_subscription(asked):
            return await self._subscribe_to_collection(connection, asked)
        return await self._subscribe_to_room(connection, asked)

    async def _subscribe_to_room(self, connection: Connection, asked: object) -> Answer:
        try:
            wish = wishes.read(asked, max_backfill=self._settings.max_backfill)
        except BadRequestError as error:
            return self._take_turn(connection) or refusal("bad_request", str(error))
        if denied := self._take_turn(connection, 1 + len(wish.documents) // DOCUMENTS_A_TURN):
            return denied
        label = _granted_label(connection, wish.room)
        if not isinstance(label, Label):
            return label
        if (coming := self._coming.get(connection, {}).get(label)) is not None:
            # It is on its way into the room already. What becomes of that, the first request is told.
            await asyncio.wait([coming])
        if not self._rooms.is_member(connection, label):
            if denied := self._places.take(connection, [label]):
                return denied
            await self._come(connection, label, wish)
        elif wish.looks_back:
            await self._tell_past(connection, label, wish)
        if wish.brief:
            return True
        # Who has been told of nothing yet has to know from where on to ask when it comes back.
        return {"room": label.room, "label": label.key, "url": label.url, "seq": self._catchup.newest}

    async def _subscribe_to_collection(self, connection: Connection, asked: Mapping[str, object]) -> Answer:
        try:
            subscription = request.read(asked)
        except BadRequestError as error:
            return self._take_turn(connection) or refusal("bad_request", str(error))
        labels = len(subscription.wanted.labels)
        turns = max(1, labels) + len(subscription.documents) // DOCUMENTS_A_TURN
        if subscription.since is not None:
            # The archive is asked for each, and what is in memory looked through.
            turns += labels
        if denied := self._take_turn(connection, turns):
            return denied
        return await self._subscribing.subscribe(connection, subscription)

    def _take_turn(self, connection: Connection, turns: int = 1) -> Refusal | None:
        """Count a request of a client, one of much work as several, unless there were too many lately."""
        now = asyncio.get_running_loop().time()
        if connection.pace is None:
            # As many at once as it may have rooms: a page that comes back asks for all of them.
            rate, rooms = self._settings.subscribes_per_s, self._settings.max_rooms_per_client
            connection.pace = Pace(rate, max(rate, rooms))
        address = connection.visitor.address
        wait_s = max(connection.pace.wait_s(now, turns), self._paces.wait_s(address, now, turns))
        if wait_s <= 0:
            connection.pace.take(now, turns)
            self._paces.take(address, now, turns)
            return None
        return refusal("too_fast", f"too many requests; try again in {wait_s:.1f} s")

    async def _come(self, connection: Connection, label: Label, wish: Wish) -> None:
        coming: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._coming.setdefault(connection, {})[label] = coming
        opens = label not in self._rooms
        room = self._rooms.come(connection, label)
        if opens:
            self._catchup.opening(room)
        metrics.GATEWAY_ROOMS.set(len(self._rooms))
        try:
            await self._bindings.want(label)
            if wish.looks_back and self._is_coming(connection, label, coming):
                await self._arrivals.prepare(room, wish)
            if not self._is_coming(connection, label, coming):
                # It has left meanwhile, and maybe come anew.
                return
            self._enter(connection, room, wish)
            self._catchup.opened(room)
            self._notices.enter(connection, room)
        except BaseException:
            if self._is_coming(connection, label, coming):
                self._leave(connection, label)
            raise
        finally:
            if self._is_coming(connection, label, coming):
                self._has_come(connection, label)
            coming.set_result(None)

    def _is_coming(self, connection: Connection, label: Label, coming: asyncio.Future[None]) -> bool:
        """Whether it is still this coming: a client may leave before it is in, and come anew."""
        return self._coming.get(connection, {}).get(label) is coming

    def _has_come(self, connection: Connection, label: Label) -> None:
        """It is in the room, or not on its way there any more."""
        comings = self._coming.get(connection, {})
        comings.pop(label, None)
        if not comings:
            self._coming.pop(connection, None)

    async def _tell_past(self, connection: Connection, label: Label, wish: Wish) -> None:
        """Tell a member of a room's past."""
        room = self._rooms.with_key(label.key)
        if room is not None:
            await self._arrivals.prepare(room, wish)
            if connection in room.members:
                self._enter(connection, room, wish)

    def _enter(self, connection: Connection, room: Room[Connection], wish: Wish) -> None:
        """Tell a client of a room's past and let it hear what comes, with nothing between the two."""
        self._outbox.settle(room)
        after = self._arrivals.tell(connection, room, wish)
        self._rooms.join(connection, room.label, after)

    def _leave(self, connection: Connection, label: Label) -> None:
        """End a membership, or the way to it."""
        self._has_come(connection, label)
        room = self._rooms.with_key(label.key)
        if room is not None:
            self._outbox.settle(room)
            connection.forget(room)
            self._followers.leave(connection, room)
        self._places.give_back(connection)
        if self._rooms.leave(connection, label):
            self._bindings.release(label)

    async def _unsubscribe(self, connection: Connection, asked: object) -> Answer:
        uid = asked.get("uid") if isinstance(asked, dict) else asked
        if isinstance(asked, dict) and "uid" in asked and not isinstance(uid, str):
            return refusal("bad_request", "uid is the name of a subscription of yours, a string")
        # A plain string is the name of a subscription where there is one, and else a room.
        if isinstance(uid, str) and (isinstance(asked, dict) or self._subscribing.has(connection, uid)):
            self._subscribing.unsubscribe(connection, uid)
            return True
        label = _label_of(asked.get("room") if isinstance(asked, dict) else asked)
        if not isinstance(label, Label):
            return label
        if self._rooms.is_member(connection, label):
            self._leave(connection, label)
        return True

    def _answering(self, handler: _Handler) -> Callable[..., Awaitable[Answer]]:
        """`handler` for whatever a client may send, always with an acknowledgement."""

        async def handle(sid: str, *arguments: object) -> Answer:
            if len(arguments) != 1:
                return refusal("bad_request", "one argument is taken, what to subscribe to")
            try:
                return await handler(self._server.socket(sid), arguments[0])
            except Exception:
                log.exception("a request could not be answered")
                return refusal("internal", "something went wrong here")

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
    return refusal("bad_request", "there are subscribe and unsubscribe, and no other requests")


def _granted_label(connection: Connection, path: object) -> Label | Refusal:
    label = _label_of(path)
    if isinstance(label, Label) and not connection.grant.allows(label):
        return refusal("not_allowed", "your token does not grant this room")
    return label


def _label_of(path: object) -> Label | Refusal:
    if not isinstance(path, str):
        return refusal("bad_request", 'a room is a string, as it stands in the URL: "nfl"')
    try:
        return parse_path(path)
    except LabelError as error:
        return refusal("bad_room", str(error))
