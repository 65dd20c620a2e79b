"""One Engine.IO session."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from aiohttp import WSCloseCode, web
from engineio import exceptions, packet
from engineio.async_socket import AsyncSocket
from engineio.payload import Payload

from services.gateway import frames
from services.gateway.engine.inbox import TURN, Inbox
from services.gateway.engine.upgrade import Upgrade
from services.gateway.engine.websocket import CLOSE_PATIENCE_S, Owner, Taken, WebSocket

if TYPE_CHECKING:
    from services.gateway.engine.server import Engine


POST_WITHIN_S = 10.0
"""How long a polling client may take to send the packets of one request."""


class Posted(Payload):  # type: ignore[misc]
    """What a polling client sends in one request."""

    max_decode_packets = 1000
    """A client that comes back asks for all its rooms at once; the library would take 16 packets."""


class Visitor(NamedTuple):
    """Who has a session, or asks for one."""

    address: str
    """Whom it counts for."""
    refusal: str | None
    """Why it can't stay, which it is told when it says CONNECT; None where it can."""


class Socket(AsyncSocket):  # type: ignore[misc]
    """One Engine.IO session: long polling, a WebSocket, or the one on its way to the other.

    Subclasses may fill in `filled` and `drained`.
    """

    server: "Engine[Any]"

    def __init__(self, server: "Engine[Any]", sid: str, visitor: Visitor) -> None:
        super().__init__(server, sid)
        self.queue: asyncio.Queue[packet.Packet | None] | None
        """What waits for a polling client; None once there is a WebSocket."""
        self.visitor = visitor
        self.let_in = False
        """Whether the client has said CONNECT and was let in."""
        self.ready: Callable[[bytes], None] | None = None
        """Takes WebSocket frames, to be sent at once; None where packets go by the library's queue, or nowhere:
        the session is polling, its buffer is full, or it is at its end."""
        self.full = False
        """Whether more waits for the client than may wait for one."""
        self._websocket: WebSocket | None = None
        self._upgrade: Upgrade | None = None
        self._inbox = Inbox(self)
        self._held_bytes = 0
        self._polling = False
        """Whether a poll is open."""
        self._posting = False
        """Whether packets of a polling client are being read."""
        self._ending: asyncio.TimerHandle | None = None
        """When the session ends, if that is decided: a polling client may ask before for what waits."""
        self._heartbeat: asyncio.TimerHandle | None = None
        self._pinged = False
        """Whether a ping is not answered yet."""

    def filled(self) -> None:
        """More waits for the client than may: from now on send it nothing that can be skipped."""

    def drained(self) -> None:
        """There is room again."""

    # --- sending

    async def send(self, pkt: packet.Packet) -> None:
        """Send an Engine.IO packet; raises `SocketIsClosedError` after the end."""
        if self.closed:
            raise exceptions.SocketIsClosedError
        self.post(pkt)

    def post(self, pkt: packet.Packet) -> None:
        """Send a packet, full or not, unless it is too late."""
        if self.closed or self._ending is not None:
            return
        if self.queue is not None:
            self.queue.put_nowait(pkt)
            self._held_bytes += len(pkt.data) if isinstance(pkt.data, str | bytes) else 0
            if self._held_bytes > self.server.send_buffer_bytes:
                self.buffer_filled()
        elif self._websocket is not None:
            self._websocket.send(frames.of_packet(pkt.encode()))

    async def poll(self) -> list[packet.Packet]:
        """All that waits for a polling client, once there is something; nothing at the end of polling.

        Raises `QueueEmpty` if for too long there is nothing.
        """
        queue = self.queue
        assert queue is not None
        self._polling = True
        try:
            first = await asyncio.wait_for(queue.get(), self.server.ping_interval + self.server.ping_timeout)
        except TimeoutError:
            raise exceptions.QueueEmpty from None
        finally:
            self._polling = False
        packets = [] if first is None else [first]
        # Where a WebSocket has taken over meanwhile, it has taken the rest.
        if self.queue is not None:
            packets += self._take_waiting()
            self._held_bytes = 0
            self.buffer_drained()
        return packets

    def buffer_filled(self) -> None:
        """What waits has reached its bound."""
        if not self.full:
            self.full = True
            self.ready = None
            self.mind_reading()
            self.filled()

    def buffer_drained(self) -> None:
        """What waits has shrunk."""
        if self.full and not self.closed:
            self.full = False
            if self._websocket is not None and self._websocket.open:
                self.ready = self._websocket.transport.write
            self.mind_reading()
            self._inbox.go_on()
            self.drained()

    # --- receiving

    def arrived(self, data: str | bytes) -> None:
        """A message has come over the WebSocket."""
        if data == "3":
            self.schedule_ping()
        else:
            self._inbox.put(data)

    def transport_closing(self) -> None:
        """A closing handshake of the WebSocket has begun."""
        self.ready = None

    def transport_lost(self) -> None:
        """The WebSocket is closed."""
        self.ready = None
        self._inbox.end()

    def mind_reading(self) -> None:
        """Read from the client as long as it takes the answers and there are not too many messages to handle."""
        websocket = self._websocket
        if websocket is None or not websocket.open:
            return
        if websocket.reading:
            if self.full or self._inbox.crowded:
                websocket.read(False)
        elif not self.full and self._inbox.empty:
            websocket.read(True)

    async def handle(self, data: str | bytes) -> None:
        """Handle a message that has come over the WebSocket, unless the session has ended before its turn."""
        if self.closed or self._websocket is None or not self._websocket.open:
            return
        try:
            await self.receive(packet.Packet(encoded_packet=data))
        except exceptions.SocketIsClosedError:
            pass
        except Exception:
            self.server.logger.exception("a packet could not be read")
            self.end(WSCloseCode.PROTOCOL_ERROR, "not an Engine.IO packet")

    async def transport_ended(self) -> None:
        """All that has come is handled, and nothing more will come."""
        await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_CLOSE)

    # --- from polling to a WebSocket

    async def _upgrade_websocket(self, environ: Mapping[str, Any]) -> object:
        """A request for a WebSocket: of a new session, or of one that has been polling."""
        if self.upgraded or self._upgrade is not None:
            return self.server._bad_request("this session has a WebSocket already")
        request: web.Request = environ["aiohttp.request"]
        if not self.connected:
            self.use(self._accept(request, self))
            return Taken()
        upgrade = self._upgrade = Upgrade(self)
        try:
            upgrade.websocket = self._accept(request, upgrade)
        except BaseException:
            upgrade.over()
            raise
        return Taken()

    def _accept(self, request: web.Request, owner: Owner) -> WebSocket:
        return WebSocket.accept(
            request,
            owner,
            max_message_bytes=self.server.max_http_buffer_size,
            buffer_bytes=self.server.send_buffer_bytes,
        )

    def upgrade_over(self) -> None:
        """No WebSocket is on its way any more."""
        self._upgrade = None
        self.upgrading = False

    def _websockets(self) -> list[WebSocket]:
        """The WebSocket that is used, or the one on its way; none for a client that polls."""
        websocket = self._upgrade.websocket if self._upgrade is not None else self._websocket
        return [] if websocket is None else [websocket]

    def use(self, websocket: WebSocket) -> None:
        """From now on everything goes by the WebSocket, first what was queued for polling."""
        self._websocket = websocket
        self.connected = self.upgraded = True
        assert self.queue is not None
        waiting = self._take_waiting()
        # A poll that is still open, against the protocol, ends.
        self.queue.put_nowait(None)
        self.queue = None
        self._held_bytes = 0
        if not self.full:
            self.ready = websocket.transport.write
        websocket.send(b"".join(frames.of_packet(pkt.encode()) for pkt in waiting))
        if self.full and not websocket.full:
            self.buffer_drained()
        self.mind_reading()

    def _take_waiting(self) -> list[packet.Packet]:
        """All packets that wait for a polling client."""
        assert self.queue is not None
        waiting = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        return [pkt for pkt in waiting if pkt is not None]

    async def handle_get_request(self, environ: Mapping[str, Any]) -> object:
        """A GET of this session: a poll, or the request for a WebSocket."""
        if self.closed:
            return []
        connection = [word.strip() for word in environ.get("HTTP_CONNECTION", "").lower().split(",")]
        if "upgrade" in connection and environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            return await self._upgrade_websocket(environ)
        if not self.connected:
            return self.server._bad_request("this is no request for a WebSocket")
        if self._polling:
            return self.server._bad_request("a poll of this session is open already")
        if self.upgrading and self.queue is not None and self.queue.empty():
            return [packet.Packet(packet.NOOP)]
        return await self._answer_poll()

    async def _answer_poll(self) -> list[packet.Packet]:
        try:
            return await self.poll()
        except exceptions.QueueEmpty:
            await self.close(wait=False, reason=self.server.reason.TRANSPORT_ERROR)
            raise
        finally:
            if self._ending is not None:
                self._finish()

    async def handle_post_request(self, environ: Mapping[str, Any]) -> None:
        """Packets of a polling client; raises `EngineIOError` where they end the session."""
        if self._held_bytes > 2 * self.server.send_buffer_bytes:
            raise exceptions.EngineIOError("a client that does not take the answers")
        if self._posting:
            raise exceptions.EngineIOError("one request at a time brings packets")
        self._posting = True
        try:
            async with asyncio.timeout(POST_WITHIN_S):
                body = await self._body(environ["aiohttp.request"].content)
            await self._posted(body)
        except TimeoutError:
            raise exceptions.EngineIOError("a request that is not sent") from None
        finally:
            self._posting = False

    async def _body(self, content: aiohttp.StreamReader) -> str:
        body = bytearray()
        while chunk := await content.readany():
            body += chunk
            if len(body) > self.server.max_http_buffer_size:
                raise exceptions.ContentTooLongError
        return body.decode(errors="replace")

    async def _posted(self, body: str) -> None:
        try:
            for number, pkt in enumerate(Posted(encoded_payload=body).packets, start=1):
                if not self.closed:
                    await self.receive(pkt)
                if number % TURN == 0:
                    await asyncio.sleep(0)
        except exceptions.EngineIOError:
            raise
        except Exception as error:
            self.server.logger.exception("a payload could not be read")
            raise exceptions.EngineIOError("not an Engine.IO payload") from error

    # --- the heartbeat

    def schedule_ping(self) -> None:
        """The client lives: look again after the ping interval. One that has not said CONNECT gets no more time."""
        if self._heartbeat is None or (self._pinged and self.let_in and self._ending is None):
            self._pinged = False
            self._look_again(self.server.ping_interval, self._ping)

    async def check_ping_timeout(self) -> bool:
        """The timer knows when it is too late; here nothing is."""
        return not self.closed

    def _ping(self) -> None:
        if not self.let_in:
            self.end(WSCloseCode.POLICY_VIOLATION, "no CONNECT in time")
        elif self.full:
            # What it sends is not looked at either; `filled` has begun to count the time.
            self._look_again(self.server.ping_interval, self._ping)
        else:
            self.post(packet.Packet(packet.PING))
            self._pinged = True
            self._look_again(self.server.ping_timeout, self._give_up)

    def _give_up(self) -> None:
        if self._websocket is not None and not self._websocket.reading:
            # Its answer may wait behind requests that we have not come to.
            self._look_again(self.server.ping_interval, self._ping)
        else:
            self.cut(self.server.reason.PING_TIMEOUT)

    def _look_again(self, after_s: float, look: Callable[[], None]) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._heartbeat = None if self.closed else asyncio.get_running_loop().call_later(after_s, look)

    # --- the end

    def end(self, code: int, reason: str, patience_s: float = CLOSE_PATIENCE_S) -> None:
        """End the session with a reason, after what waits to be sent. The client may come again.

        One that polls has so long to ask for what waits.
        """
        for websocket in self._websockets():
            websocket.close(code, reason)
        if self.queue is not None and self._ending is None:
            # The library's end mark: the open poll is answered.
            told = self._polling or self.queue.empty()
            self.queue.put_nowait(None)
            # Who is between two polls is told what waits with the next one.
            loop = asyncio.get_running_loop()
            self._ending = loop.call_later(0.0 if told else patience_s, self._finish)

    def _finish(self) -> None:
        self.server.start_background_task(self.close, False, True, self.server.reason.SERVER_DISCONNECT)

    def cut(self, reason: str) -> None:
        """End the session at once, whatever waits to be sent: nobody takes it."""
        self.ready = None
        self.server.start_background_task(self.close, False, True, reason)
        for websocket in self._websockets():
            websocket.transport.abort()

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session; unless `abort` the client is told. Handlers of `disconnect` are called first."""
        if self.closed or self.closing:
            return
        await super().close(wait=False, abort=abort, reason=reason)
        self.ready = None
        for timer in (self._heartbeat, self._ending):
            if timer is not None:
                timer.cancel()
        self._heartbeat = self._ending = None
        for websocket in self._websockets():
            websocket.close(WSCloseCode.OK, "")
        if self._upgrade is not None:
            self._upgrade.over()
        if self.queue is not None:
            self.queue.put_nowait(None)
        self.server.forget(self)
