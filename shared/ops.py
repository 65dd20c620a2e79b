"""The private port of each service: `/metrics`, `/healthz`, `/readyz`."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.health import Health
from shared.settings import BadSettingError


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
async def listening(app: web.Application, *, host: str, port: int, setting: str) -> AsyncIterator[int]:
    """Serve `app` over HTTP while the context is open; yields the port in use, which a `port` of 0 leaves open.

    Raises `BadSettingError` where the port can't be had; `setting` is the variable that changes it.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise BadSettingError(f"{setting}: can't listen on {host}:{port}: {error.strerror or error}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
