"""The Engine.IO server and the Socket.IO server on it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import engineio
import socketio
from aiohttp import WSCloseCode, web
from engineio import packet
from socketio.packet import BINARY_ACK, BINARY_EVENT

from services.gateway.engine.socket import Socket, Visitor
from shared import metrics

RESERVED_EVENTS = frozenset({"connect", "connect_error", "disconnect"})
"""Events that the protocol itself raises; a client has no business to send one (nor do the JavaScript clients)."""

BINARY_PACKETS = frozenset(map(str, (BINARY_EVENT, BINARY_ACK)))


SocketT = TypeVar("SocketT", bound=Socket)


class Engine(engineio.AsyncServer, Generic[SocketT]):  # type: ignore[misc]
    """The Engine.IO server."""

    sockets: dict[str, SocketT]

    def __init__(
        self,
        *,
        send_buffer_bytes: int,
        admit: Callable[[web.Request], Visitor],
        dismiss: Callable[[Visitor], None],
        make_socket: "Callable[[Engine[SocketT], str, Visitor], SocketT]",
        **options: object,
    ) -> None:
        """`send_buffer_bytes` may wait for one client.

        `admit` tells who asks for a new session, or raises `web.HTTPException` where there is not even time to say
        why not; `dismiss` undoes it. `options` are the library's.
        """
        super().__init__(**options)
        self.send_buffer_bytes = send_buffer_bytes
        self.admit = admit
        self._dismiss = dismiss
        self._make_socket = make_socket
        self.empty = asyncio.Event()
        """Whether there is no session."""
        self.empty.set()

    async def _handle_connect(
        self, environ: Mapping[str, Any], transport: str, jsonp_index: int | None = None
    ) -> object:
        """A request for a new session."""
        visitor = self.admit(environ["aiohttp.request"])
        self.empty.clear()
        sid = self.generate_id()
        socket = self.sockets[sid] = self._make_socket(self, sid, visitor)
        try:
            await self._trigger_event("connect", sid, environ, run_async=False)
            hello = {
                "sid": sid,
                "upgrades": self._upgrades(sid, transport),
                "pingTimeout": int(self.ping_timeout * 1000),
                "pingInterval": int(self.ping_interval * 1000),
                "maxPayload": self.max_http_buffer_size,
            }
            socket.post(packet.Packet(packet.OPEN, hello))
            socket.schedule_ping()
            if transport == "websocket":
                answer = await socket.handle_get_request(environ)
                if not socket.connected:
                    await socket.close(wait=False, abort=True)
                return answer
            socket.connected = True
            return self._ok(await socket.poll(), jsonp_index=jsonp_index)
        except BaseException:
            await socket.close(wait=False, abort=True)
            raise

    def forget(self, socket: Socket) -> None:
        """Of a socket at its end."""
        if self.sockets.pop(socket.sid, None) is not None:
            self._dismiss(socket.visitor)
        if not self.sockets:
            self.empty.set()


class Sessions(socketio.AsyncManager):  # type: ignore[misc]
    """Which Socket.IO session belongs to which Engine.IO session. Rooms are our own (`services.gateway.rooms`)."""

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: object) -> None:
        """Forget a session. The library would look through all its rooms, and each session has one."""
        for room in (sid, None):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]


class Server(socketio.AsyncServer, Generic[SocketT]):  # type: ignore[misc]
    """The Socket.IO server."""

    eio: Engine[SocketT]

    def __init__(self, **options: object) -> None:
        """`options` are the library's and those of `Engine`."""
        # Clients that are gone are noticed by timers, not by a task that looks at all of them.
        super().__init__(client_manager=Sessions(), async_mode="aiohttp", monitor_clients=False, **options)

    def socket(self, sid: str) -> SocketT:
        """The Engine.IO session of a Socket.IO session; raises `KeyError` where there is none any more."""
        return self.eio.sockets[self.manager.eio_sid_from_sid(sid, "/")]

    def let_in(self) -> list[SocketT]:
        """The Engine.IO sessions of all clients that were let in."""
        return [socket for socket in self.eio.sockets.values() if socket.let_in]

    def _engineio_server_class(self) -> type[Engine[SocketT]]:
        return Engine

    async def _handle_eio_connect(self, eio_sid: str, environ: Mapping[str, Any]) -> None:
        """Keep nothing of the request: the library would keep all of it for as long as the session lasts."""
        await super()._handle_eio_connect(eio_sid, {})

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        """The end of a session; the library would keep one whose CONNECT could not be handled to its end."""
        await super()._handle_eio_disconnect(eio_sid, reason)
        if (sid := self.manager.sid_from_eio_sid(eio_sid, "/")) is not None:
            self.manager.basic_disconnect(sid, "/")

    async def _handle_eio_message(self, eio_sid: str, data: object) -> None:
        """A Socket.IO packet. One that can't be read ends the session, as it does with the JavaScript server."""
        try:
            # Nothing here takes binary data, and the library would collect attachments without an end.
            if not isinstance(data, str) or data[:1] in BINARY_PACKETS:
                raise ValueError("a text packet is expected")
            await super()._handle_eio_message(eio_sid, data)
        except Exception:
            metrics.GATEWAY_CLIENT_MISTAKES.inc()
            if (socket := self.eio.sockets.get(eio_sid)) is not None:
                socket.end(WSCloseCode.PROTOCOL_ERROR, "not a Socket.IO packet that is taken here")

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        """Let no client play the protocol's own events: `connect` and `disconnect` reach handlers by name."""
        if not isinstance(data, list) or not data or not isinstance(data[0], str) or data[0] in RESERVED_EVENTS:
            raise ValueError("an event is a list that begins with its name")
        await super()._handle_event(eio_sid, namespace, id, data)
