"""A Jetstream host and an AppView on loopback: they speak as Bluesky's do, and fail as networks do."""

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

POSTS = "app.bsky.feed.post"
_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"

Json = dict[str, Any]


def tid(us: int, clock_id: int = 7) -> str:
    """A timestamp identifier for a moment in microseconds since the epoch."""
    number = us << 10 | clock_id
    return "".join(_DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


def did(name: str) -> str:
    """The permanent id of somebody called like that."""
    return f"did:plc:{name:z<24}"


def commit(author: str, rkey: str, rev: str, operation: str, record: object = None, collection: str = POSTS) -> Json:
    """What a host sends of a commit, but for its `time_us`."""
    fields: Json = {"rev": rev, "operation": operation, "collection": collection, "rkey": rkey}
    if operation != "delete":
        fields |= {"record": record, "cid": "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}
    return {"did": author, "kind": "commit", "commit": fields}


def record(text: str, at_us: int, **fields: Any) -> Json:
    """A post as its author's client writes it."""
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_us // 1_000_000)) + f".{at_us // 1000 % 1000:03d}Z"
    return {"$type": POSTS, "text": text, "createdAt": created, "langs": ["en"]} | fields


def frame(body: bytes) -> bytes:
    """A text message as the bytes of one WebSocket frame."""
    if len(body) < 126:
        return bytes([0x81, len(body)]) + body
    if len(body) < 65536:
        return bytes([0x81, 126]) + len(body).to_bytes(2, "big") + body
    return bytes([0x81, 127]) + len(body).to_bytes(8, "big") + body


class JetstreamServer:
    """One host. Everything that it ever sent it keeps, and sends again to whoever asks with a cursor."""

    def __init__(self, *, offset_us: int, now_us: Callable[[], int], ssl_context: ssl.SSLContext | None) -> None:
        self.history: list[tuple[int, str, str]] = []
        """`time_us`, collection ("" where it is no commit), the message."""
        self.cursors: list[int | None] = []
        """What was asked for, by each who was let in."""
        self.connects = 0
        """Attempts to connect that got as far as a request."""
        self.clients = 0
        """Who is connected now."""
        self.lookups: list[list[str]] = []
        """The authors of each request for profiles."""
        self.lookup_moments: list[int] = []
        """When they came, in microseconds."""
        self.lookups_at_once = 0
        """The most that were under way at the same time."""
        self.people: dict[str, Json] = {}
        self.everybody_has_a_handle = True
        self.bad_dids: set[str] = set()
        """A request with one of these is answered 400 as a whole."""
        self.api_answer: tuple[int, dict[str, str]] | None = None
        """Status and headers of every answer about profiles, instead of profiles."""
        self.api_goes = asyncio.Event()
        """Profiles are answered while it is set."""
        self.api_goes.set()
        self.answer: tuple[int, dict[str, str]] | None = None
        """Status and headers for everybody who wants to subscribe, instead of the stream."""
        self.silent = False
        """Who connects now gets nothing, ever."""
        self.trickles = False
        """Who connects now gets a byte at a time, of a message that never ends."""
        self.closes_after_each = False
        self.ignores_size = False
        """Whether `maxMessageSizeBytes` is of no interest."""
        self.cut: Callable[[], int | None] = lambda: None
        """Asked before each message: cut the connection after so many bytes of it, or None."""
        self.most_behind: int | None = None
        """A client that is so many messages behind is cut off, without a word."""
        self.cut_off = 0
        """How many were."""
        self.drops_cursor_into_active_segment: int | None = None
        """Microseconds: the newest part of the stream begins so long ago, and a cursor within it is taken for its
        beginning, as the second generation of hosts does it."""
        self._offset_us = offset_us
        self._now_us = now_us
        self._ssl = ssl_context
        self._last_us = 0
        self._last_rev_us = 0
        self._grew = asyncio.Event()
        self._transports: set[asyncio.Transport] = set()
        self._looking_up = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is subscribed to."""
        return f"{'wss' if self._ssl else 'ws'}://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """Where profiles are looked up."""
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"

    # What happens in the world

    def post(self, text: str, *, author: str = did("ada"), rkey: str | None = None, **fields: Any) -> Json:
        """Somebody posts. Returns the message, which other hosts can be told (`tell`) as well."""
        rev_us = self._rev_us()
        return self.tell(commit(author, rkey or tid(rev_us), tid(rev_us), "create", record(text, rev_us, **fields)))

    def edit(self, post: Json, text: str) -> Json:
        """Its author changes a post."""
        rev_us = self._rev_us()
        return self.tell(commit(post["did"], post["commit"]["rkey"], tid(rev_us), "update", record(text, rev_us)))

    def delete(self, post: Json) -> Json:
        """Its author deletes a post."""
        return self.tell(commit(post["did"], post["commit"]["rkey"], tid(self._rev_us()), "delete"))

    def identity(self, author: str, handle: str | None, *, confirmed: bool = True) -> Json:
        """An account has another handle; without `confirmed` it only says so."""
        fields = {"did": author, "seq": 1_409_752_997, "time": "2024-09-05T06:11:04.870Z"}
        if handle is not None:
            fields["handle"] = handle
        if handle is not None and confirmed:
            self.people[author] = self.people.get(author, {}) | {"handle": handle}
        return self.tell({"did": author, "kind": "identity", "identity": fields})

    def account(self, author: str, *, active: bool) -> Json:
        """An account becomes active, or is no longer."""
        fields = {"active": active, "did": author, "seq": 1_409_753_013, "time": "2024-09-05T06:11:04.870Z"}
        return self.tell({"did": author, "kind": "account", "account": fields})

    def tell(self, message: Json) -> Json:
        """The host hears of it, and passes it on with a moment of its own clock."""
        time_us = self._last_us = max(self.now_us(), self._last_us + 1)
        stamped = {"did": message["did"], "time_us": time_us} | message | {"time_us": time_us}
        collection = message.get("commit", {}).get("collection", "") if message["kind"] == "commit" else ""
        self.tell_raw(json.dumps(stamped, ensure_ascii=False), time_us, collection)
        return message

    def tell_raw(self, body: str, time_us: int | None = None, collection: str = "") -> None:
        """It sends exactly this; what begins with NUL goes out as a binary message."""
        if time_us is None:
            time_us = self._last_us = max(self.now_us(), self._last_us + 1)
        self.history.append((time_us, collection, body))
        self._grew.set()
        self._grew = asyncio.Event()

    def now_us(self) -> int:
        """Its clock."""
        return self._now_us() + self._offset_us

    def _rev_us(self) -> int:
        self._last_rev_us = max(self._now_us(), self._last_rev_us + 1)
        return self._last_rev_us

    # What goes wrong

    def hang_up(self) -> None:
        """Cut every connection at once."""
        for transport in list(self._transports):
            transport.abort()

    async def refuse(self) -> None:
        """Be gone: nobody listens any more."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self.hang_up()
        assert self._runner is not None
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def listen(self) -> None:
        """Be there, at the same address as before."""
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._ssl, reuse_address=True)
        await self._site.start()
        self.port = self._site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    # Being a server

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_get("/subscribe", self._subscribe)
        app.router.add_get("/xrpc/app.bsky.actor.getProfiles", self._get_profiles)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.listen()

    async def stop(self) -> None:
        """End everything."""
        self.hang_up()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _subscribe(self, request: web.Request) -> web.StreamResponse:
        self.connects += 1
        if self.answer is not None:
            status, headers = self.answer
            return web.Response(status=status, headers=headers)
        cursor = int(request.query["cursor"]) if "cursor" in request.query else None
        self.cursors.append(cursor)
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        transport = cast(asyncio.Transport, request.transport)
        place = _Place(self._begin(cursor))
        self._transports.add(transport)
        self.clients += 1
        tasks = [
            asyncio.create_task(_until_gone(socket)),
            asyncio.create_task(self._send(request, socket, transport, place)),
            asyncio.create_task(self._until_too_slow(transport, place)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.clients -= 1
            self._transports.discard(transport)
        return socket

    async def _send(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        place: "_Place",
    ) -> None:
        while self.silent:
            await self._grew.wait()
        if self.trickles:
            for byte in frame(b"x" * 60_000):
                transport.write(bytes([byte]))
                await asyncio.sleep(0.01)
        wanted = set(request.query.getall("wantedCollections", []))
        largest = 0 if self.ignores_size else int(request.query.get("maxMessageSizeBytes", "0"))
        while True:
            while place.index >= len(self.history):
                await self._grew.wait()
            _, collection, body = self.history[place.index]
            place.index += 1
            if collection and wanted and collection not in wanted:
                continue
            if largest and len(body.encode()) > largest:
                continue
            if (cut := self.cut()) is not None:
                transport.write(frame(body.encode())[:cut])
                await asyncio.sleep(0)
                transport.abort()
                return
            if body.startswith("\0"):
                await socket.send_bytes(body.encode())
            else:
                await socket.send_str(body)
            if self.closes_after_each:
                await socket.close()
                return

    async def _until_too_slow(self, transport: asyncio.Transport, place: "_Place") -> None:
        while True:
            await self._grew.wait()
            behind = len(self.history) - place.index
            if self.most_behind is not None and behind > self.most_behind and transport.get_write_buffer_size():
                self.cut_off += 1
                transport.abort()
                return

    def _begin(self, cursor: int | None) -> int:
        """The place in the history for a cursor; one in the future is live."""
        if cursor is None or cursor > self.now_us():
            return len(self.history)
        segment = self.drops_cursor_into_active_segment
        if segment is not None and cursor > self.now_us() - segment:
            cursor = self.now_us() - segment
        return next((n for n, entry in enumerate(self.history) if entry[0] > cursor), len(self.history))

    async def _get_profiles(self, request: web.Request) -> web.Response:
        actors = request.query.getall("actors", [])
        self.lookups.append(actors)
        self.lookup_moments.append(self._now_us())
        self._looking_up += 1
        self.lookups_at_once = max(self.lookups_at_once, self._looking_up)
        profiles = [self._profile(actor) for actor in actors]
        try:
            await self.api_goes.wait()
        finally:
            self._looking_up -= 1
        if self.api_answer is not None:
            status, headers = self.api_answer
            return web.json_response({"error": "Upset"}, status=status, headers=headers)
        if len(actors) > 25 or self.bad_dids & set(actors):
            return web.json_response({"error": "InvalidRequest"}, status=400)
        return web.json_response({"profiles": [profile for profile in profiles if profile is not None]})

    def _profile(self, actor: str) -> Json | None:
        if actor in self.people:
            fields = self.people[actor]
        elif self.everybody_has_a_handle:
            fields = {"handle": f"{actor.rpartition(':')[2].rstrip('z')}.test"}
        else:
            return None
        return {"did": actor, "followersCount": 5, "labels": []} | fields


class _Place:
    """How much of the history one client has been sent."""

    def __init__(self, index: int) -> None:
        self.index = index


async def _until_gone(socket: web.WebSocketResponse) -> None:
    while (await socket.receive()).type not in (
        aiohttp.WSMsgType.CLOSE,
        aiohttp.WSMsgType.CLOSING,
        aiohttp.WSMsgType.CLOSED,
        aiohttp.WSMsgType.ERROR,
    ):
        pass


@asynccontextmanager
async def jetstream_server(
    *, offset_s: float = 0.0, now_us: Callable[[], int] | None = None, tls: bool = False
) -> AsyncIterator[JetstreamServer]:
    """A host on loopback whose clock differs by `offset_s` from `now_us` (this machine's, if not given).

    With `tls` its certificate is its own, and nobody trusts it.
    """
    server = JetstreamServer(
        offset_us=round(offset_s * 1_000_000),
        now_us=now_us or (lambda: time.time_ns() // 1000),
        ssl_context=_untrusted() if tls else None,
    )
    await server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await server.stop()


@contextmanager
def living_jetstream() -> Iterator[JetstreamServer]:
    """A host in a thread of its own, where somebody posts ten times a second."""
    loop = asyncio.new_event_loop()
    up: Future[JetstreamServer] = Future()
    over = asyncio.Event()

    async def live() -> None:
        async with jetstream_server() as server:
            up.set_result(server)
            while not over.is_set():
                server.post("a post")
                await asyncio.sleep(0.1)

    thread = Thread(target=loop.run_until_complete, args=[live()])
    thread.start()
    try:
        yield up.result(10)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()


def _untrusted() -> ssl.SSLContext:
    """A server's side of TLS with a certificate of its own making."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=127.0.0.1"]
        subprocess.run(
            [openssl, "req", "-x509", *options, "-keyout", key, "-out", certificate], check=True, capture_output=True
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context
