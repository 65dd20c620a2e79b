"""The HTTP side: the page at every room's URL, its files, and the lists of rooms, of their tweets and of sources."""

import asyncio
import heapq
import json
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from aiohttp import web

from services.gateway.auth import DeniedError, Grant, TokenCheck, bearer_token
from services.gateway.connection import Connection
from services.gateway.origins import ANY
from services.gateway.rooms import Rooms
from services.gateway.sources import Sources
from services.gateway.timeline import Timeline
from shared import metrics
from shared.labels import LabelError, parse_key

MAX_ROOMS_LISTED = 1000
"""Rooms that are listed at most, those with the most members: an answer is made while everybody waits."""

WEB = Path(__file__).parent / "web"

SECURITY_HEADERS = {
    # Nothing that a tweet contains can run, and nothing inline does.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' https: data:; connect-src 'self' ws: wss:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

STATIC = "/_/static/"
API = "/_/api/"

PREFLIGHT = {"Access-Control-Allow-Headers": "Authorization", "Access-Control-Max-Age": "7200"}
"""What a page of another origin is told before it sends a token. Whether its origin may read, `_readers` says."""


def add_routes(
    app: web.Application,
    rooms: Rooms[Connection],
    sources: Sources,
    timeline: Timeline,
    check: TokenCheck,
    *,
    origins: Collection[str] = (),
) -> None:
    """Serve everything that is not Socket.IO. What no other route takes is the URL of a room.

    Pages of `origins` may read what is told of rooms and tweets; the page's files anybody may read.
    """

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})

    async def favicon(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "favicon.svg", headers={"Cache-Control": "max-age=86400"})

    async def robots(_: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /\n")

    async def list_rooms(request: web.Request) -> web.Response:
        grant = _granted(request, check)
        seen = [room for room in rooms.all() if room.members and grant.allows(room.label)]
        fullest = heapq.nsmallest(MAX_ROOMS_LISTED, seen, key=lambda room: (-len(room.members), room.name))
        rows = [
            {"room": room.name, "label": room.label.key, "url": room.label.url, "members": len(room.members)}
            for room in fullest
        ]
        return web.json_response({"rooms": rows})

    async def list_tweets(request: web.Request) -> web.Response:
        return await timeline.answer(request, _granted(request, check))

    async def list_sources(request: web.Request) -> web.Response:
        grant = _granted(request, check)
        now = asyncio.get_running_loop().time()
        return web.json_response({"sources": sources.rows(now, lambda key: _may_see(grant, key))})

    async def nothing(_: web.Request) -> web.Response:
        raise web.HTTPNotFound(text="there is nothing here\n")

    @web.middleware
    async def no_such_file(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except OSError as error:
            # A name that no file can have: too long, for one.
            raise web.HTTPNotFound(text="there is nothing here\n") from error

    async def preflight(_: web.Request) -> web.Response:
        return web.Response(status=204, headers=PREFLIGHT)

    async def secure(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(SECURITY_HEADERS)
        response.headers.update(_readers(request, origins))

    app.on_response_prepare.append(secure)
    app.middlewares.append(no_such_file)
    app.router.add_static(STATIC, WEB)
    app.router.add_options("/_/api/{rest:.*}", preflight)
    app.router.add_get("/_/api/rooms", list_rooms)
    app.router.add_get("/_/api/rooms/{label}/tweets", list_tweets)
    app.router.add_get("/_/api/sources", list_sources)
    app.router.add_get("/_/{rest:.*}", nothing)
    app.router.add_get("/favicon.ico", favicon)
    app.router.add_get("/robots.txt", robots)
    app.router.add_get("/{room:.*}", page)


def _readers(request: web.Request, origins: Collection[str]) -> dict[str, str]:
    """Which pages of other origins a browser lets read an answer, as headers."""
    if request.path.startswith(STATIC):
        # `roost.js` is for every page; modules and fonts of another origin are only used with this.
        return {"Access-Control-Allow-Origin": ANY}
    if not origins or not request.path.startswith(API):
        return {}
    origin = request.headers.get("Origin", "")
    may = ANY in origins or origin in origins
    return {"Vary": "Origin", **({"Access-Control-Allow-Origin": origin} if origin and may else {})}


def _may_see(grant: Grant, key: str) -> bool:
    """Whether somebody may see the tweets of a label, given by its key. What is none here only those who see all."""
    try:
        return grant.allows(parse_key(key))
    except LabelError:
        return grant.everything


def _granted(request: web.Request, check: TokenCheck) -> Grant:
    """What whoever asks may see; raises `web.HTTPUnauthorized` where that is nothing."""
    try:
        return check(bearer_token(request.headers.get("Authorization")))
    except DeniedError as error:
        metrics.GATEWAY_REFUSED.labels(code=error.code).inc()
        raise web.HTTPUnauthorized(
            text=json.dumps({"error": {"code": error.code, "message": error.message}}),
            content_type="application/json",
            headers={"WWW-Authenticate": "Bearer"},
        ) from None
