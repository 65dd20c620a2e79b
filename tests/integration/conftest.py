"""Every test here begins with empty queues on the exchanges, and with sources that were never read."""

from collections.abc import AsyncIterator

import aio_pika
import pytest_asyncio

from tests.support.broker import Broker


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
