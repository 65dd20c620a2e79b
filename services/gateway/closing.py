"""Ending all connections so that the browsers come back, to another gateway."""

import asyncio
import contextlib

from aiohttp import WSCloseCode, web

from services.gateway.connection import Connection
from services.gateway.engine import Server, Visitor
from services.gateway.engine.websocket import CLOSE_PATIENCE_S

PATIENCE_S = CLOSE_PATIENCE_S + 0.5
"""How long closing handshakes may take; the engine cuts each that takes longer."""


async def close_transports(server: Server[Connection]) -> None:
    """Close the transport of every client, without the Socket.IO packet that would make them stay away."""
    sockets = server.eio.sockets
    server.eio.admit = _refuse
    for socket in list(sockets.values()):
        socket.end(WSCloseCode.GOING_AWAY, "this gateway stops; connect again")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.eio.empty.wait(), PATIENCE_S)
    await server.shutdown()


def _refuse(request: web.Request) -> Visitor:
    """Who comes now would be sent away at once, or forgotten."""
    raise web.HTTPServiceUnavailable(text="this gateway stops; connect again\n", headers={"Retry-After": "1"})
