"""X's filtered stream on this machine: the same requests, rules, limits and faults.

async with x_server() as server:
    source = XSource(api=server.url, bearer_token=TOKEN, …)
    await server.push(post("kick-off #NFL"))
"""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from tests.support.turned_clock import settled
from tests.support.waiting import eventually
from tests.support.x_rule_language import RuleError, parse_rule, words_of

TOKEN = "opens-nothing-but-the-emulator%3D"
"""What the server takes for a bearer token."""

USER = {
    "id": "7",
    "username": "ada",
    "name": "Ada",
    "profile_image_url": "https://example.com/a.jpg",
    "verified": False,
    "description": "nobody asked for this",
}

_FIRST_ID = 1_850_000_000_000_000_000
_ALWAYS = {
    "tweet": {"id", "text", "edit_history_tweet_ids"},
    "user": {"id", "username", "name"},
    "media": {"media_key", "type"},
}
_MAX_RULES = 1000

Payload = dict[str, Any]
Misbehaviour = Callable[["XServer", web.Request], Awaitable[web.StreamResponse | None]]
"""What the server does instead of its work; None means that it does its work all the same."""

_number = 0


def post(text: str, **fields: Any) -> Payload:
    """A payload as a stream has it: a new post by `USER`. `includes` among the fields go where they belong."""
    global _number  # noqa: PLW0603
    _number += 1
    id = str(_FIRST_ID + (_number << 22))
    includes = {"users": [USER]} | fields.pop("includes", {})
    data = {
        "id": id,
        "text": text,
        "author_id": "7",
        "created_at": "2024-10-26T00:00:00.000Z",
        "lang": "en",
        "edit_history_tweet_ids": [id],
        "public_metrics": {"like_count": 0},
    }
    return {"data": data | fields, "includes": includes}


class XServer:
    """What tests see of the server. `stream_fault` and `rules_fault` make it misbehave from the next request on."""

    def __init__(self, *, token: str, keep_alive_s: float, tls: ssl.SSLContext | None) -> None:
        self.connects = 0
        """Requests for the stream, refused ones included."""
        self.asked: list[dict[str, str]] = []
        """The parameters of each of them."""
        self.rule_requests: list[str] = []
        """`get`, `add`, `delete` and `dry`, one for each request about rules."""
        self.rules: list[dict[str, Any]] = []
        """`id`, `value`, and `tag` where there is one."""
        self.sent = 0
        """Posts written to a stream."""
        self.stream_fault: Misbehaviour | None = None
        self.rules_fault: Misbehaviour | None = None
        self.refuses: set[str] = set()
        """Words that no rule may have, for reasons of X's own."""
        self.names_bad_rules = True
        """Whether errors say which rule they mean."""
        self.port = 0
        self._token = token
        self._keep_alive_s = keep_alive_s
        self._tls = tls
        self._queue: asyncio.Queue[bytes | None] | None = None
        self._transport: asyncio.Transport | None = None
        self._next_id = 1166895166390583296
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_get("/2/tweets/search/stream", self._stream)
        app.router.add_get("/2/tweets/search/stream/rules", self._list_rules)
        app.router.add_post("/2/tweets/search/stream/rules", self._change_rules)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """The base address of the API."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def streaming(self) -> bool:
        """Whether somebody is connected to the stream."""
        return self._queue is not None

    async def start(self) -> None:
        await self._runner.setup()
        await self.listen()

    async def close(self) -> None:
        await self.refuse()
        await self._runner.cleanup()

    async def listen(self) -> None:
        """Take connections (again), at the same port."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await self._site.start()
        assert self._site._server is not None
        self.port = self._site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def refuse(self) -> None:
        """Refuse connections from now on, and cut the one there is."""
        self.cut()
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def push(self, payload: Payload, *, whatever_the_rules: bool = False) -> bool:
        """Somebody posts this. Returns whether it was sent: the rules match and somebody listens."""
        data = payload["data"]
        users = {user["id"]: user for user in payload.get("includes", {}).get("users", ())}
        author = users.get(data.get("author_id"), {}).get("username", "")
        matching = [rule for rule in self.rules if parse_rule(rule["value"]).matches(data, author)]
        if not (matching or whatever_the_rules) or not self.streaming:
            return False
        asked = self.asked[-1]
        line = {
            "data": _trimmed("tweet", data, asked),
            "includes": _includes(data, payload.get("includes", {}), asked),
            "matching_rules": [{"id": rule["id"], "tag": rule.get("tag", "")} for rule in matching],
        }
        self.push_raw(json.dumps(line).encode() + b"\r\n")
        self.sent += 1
        return True

    def push_raw(self, piece: bytes) -> None:
        """Write this to the stream as it is."""
        assert self._queue is not None, "nobody listens"
        self._queue.put_nowait(piece)

    async def written(self) -> None:
        """Wait until what was pushed has left."""
        await eventually(lambda: self._queue is None or self._queue.empty(), what="the stream was written")
        await settled()

    def end(self) -> None:
        """End the stream properly."""
        if self._queue is not None:
            self._queue.put_nowait(None)

    def cut(self) -> None:
        """Cut the stream off."""
        if self._transport is not None:
            self._transport.abort()

    def problem(self, status: int, kind: str, detail: str, **more: Any) -> web.Response:
        """An error in the shape that X gives them."""
        type = f"https://api.twitter.com/2/problems/{kind}"
        headers = more.pop("headers", None)
        body = {"title": kind, "detail": detail, "type": type, "status": status} | more
        return web.json_response(body, status=status, headers=headers)

    def _unknown(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {self._token}":
            return None
        return self.problem(401, "about:blank", "Unauthorized")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.connects += 1
        self.asked.append(dict(request.query))
        if refused := self._unknown(request):
            return refused
        if self.stream_fault and (answer := await self.stream_fault(self, request)):
            return answer
        if self._queue is not None:
            detail = "This stream is currently at the maximum allowed connection limit."
            return self.problem(429, "streaming-connection", detail, connection_issue="TooManyConnections")
        if not self.rules:
            return self.problem(409, "rule-configuration", "There are no rules.", issue="RulesNotConfigured")
        queue = self._queue = asyncio.Queue()
        try:
            response = await opened(request)
            self._transport = request.transport
            while True:
                try:
                    piece = await asyncio.wait_for(queue.get(), self._keep_alive_s)
                except TimeoutError:
                    piece = b"\r\n"
                if piece is None:
                    return response
                await response.write(piece)
        except ConnectionError:
            return response
        finally:
            self._queue = self._transport = None

    async def _list_rules(self, request: web.Request) -> web.StreamResponse:
        self.rule_requests.append("get")
        if refused := self._unknown(request):
            return refused
        if self.rules_fault and (answer := await self.rules_fault(self, request)):
            return answer
        body: dict[str, Any] = {"meta": {"sent": "2024-10-26T00:00:00.000Z", "result_count": len(self.rules)}}
        return web.json_response(body | ({"data": self.rules} if self.rules else {}))

    async def _change_rules(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        dry_run = request.query.get("dry_run") == "true"
        self.rule_requests.append("dry" if dry_run else "add" if "add" in body else "delete")
        if refused := self._unknown(request):
            return refused
        if self.rules_fault and (answer := await self.rules_fault(self, request)):
            return answer
        if "delete" in body:
            ids = body["delete"]["ids"]
            there = len(self.rules)
            self.rules = [rule for rule in self.rules if str(rule["id"]) not in ids]
            summary = {"deleted": there - len(self.rules), "not_deleted": len(ids) - there + len(self.rules)}
            return web.json_response({"meta": {"summary": summary}})
        return self._add(body["add"], dry_run)

    def _add(self, rules: list[dict[str, str]], dry_run: bool) -> web.Response:
        errors, added = [], []
        for rule in rules:
            same = [old for old in self.rules if old["value"] == rule["value"]]
            try:
                parse_rule(rule["value"])
                if banned := self.refuses.intersection(words_of(rule["value"])):
                    raise RuleError(f"no such thing: {banned}")
            except RuleError as error:
                errors.append(_error("invalid-rules", "Invalid Rule", rule["value"], details=[str(error)]))
                continue
            if same:
                errors.append(_error("duplicate-rules", "DuplicateRule", rule["value"], id=same[0]["id"]))
            else:
                self._next_id += 1
                added.append({"id": str(self._next_id)} | rule)
        invalid = [error for error in errors if error["title"] == "Invalid Rule"]
        if invalid and not self.names_bad_rules:
            return self.problem(400, "invalid-request", "One or more parameters to your request was invalid.")
        if len(self.rules) + len(added) > _MAX_RULES:
            return self.problem(422, "rule-cap", "Rule creation has been limited.")
        # One that is invalid, and none is created.
        added = [] if invalid else added
        if not dry_run:
            self.rules += added
        summary = {"created": len(added), "not_created": len(rules) - len(added), "invalid": len(invalid)}
        answer: dict[str, Any] = {"meta": {"summary": summary}}
        answer |= {"data": added} if added else {}
        answer |= {"errors": errors} if errors else {}
        return web.json_response(answer, status=201)


@asynccontextmanager
async def x_server(
    *, token: str = TOKEN, keep_alive_s: float = 20.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[XServer]:
    """A server that runs meanwhile."""
    server = XServer(token=token, keep_alive_s=keep_alive_s, tls=tls)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


# Misbehaviour


def answers(status: int, *, text: str | None = None, headers: Mapping[str, str] | None = None) -> Misbehaviour:
    """Answer with this status; with a problem as X writes it, or with `text`."""

    async def misbehave(server: XServer, request: web.Request) -> web.StreamResponse | None:
        if text is not None:
            return web.Response(status=status, text=text, headers=headers)
        said = f"for {request.headers.get('Authorization')}"
        return server.problem(status, "trouble", said, headers=headers)

    return misbehave


def sends(*pieces: bytes, then: str = "end") -> Misbehaviour:
    """Send this, and then `end` properly, `cut` the connection, or `hold` it in silence."""

    async def misbehave(_: XServer, request: web.Request) -> web.StreamResponse | None:
        response = await opened(request)
        for piece in pieces:
            await response.write(piece)
        if then == "hold":
            await asyncio.Event().wait()
        if then == "cut":
            # After what was written, and without the end of the body.
            assert request.transport is not None
            request.transport.close()
        return response

    return misbehave


def packs(plain: bytes) -> Misbehaviour:
    """Send this compressed, though nobody has asked for that, and then nothing."""

    async def misbehave(_: XServer, request: web.Request) -> web.StreamResponse | None:
        response = await opened(request, {"Content-Encoding": "gzip"})
        with suppress(ConnectionError):
            await response.write(gzip.compress(plain))
            await asyncio.Event().wait()
        return response

    return misbehave


def trickles(piece: bytes = b"{", every_s: float = 0.005) -> Misbehaviour:
    """Send a byte now and then, and never a whole line."""

    async def misbehave(_: XServer, request: web.Request) -> web.StreamResponse | None:
        response = await opened(request)
        with suppress(ConnectionError):
            while True:
                await response.write(piece)
                await asyncio.sleep(every_s)
        return response

    return misbehave


def resets() -> Misbehaviour:
    """Cut the connection without an answer."""

    async def misbehave(_: XServer, request: web.Request) -> web.StreamResponse | None:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return misbehave


DISCONNECT = json.dumps(
    {
        "errors": [
            {
                "title": "operational-disconnect",
                "disconnect_type": "OperationalDisconnect",
                "detail": "This stream has been disconnected for operational reasons.",
                "type": "https://api.twitter.com/2/problems/operational-disconnect",
            }
        ]
    }
).encode()
"""What X says before it ends a stream on purpose."""


async def opened(request: web.Request, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    """A stream that has begun, with these headers beside its own."""
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"} | dict(headers or {}))
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


def _error(kind: str, title: str, value: str, **more: Any) -> dict[str, Any]:
    return {"value": value, "title": title, "type": f"https://api.twitter.com/2/problems/{kind}"} | more


def _trimmed(kind: str, fields: Payload, asked: Mapping[str, str]) -> Payload:
    wanted = _ALWAYS[kind] | set(asked.get(f"{kind}.fields", "").split(","))
    return {name: value for name, value in fields.items() if name in wanted}


def _includes(data: Payload, includes: Payload, asked: Mapping[str, str]) -> Payload:
    expansions = asked.get("expansions", "").split(",")
    found: Payload = {}
    if "author_id" in expansions:
        users = [user for user in includes.get("users", ()) if user["id"] == data.get("author_id")]
        found["users"] = [_trimmed("user", user, asked) for user in users]
    if "attachments.media_keys" in expansions:
        keys = data.get("attachments", {}).get("media_keys", ())
        media = [media for media in includes.get("media", ()) if media["media_key"] in keys]
        found["media"] = [_trimmed("media", some, asked) for some in media]
    return {name: some for name, some in found.items() if some}
