"""Engine.IO and Socket.IO as Roost runs them: WebSockets are taken from the HTTP server and written to directly.

This is the only place that touches what python-engineio, python-socketio and aiohttp keep to themselves;
`tests/unit/test_engine.py` tells which names those are and fails when a version moves them. The libraries keep the
protocol: handshakes, sessions, long polling, packets, frames. What is different here:

- Once a WebSocket is open, its transport belongs to a protocol of ours and all that aiohttp holds for an HTTP request
  is let go, which is most of what a connection would take (docs/benchmarks.md). Nothing is queued above the transport
  any more, so what is written directly can overtake nothing.
- A connection has no task of its own: packets that arrive are handled by a task that ends with the last of them, and
  the heartbeat is a timer.
- What waits for a client has a bound. `Socket.ready` tells whether there is room.
"""

from services.gateway.engine.server import Engine, Server
from services.gateway.engine.socket import Socket, Visitor

__all__ = ["Engine", "Server", "Socket", "Visitor"]
