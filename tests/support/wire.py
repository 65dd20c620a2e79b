"""Engine.IO clients that show what stands on the wire: how a connection is refused, and how one ends."""

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp

from services.gateway.app import GatewayApp

PATH = "/socket.io/?EIO=4&transport="
PATIENCE_S = 10


class Wire(Protocol):
    """A session over one of the two transports."""

    async def send(self, packet: str) -> None:
        """Send an Engine.IO packet."""

    async def receive(self) -> str | None:
        """The next Engine.IO packet; None at the end of the session."""


class Session:
    """A Socket.IO client on a wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.events: list[list[Any]] = []
        """Events that came while something else was waited for."""

    @property
    def websocket(self) -> "WebSocket":
        """The wire, where it is a WebSocket."""
        assert isinstance(self.wire, WebSocket)
        return self.wire

    async def connect(self, auth: object = None) -> tuple[str, Any]:
        """Say CONNECT; returns ("connected", …) or ("refused", what the server says)."""
        await self.wire.send("40" if auth is None else f"40{json.dumps(auth)}")
        packet = await self._next("40", "44")
        return ("connected" if packet.startswith("40") else "refused"), json.loads(packet[2:])

    async def join(self, room: object) -> Any:
        """Subscribe; returns the acknowledgement."""
        return await self.ask("subscribe", room)

    async def ask(self, *event: object) -> Any:
        """Send an event; returns the acknowledgement."""
        await self.wire.send(f"421{json.dumps(event)}")
        return json.loads((await self._next("431"))[3:])[0]

    async def event(self, name: str) -> list[Any]:
        """The arguments of the next event of that name."""
        while True:
            for number, (first, *arguments) in enumerate(self.events):
                if first == name:
                    del self.events[number]
                    return arguments
            await self._next()

    async def ended(self) -> None:
        """Wait for the session's end."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.wire.receive() is not None:
                pass

    async def _next(self, *beginnings: str) -> str:
        """The next packet that begins like one of these, or the next event at least."""
        async with asyncio.timeout(PATIENCE_S):
            while (packet := await self.wire.receive()) is not None:
                if packet == "2":
                    await self.wire.send("3")
                if packet.startswith("42"):
                    self.events.append(json.loads(packet[2:]))
                    if not beginnings:
                        return packet
                if packet.startswith(beginnings or "4x"):
                    return packet
        raise EOFError("the session has ended")


class WebSocket:
    """A session over a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.closed: tuple[int | None, str] | None = None
        """Code and reason, once the server has closed it."""

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, port: int, headers: Mapping[str, str] | None = None) -> Session:
        """A new session, before CONNECT; raises `aiohttp.WSServerHandshakeError` where there is none."""
        wire = cls(await http.ws_connect(f"http://127.0.0.1:{port}{PATH}websocket", headers=headers, autoping=True))
        assert (await wire.receive() or "").startswith("0")
        return Session(wire)

    async def send(self, packet: str) -> None:
        """Send an Engine.IO packet."""
        await self.socket.send_str(packet)

    async def receive(self) -> str | None:
        """The next Engine.IO packet; None at the end of the session."""
        message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        if message.type is aiohttp.WSMsgType.CLOSE:
            self.closed = message.data, message.extra or ""
        return None

    async def leave(self) -> None:
        """Go away without a word: the connection is cut."""
        self.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class Polling:
    """A session over long polling. It asks for news only while it waits for some."""

    def __init__(self, http: aiohttp.ClientSession, address: str, headers: Mapping[str, str] | None) -> None:
        self._http = http
        self._address = address
        self._headers = headers
        self._waiting: deque[str] = deque()

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, port: int, headers: Mapping[str, str] | None = None) -> Session:
        """A new session, before CONNECT; raises `aiohttp.ClientResponseError` where there is none."""
        address = f"http://127.0.0.1:{port}{PATH}polling"
        async with http.get(address, headers=headers) as response:
            response.raise_for_status()
            hello = json.loads((await response.text())[1:])
        return Session(cls(http, f"{address}&sid={hello['sid']}", headers))

    async def send(self, packet: str) -> None:
        """Send an Engine.IO packet."""
        async with self._http.post(self._address, data=packet, headers=self._headers) as response:
            response.raise_for_status()

    async def receive(self) -> str | None:
        """The next Engine.IO packet; None at the end of the session."""
        while not self._waiting:
            async with self._http.get(self._address, headers=self._headers) as response:
                if response.status != 200:
                    return None
                self._waiting.extend(packet for packet in (await response.text()).split("\x1e") if packet)
        packet = self._waiting.popleft()
        return None if packet == "1" else packet


Transport = type[WebSocket] | type[Polling]


class Visits:
    """Opens sessions, each of which lasts as long as the test or until somebody ends it."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self._opened: list[Session] = []

    async def open(
        self,
        app: GatewayApp,
        transport: Transport = WebSocket,
        *,
        forwarded_for: str | None = None,
        origin: str | None = None,
        scheme: str | None = None,
    ) -> Session:
        """A session before CONNECT; raises `aiohttp.ClientResponseError` where there is none."""
        given = {"X-Forwarded-For": forwarded_for, "Origin": origin, "X-Forwarded-Proto": scheme}
        session = await transport.open(self.http, app.port, {name: value for name, value in given.items() if value})
        # The library closes a WebSocket that nobody holds any more.
        self._opened.append(session)
        return session

    async def connected(
        self, app: GatewayApp, transport: Transport = WebSocket, *, token: str | None = None, **request: str | None
    ) -> Session:
        """A session that was let in."""
        session = await self.open(app, transport, **request)
        assert await code_of(session, token) == "ok"
        return session

    async def code(self, app: GatewayApp, transport: Transport = WebSocket, **request: str | None) -> str:
        """How the CONNECT of one more session is answered, as `code_of`."""
        return await code_of(await self.open(app, transport, **request))

    async def knock(self, app: GatewayApp, transport: str, **headers: str) -> tuple[int, str]:
        """The HTTP answer to the request for a session that is not let in: status and body."""
        url = f"http://127.0.0.1:{app.port}{PATH}{transport}"
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"} if transport == "websocket" else {}
        async with self.http.get(url, headers=upgrade | headers) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
            return response.status, await response.text()


@asynccontextmanager
async def visiting() -> AsyncIterator[Visits]:
    """A place to open sessions from."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield Visits(http)


async def code_of(session: Session, token: str | None = None) -> str:
    """How a CONNECT is answered: "ok", or the code of the refusal."""
    said, payload = await session.connect(None if token is None else {"token": token})
    return "ok" if said == "connected" else str(payload["data"]["code"])


def refused(answer: object) -> str:
    """The code of a refused request, which has its one form."""
    assert isinstance(answer, dict), answer
    assert answer.keys() == {"error"}
    assert answer["error"].keys() == {"code", "message"}
    return str(answer["error"]["code"])
