"""Socket.IO clients that remember what they were sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import socketio

from shared.events import Document


class Client:
    """A Socket.IO client of one gateway."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self._client = client
        self.events: list[tuple[str, Document, str]] = []
        """(event, payload, room) in the order of arrival."""
        self.gaps: list[tuple[Document, str]] = []
        """(gap, room) of each word about tweets that are missing."""
        client.on("gap", self._on_gap)
        self.status: list[bool] = []
        for event in ("newTweet", "updateTweet", "destroyTweet"):
            client.on(event, self._remember(event))
        client.on("status", self._on_status)
        self.asking: list[tuple[str, float | None]] = []
        """(room, seconds) of each word about a source that is being asked for a room."""
        client.on("asking", self._on_asking)
        self.told: dict[str, list[tuple[str, Document]]] = {}
        """By the `uid` of a subscription, (what, payload) in the order of arrival: `("create", {…})`."""
        client.on("*", self._on_anything)

    async def call(self, event: str, payload: object) -> Any:
        """Send an event and return its acknowledgement."""
        return await self._client.call(event, payload, timeout=10)

    async def leave(self) -> None:
        """Disconnect."""
        await self._client.disconnect()

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return bool(self._client.connected)

    def texts(self, room: str) -> list[str]:
        """The texts of the new tweets of a room, in the order of arrival."""
        return [tweet["text"] for event, tweet, name in self.events if event == "newTweet" and name == room]

    def page(self, room: str) -> dict[str, str]:
        """What a page that does as it is told shows of a room: id → text."""
        shown: dict[str, str] = {}
        for event, tweet, name in self.events:
            if name != room:
                continue
            if event == "destroyTweet":
                shown.pop(tweet["id"], None)
            else:
                shown[tweet["id"]] = tweet["text"]
        return shown

    def of(self, uid: str, name: str) -> list[Document]:
        """What a subscription was told of one kind: `create`, `save`, `destroy`, …"""
        return [payload for what, payload in self.told.get(uid, ()) if what == name]

    async def _on_anything(self, event: str, payload: Document, *rest: object) -> None:
        uid, _, what = event.partition(":tweet:")
        if what:
            self.told.setdefault(uid, []).append((what, payload))

    def _remember(self, event: str) -> Any:
        async def handler(tweet: Document, room: str) -> None:
            self.events.append((event, tweet, room))

        return handler

    async def _on_gap(self, gap: Document, room: str) -> None:
        self.gaps.append((gap, room))

    async def _on_status(self, status: dict[str, bool]) -> None:
        self.status.append(status["live"])

    async def _on_asking(self, asking: Document, room: str) -> None:
        self.asking.append((room, asking["seconds"]))


@asynccontextmanager
async def browser(
    port: int, *, transports: tuple[str, ...] = ("websocket",), reconnect: bool = False, room: str | None = None
) -> AsyncIterator[Client]:
    """A connected client of the gateway on a port of loopback. It joins `room` on each connection, as a page does."""
    client = socketio.AsyncClient(reconnection=reconnect, reconnection_delay=0.1, reconnection_delay_max=0.5)
    remembered = Client(client)
    if room is not None:

        async def join() -> None:
            await client.emit("subscribe", room)

        client.on("connect", join)
    # By name: aiohttp keeps no cookies of addresses, and a load balancer needs one for long polling.
    await client.connect(f"http://localhost:{port}", transports=list(transports), wait_timeout=10)
    try:
        yield remembered
    finally:
        leaving = asyncio.create_task(client.disconnect())
        await asyncio.wait({leaving}, timeout=0.5)
        if not leaving.done() and client.eio.http is not None:
            # A long poll that hangs: a browser aborts it when its page goes.
            await client.eio.http.close()
        await leaving
