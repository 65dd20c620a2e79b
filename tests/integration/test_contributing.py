"""What CONTRIBUTING.md says of a second collection is true: its own code is what runs here."""

import re
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
import socketio

from services.gateway import seams
from services.gateway.app import GatewayApp
from services.gateway.subscriptions import collections, request
from shared.broker import connect
from shared.events import Action
from tests.integration.test_history import stage
from tests.support.broker import ROOT, Broker
from tests.support.exchange import publish
from tests.support.tweets import tweet
from tests.support.waiting import eventually

told: dict[str, list[Any]] = {}

ANN = {"name": "Ann", "password": "secret"}


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module `shared.notes` of the document, with its collection declared."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a collection")[2]
    module_code, declaration, *_ = map(textwrap.dedent, re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    module = ModuleType("shared.notes")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(module_code, module.__dict__)
    declared: dict[str, Any] = {"Collection": collections.Collection, "notes": module}
    exec(declaration, declared)
    both = {**collections.COLLECTIONS, declared["NOTE"].name: declared["NOTE"]}
    monkeypatch.setattr(seams, "COLLECTIONS", both)
    monkeypatch.setattr(request, "read", partial(request.read, collections=both))
    return module


@asynccontextmanager
async def client(app: GatewayApp) -> AsyncIterator[Callable[[object], Awaitable[Any]]]:
    """Somebody who subscribes. What comes is in `told`, by event."""
    one = socketio.AsyncClient(reconnection=False)

    async def hear(event: str, *arguments: Any) -> None:
        told.setdefault(event, []).append(arguments[0])

    one.on("*", hear)
    await one.connect(f"http://localhost:{app.port}", transports=["websocket"], wait_timeout=10)
    told.clear()
    try:
        yield partial(one.call, "subscribe", timeout=10)
    finally:
        await one.disconnect()


def texts(event: str) -> list[str]:
    """The texts of what has come under an event."""
    return [document["text"] for document in told.get(event, ())]


async def test_a_second_collection_is_a_page_of_code(broker: Broker, tmp_path: Path, notes: Any) -> None:
    asked = {"uid": "a", "collection": "note", "fields": ["text", "author"], "createQuery": {"term": "milk"}}
    async with stage(broker, tmp_path) as app, connect(broker.amqp_url("ingest"), name="test notes") as connection:
        here = notes.Notes(await connection.channel(confirms=True))
        async with client(app) as subscribe:
            assert (await subscribe(asked))["labels"] == ["term.milk"]
            await subscribe("milk")
            await here.publish(Action.CREATE, "note:1", 1, {"text": "Buy milk", "author": ANN, "secret": "s"})
            since = here._seq
            await here.publish(Action.CREATE, "note:2", 1, {"text": "milk and honey", "author": ANN})
            await here.publish(Action.UPDATE, "note:1", 2, {"text": "Buy tea", "author": ANN})
            await here.publish(Action.DESTROY, "note:2", 3, {})
            await publish(broker, tweet("a tweet about milk"))
            await eventually(lambda: told.get("a:note:destroy") == [{"id": "note:2"}] and "newTweet" in told)
            assert texts("a:note:create") == ["Buy milk", "milk and honey"]
            assert texts("a:note:save") == ["Buy tea"]
            assert all(note["author"] == {"name": "Ann"} and "secret" not in note for note in told["a:note:create"])
            assert texts("newTweet") == ["a tweet about milk"], "rooms show tweets alone"
        async with client(app) as subscribe:
            await subscribe({**asked, "documents": {"note:1": 1, "note:2": 1}, "since": since})
            assert texts("a:note:save") == ["Buy tea"]
            assert told["a:note:destroy"] == [{"id": "note:2"}]
            await subscribe({"room": "tea", "backfill": 10, "documents": {"note:1": 1}})
            await subscribe({"uid": "b", "collection": "tweet", "documents": {"note:1": 1}})
            assert {event for event in told if "note" not in event} <= {"status"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{app.port}/_/api/rooms/all/tweets") as response,
        ):
            assert [one["text"] for one in (await response.json())["tweets"]] == ["a tweet about milk"]
