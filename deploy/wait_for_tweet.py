"""Waits until a tweet comes through a room, as a browser would: `wait_for_tweet.py URL ROOM SECONDS`.

Says from time to time what it waits for. Ends with 0 when a tweet has come, with 1 when none came in time.
"""

import asyncio
import contextlib
import sys
import time
from typing import Any

import socketio
from socketio.exceptions import SocketIOError

from deploy import sources

SAY_EVERY_S = 5


async def wait_for_tweet(url: str, room: str, within_s: float) -> dict[str, Any] | None:
    """The first tweet that arrives in `room` of the Roost at `url`, or None if none does in time (seconds)."""
    stage = [f"{url} does not answer yet"]
    try:
        async with asyncio.timeout(within_s):
            talker = asyncio.create_task(_say(stage, url))
            try:
                while True:
                    with contextlib.suppress(SocketIOError, TimeoutError):
                        return await _first(url, room, stage)
                    await asyncio.sleep(0.5)
            finally:
                talker.cancel()
    except TimeoutError:
        return None


async def _first(url: str, room: str, stage: list[str]) -> dict[str, Any]:
    client = socketio.AsyncClient(reconnection=False)
    arrived: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def on_tweet(tweet: dict[str, Any], _room: str) -> None:
        if not arrived.done():
            arrived.set_result(tweet)

    def on_disconnect(*_reason: object) -> None:
        if not arrived.done():
            arrived.set_exception(socketio.exceptions.DisconnectedError())

    client.on("newTweet", on_tweet)
    client.on("disconnect", on_disconnect)
    try:
        await client.connect(url, transports=["websocket"], wait_timeout=3)
        stage[0] = f"{url} answers, but not to our subscription yet"
        await client.call("subscribe", room, timeout=5)
        stage[0] = f"subscribed to /{room}, no tweet yet"
        return await arrived
    finally:
        await client.disconnect()


async def _say(stage: list[str], url: str) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(SAY_EVERY_S)
        print(f"  … {time.monotonic() - began:.0f} s: {stage[0]}", flush=True)
        answer = await asyncio.to_thread(sources.ask, url)
        if set(sources.states(answer).values()) - {"live"}:
            print("\n".join(f"      {line}" for line in sources.lines(answer)), flush=True)


def main() -> int:
    """Run with the command line's arguments; returns the exit code."""
    url, room, within_s = sys.argv[1:]
    print(f"Waiting for a tweet in /{room} …", flush=True)
    tweet = asyncio.run(wait_for_tweet(url, room, float(within_s)))
    if tweet is None:
        return 1
    print(f"@{tweet['user']['screen_name']}: {' '.join(tweet['text'].split())}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
