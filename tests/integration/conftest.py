"""Every test here begins with empty queues on the exchanges, and with sources that were never read."""

from collections.abc import AsyncIterator

import aio_pika
import pytest
import pytest_asyncio

from services.gateway import connection
from services.gateway.engine import websocket
from tests.support.broker import Broker
from tests.support.wire import Visits, visiting


@pytest_asyncio.fixture(autouse=True)
async def empty_queues(broker: Broker) -> AsyncIterator[None]:
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection:
        channel = await connection.channel()
        for name in ("router.raw", "dead-letters"):
            await (await channel.get_queue(name)).purge()
        for source in ("list", "synthetic", "replay", "bsky", "x"):
            await channel.queue_delete(f"ingest.state.{source}")
    yield


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that answer nothing are not waited for as long as on the Internet."""
    monkeypatch.setattr(connection, "REFUSAL_PATIENCE_S", 1.0)
    monkeypatch.setattr(websocket, "CLOSE_PATIENCE_S", 0.2)


@pytest_asyncio.fixture
async def visits() -> AsyncIterator[Visits]:
    """A place to open sessions from."""
    async with visiting() as visits:
        yield visits
