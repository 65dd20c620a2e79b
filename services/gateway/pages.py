"""The HTTP side: the page at every room's URL, its files, and the lists of rooms and of sources."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from services.gateway.rooms import Rooms
from services.gateway.sources import Sources

WEB = Path(__file__).parent / "web"

SECURITY_HEADERS = {
    # Nothing that a tweet contains can run, and nothing inline does.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' https: data:; connect-src 'self' ws: wss:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_routes(app: web.Application, rooms: Rooms, sources: Sources) -> None:
    """Serve everything that is not Socket.IO. What no other route takes is the URL of a room."""

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})

    async def favicon(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "favicon.svg", headers={"Cache-Control": "max-age=86400"})

    async def robots(_: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /\n")

    async def list_rooms(_: web.Request) -> web.Response:
        rows = [
            {"room": room.name, "label": room.label.key, "url": room.label.url, "members": len(room.members)}
            for room in rooms.all()
        ]
        return web.json_response({"rooms": sorted(rows, key=lambda row: (-int(row["members"]), row["room"]))})

    async def list_sources(_: web.Request) -> web.Response:
        return web.json_response({"sources": sources.rows(asyncio.get_running_loop().time())})

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

    async def secure(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(SECURITY_HEADERS)

    app.on_response_prepare.append(secure)
    app.middlewares.append(no_such_file)
    app.router.add_static("/_/static", WEB)
    app.router.add_get("/_/api/rooms", list_rooms)
    app.router.add_get("/_/api/sources", list_sources)
    app.router.add_get("/_/{rest:.*}", nothing)
    app.router.add_get("/favicon.ico", favicon)
    app.router.add_get("/robots.txt", robots)
    app.router.add_get("/{room:.*}", page)
