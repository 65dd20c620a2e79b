"""A WebSocket whose handshake is done and whose transport is ours. Frames are read by aiohttp's reader."""

import asyncio
import time
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketError, WebSocketReader, WSMessage, WSMessageTextBytes

from services.gateway import frames
from shared import metrics

CLOSE_PATIENCE_S = 2.0
"""How long the other side may take to answer a closing handshake; the connection is cut after it."""


MESSAGES_PER_S = 100.0
BURST = 1000
"""How many messages of one client are read, of any kind: so many at once, and so many a second after that. What it
sends faster stays in the kernel's buffers, and then with the client."""

READ_BYTES = 16 * 1024
"""Read at once at most. uvloop by itself would take 256 KB: 40,000 frames, and half a second of everybody's time."""

_read_buffer = memoryview(bytearray(READ_BYTES))
"""Of all connections: what is in it is taken out before anything else happens."""


class Owner(Protocol):
    """Who has a WebSocket and is told of it."""

    def arrived(self, data: str | bytes) -> None:
        """A message has come."""

    def buffer_filled(self) -> None:
        """More waits to be sent than may."""

    def buffer_drained(self) -> None:
        """There is room again."""

    def transport_closing(self) -> None:
        """A closing handshake has begun: nothing may be written after it."""

    def transport_lost(self) -> None:
        """The connection is closed. Nothing is told after it."""


class Taken(web.StreamResponse):
    """What the HTTP server is told in place of a response when its connection was taken from it."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """There is nothing to send."""

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing to end."""


class _Messages(WebSocketDataQueue):
    """Where the frame reader puts messages: they are handed on at once."""

    __slots__ = ("_websocket",)

    # What the reader asks for where aiohttp has no compiled one; what waits is never too much.
    _size = _limit = 0

    def __init__(self, websocket: "WebSocket") -> None:
        # Not the base's: it would make a queue, and there is none.
        self._websocket = websocket

    def feed_data(self, data: WSMessage | WSMessageTextBytes, size: int) -> None:
        self._websocket.arrived(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self._websocket.unreadable(exc)


class WebSocket(asyncio.BufferedProtocol):
    """The server's side of an open WebSocket; the transport is its own."""

    __slots__ = (
        "_buffer_bytes",
        "_closing",
        "_counted_at",
        "_left",
        "_owner",
        "_reader",
        "_reading_wanted",
        "_resting",
        "transport",
    )

    def __init__(self, transport: asyncio.Transport, owner: Owner, max_message_bytes: int, buffer_bytes: int) -> None:
        self.transport = transport
        self._buffer_bytes = buffer_bytes
        self._owner: Owner | None = owner
        self._reader: WebSocketReader | None = WebSocketReader(
            _Messages(self), max_message_bytes, compress=False, decode_text=True
        )
        self._closing: asyncio.TimerHandle | None = None
        self._left: float = BURST
        """Messages that it may send at once; below 0 there were too many."""
        self._counted_at = time.monotonic()
        self._resting: asyncio.TimerHandle | None = None
        """Until when nothing is read, because there were too many messages."""
        self._reading_wanted = True

    @classmethod
    def accept(cls, request: web.Request, owner: Owner, *, max_message_bytes: int, buffer_bytes: int) -> "WebSocket":
        """Answer the handshake of `request` and take its connection from the HTTP server.

        A message that is larger than `max_message_bytes` ends it; `buffer_bytes` is when its buffer counts as full.
        Raises `web.HTTPBadRequest` where the request is no handshake, `ConnectionError` where nobody is there.
        """
        http, transport = request.protocol, request.transport
        # Without compression: each recipient would need a compressor of its own, and its memory. The answer is
        # written here, because the response would make a reader and a writer of its own, to be thrown away.
        headers, *_ = web.WebSocketResponse(compress=False)._handshake(request)
        if transport is None:
            raise ConnectionResetError("the client has gone")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        transport.write(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode())
        # What came right behind the handshake.
        early, http._message_tail = http._message_tail, b""
        websocket = cls(transport, owner, max_message_bytes, buffer_bytes)
        # Off and on again: how a transport reads it decides when it begins to.
        transport.pause_reading()
        transport.set_protocol(websocket)
        transport.resume_reading()
        # To the HTTP server the connection is lost: it forgets it and closes nothing.
        http.transport = None
        http.connection_lost(None)
        transport.set_write_buffer_limits(high=buffer_bytes, low=buffer_bytes // 2)
        if early:
            # Once the owner knows the WebSocket, and before anything else is read.
            asyncio.get_running_loop().call_soon(websocket.received, early)
        return websocket

    def get_buffer(self, sizehint: int) -> memoryview:
        """Of the transport: where to put what comes."""
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Of the transport: bytes have come."""
        self.received(bytes(_read_buffer[:nbytes]))

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._reader is None:
            return
        before = self._left
        self._reader.feed_data(data)
        now = time.monotonic()
        if self._left < before:
            self._left = min(BURST, self._left + (now - self._counted_at) * MESSAGES_PER_S)
            self._counted_at = now
        if self._left < 0 and self._resting is None and self.open:
            self.transport.pause_reading()
            rest_s = -self._left / MESSAGES_PER_S
            self._resting = asyncio.get_running_loop().call_later(rest_s, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.read(self._reading_wanted)

    def arrived(self, message: WSMessage | WSMessageTextBytes) -> None:
        """Of the reader: a message is complete."""
        self._left -= 1
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY if self._owner is not None and self._closing is None:
                self._owner.arrived(message.data)
            case WSMsgType.PING:
                self.send(frames.frame(frames.PONG, message.data))
            case WSMsgType.CLOSE:
                self.close(WSCloseCode.OK, "")
                self.transport.close()

    def unreadable(self, error: BaseException) -> None:
        """Of the reader: what comes is no WebSocket protocol."""
        metrics.GATEWAY_CLIENT_MISTAKES.inc()
        code = error.code if isinstance(error, WebSocketError) else WSCloseCode.PROTOCOL_ERROR
        self.close(code, str(error))
        # The reader reads no more, no answer either: that nothing more will be said tells the other side to end it.
        self._reader = None
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    @property
    def full(self) -> bool:
        """Whether more waits to be sent than may."""
        return self.transport.get_write_buffer_size() > self._buffer_bytes

    @property
    def open(self) -> bool:
        """Whether messages may still be sent."""
        return self._owner is not None and self._closing is None

    def send(self, data: bytes) -> None:
        """Send frames, unless the connection is being closed."""
        if self.open:
            self.transport.write(data)

    def close(self, code: int, reason: str) -> None:
        """End the connection with a reason, after what is buffered; cut it where the other side does not answer."""
        if self._owner is not None and self._closing is None:
            self.transport.write(frames.close(code, reason))
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(CLOSE_PATIENCE_S, self.transport.abort)
            # What it says in answer has to be heard.
            self.transport.resume_reading()
            self._owner.transport_closing()

    def hand_to(self, owner: Owner) -> None:
        """From now on somebody else has it."""
        if self._owner is not None:
            self._owner = owner

    @property
    def reading(self) -> bool:
        """Whether it is read from."""
        return self.transport.is_reading()

    def read(self, reading: bool) -> None:
        """Read from it, once there have not been too many messages, or leave what comes in the kernel's buffer."""
        self._reading_wanted = reading
        if self._owner is None or self._resting is not None:
            return
        if reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        """Of the transport: its buffer is full."""
        if self._owner is not None:
            self._owner.buffer_filled()

    def resume_writing(self) -> None:
        """Of the transport: its buffer has room again."""
        if self._owner is not None:
            self._owner.buffer_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of the transport: it is closed."""
        for timer in (self._closing, self._resting):
            if timer is not None:
                timer.cancel()
        self._reader = None
        if self._owner is not None:
            owner, self._owner = self._owner, None
            owner.transport_lost()
