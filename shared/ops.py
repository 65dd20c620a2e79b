"""The private port of each service: `/metrics`, `/healthz`, `/readyz`."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.health import Health
from shared.settings import BadSettingError

KEEPALIVE_S = 75.0
"""How long an HTTP connection stays open without a request."""


@contextlib.asynccontextmanager
async def serve(health: Health, *, host: str, port: int, setting: str) -> AsyncIterator[int]:
    """Serve the private port; yields the port in use. Raises `BadSettingError` as `listening` does."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"alive": health.alive}, status=200 if health.alive else 503)

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response({"ready": health.ready, **health.state()}, status=200 if health.ready else 503)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    async with listening(app, host=host, port=port, setting=setting) as bound:
        yield bound


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    *,
    host: str,
    port: int,
    setting: str,
    backlog: int = 128,
    kernel_buffer_bytes: int | None = None,
) -> AsyncIterator[int]:
    """Serve `app` over HTTP while the context is open; yields the port in use, which a `port` of 0 leaves open.

    Up to `backlog` connections wait to be accepted. `kernel_buffer_bytes` bounds what the kernel holds of each
    connection that is not read (SO_SNDBUF). Raises `BadSettingError` where the port can't be had; `setting` is the
    variable that changes it.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=1.0,
        # The library's own is an hour, for anybody.
        keepalive_timeout=KEEPALIVE_S,
        # Nothing here takes compressed bodies, and a small one can be inflated to a thousand times its size.
        auto_decompress=False,
    )
    await runner.setup()
    assert runner.server is not None
    try:
        try:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(runner.server, host, port, backlog=backlog, reuse_address=True)
        except OSError as error:
            raise BadSettingError(f"{setting}: can't listen on {host}:{port}: {error.strerror or error}") from error
        try:
            for listener in server.sockets:
                if kernel_buffer_bytes is not None:
                    # The sockets that it accepts inherit it.
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffer_bytes)
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
    finally:
        await runner.cleanup()
