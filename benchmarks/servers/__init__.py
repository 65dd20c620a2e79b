"""The servers that are compared, each a process of its own that obeys `benchmarks.control`.

Each serves Socket.IO's `subscribe` alike and knows two commands: `prepare` makes tweets ready as the server would
have them in hand, and `fire` sends them to the room `nfl`, so many in one turn of the loop, one turn each so many
milliseconds.
"""

ROOM = "nfl"

NAMES = {
    "roost": "Roost",
    "node": "Node.js",
    "stock": "python-socketio",
    "floor": "the floor",
    "aiopika": "python-socketio with AsyncAioPikaManager",
}
"""What people are told, by the name that the servers have in the programs."""


def us_key(server: str) -> str:
    """Under which key the figures of `fanout` have the µs of a server."""
    return "python_socketio_us" if server == "stock" else f"{server}_us"
