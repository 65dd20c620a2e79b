"""Prints tweets as they come: `tail.py has_url`, `tail.py term.nfl 'lang.*'`, `tail.py '#'` for all."""

import asyncio
import os
import sys

import aio_pika
import msgpack

URL = os.environ.get("ROOST_AMQP_URL", "amqp://consumer:consumer@localhost:5672/")


async def tail(keys: list[str]) -> None:
    async with await aio_pika.connect(URL) as connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        for key in keys:  # the binding is the subscription: from now on the routers look for it
            await queue.bind("tweets", key)
        async for message in queue.iterator(no_ack=True):
            for tweet in msgpack.unpackb(message.body):
                who = tweet.get("user", {}).get("screen_name", "")
                print(tweet["action"], f"@{who}", " ".join(tweet.get("text", tweet["id"]).split()), flush=True)


try:
    asyncio.run(tail(sys.argv[1:] or ["#"]))
except aio_pika.exceptions.AMQPError as error:
    sys.exit(f"{URL}: {error or 'gone'}. Is Roost up? ROOST_AMQP_URL says where else to look.")
except (BrokenPipeError, KeyboardInterrupt):
    pass
