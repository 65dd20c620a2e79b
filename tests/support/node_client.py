"""The Socket.IO client library that browsers use, run in Node.js."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from tests.support.broker import ROOT
from tests.support.waiting import eventually


class NodeClient:
    """What `tests/e2e/client.mjs` has printed so far."""

    def __init__(self) -> None:
        self.lines: list[list[Any]] = []

    def page(self, room: str) -> dict[str, str]:
        """What a page that does as it is told shows of a room: id → text."""
        shown: dict[str, str] = {}
        for event, payload, name in self.lines:
            if name != room or not isinstance(payload, dict):
                continue
            if event == "destroyTweet":
                shown.pop(payload["id"], None)
            elif event in ("newTweet", "updateTweet"):
                shown[payload["id"]] = payload["text"]
        return shown

    def has(self, event: str) -> bool:
        """Whether a line of that event came."""
        return any(line[0] == event for line in self.lines)


@contextlib.asynccontextmanager
async def node_client(
    port: int, rooms: Sequence[str], *, transports: str, token: str = ""
) -> AsyncIterator[NodeClient]:
    """A Node.js client that is in `rooms`; `transports` as Socket.IO names them, by comma."""
    node = shutil.which("node") or shutil.which("node", path=str(ROOT / ".venv" / "bin"))
    if node is None or not (ROOT / "node_modules" / "socket.io-client").is_dir():
        pytest.fail("no Node.js or no socket.io-client: run `make setup`")
    process = await asyncio.create_subprocess_exec(
        node,
        str(ROOT / "tests" / "e2e" / "client.mjs"),
        f"http://127.0.0.1:{port}",
        transports,
        *rooms,
        env={**os.environ, "TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        limit=1024 * 1024,
        # The `node` of a wheel is a wrapper: the signal that ends it has to reach what it runs, too.
        start_new_session=True,
    )
    client = NodeClient()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            client.lines.append(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        await eventually(lambda: client.has("ready"), what="the Node.js client is in its rooms")
        yield client
    finally:
        # One that was refused has ended by itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
        await reading
