"""Somebody who enters a room in tests of what one is told there."""

from typing import Any

import orjson

from services.gateway import frames
from services.gateway.auth import Grant
from services.gateway.connection import Connection
from services.gateway.rooms import Room


class Newcomer:
    """A client that polls, and keeps what it is told."""

    ready = None

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.told: list[tuple[str, Any]] = []

    def deliver(self, outlet: Room[Connection], batch: frames.Batch) -> None:
        """As `Connection`."""
        for event in batch.events:
            name, payload, room = orjson.loads(event.removeprefix(b"2"))
            assert room == outlet.name
            self.told.append((name, payload))

    def short(self) -> list[str]:
        """`newTweet nfl 1`, `destroyTweet`, `gap`."""
        return [f"{name} {payload['text']}" if "text" in payload else name for name, payload in self.told]
