"""Ending all connections so that the browsers come back, to another gateway."""

import asyncio

import socketio

PATIENCE_S = 2.0
"""How long closing handshakes may take; the connections are cut after it."""


async def close_transports(server: socketio.AsyncServer) -> None:
    """Close the transport of every client, without the Socket.IO packet that would make them stay away."""
    sockets = dict(server.eio.sockets)
    for socket in sockets.values():
        # The end marker of python-engineio's own queue: what is queued before it still goes out, then the
        # transport is closed. `disconnect()` sends a packet after which a JavaScript client does not come back.
        await socket.queue.put(None)
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while asyncio.get_running_loop().time() < deadline:
        if all(socket.closed or not socket.upgraded for socket in sockets.values()):
            break
        await asyncio.sleep(0.02)
    await server.shutdown()
