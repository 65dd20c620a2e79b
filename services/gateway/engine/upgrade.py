"""The way of a session from long polling to a WebSocket."""

import asyncio
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode
from engineio import packet

from services.gateway import frames
from services.gateway.engine.websocket import WebSocket

if TYPE_CHECKING:
    from services.gateway.engine.socket import Socket

PATIENCE_S = 10.0
"""How long a client may take from the request for a WebSocket to its use."""


class Upgrade:
    """A WebSocket that says what the protocol asks for before it takes over: a probe, then that it does.

    Until then its session goes on polling, and also when it never comes to that.
    """

    def __init__(self, socket: "Socket") -> None:
        self._socket = socket
        self.websocket: WebSocket | None = None
        """Once its handshake is done."""
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._give_up)

    def arrived(self, data: str | bytes) -> None:
        """The WebSocket says something."""
        websocket, socket = self.websocket, self._socket
        assert websocket is not None and socket.queue is not None
        if data == "2probe" and not socket.upgrading:
            websocket.send(frames.of_packet("3probe"))
            # From now on no poll waits: the client takes over once the one that is open is answered.
            socket.upgrading = True
            socket.queue.put_nowait(packet.Packet(packet.NOOP))
        elif data == "5" and socket.upgrading and not socket.closed:
            self.over()
            websocket.hand_to(socket)
            socket.use(websocket)
        else:
            websocket.close(WSCloseCode.PROTOCOL_ERROR, "a probe is expected, and then an upgrade")

    def buffer_filled(self) -> None:
        """Nothing but answers to its pings can fill it, and it does not take them."""
        if self.websocket is not None:
            self.websocket.transport.abort()

    def buffer_drained(self) -> None:
        """It has been cut off."""

    def transport_closing(self) -> None:
        """It will not take over: polls wait for news again."""
        self._socket.upgrading = False

    def transport_lost(self) -> None:
        """It has gone."""
        self.over()

    def over(self) -> None:
        """The WebSocket has taken over, or never will; another one may try."""
        self._timer.cancel()
        self._socket.upgrade_over()

    def _give_up(self) -> None:
        if self.websocket is not None:
            self.websocket.close(WSCloseCode.POLICY_VIOLATION, "no upgrade in time")
