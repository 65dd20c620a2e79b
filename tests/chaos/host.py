"""The process that makes the load: a host of Bluesky's stream, and those who post there.

    python -m tests.chaos.host FILE POSTS_A_SECOND

notes each version in FILE. It says lines of JSON: first `{"port"}`, then `{"posts", "calls"}` twice a second, where
`calls` are the latest roll calls, each `[number, moment]`. A line on its input with a number sets the pace anew. An
empty one ends the posting, with one more roll call, and is answered with `{"over": number}` of that. The end of the
input ends the process.
"""

import asyncio
import contextlib
import sys
import time
import zlib
from collections import deque
from pathlib import Path

import uvloop

from tests.chaos.lines import lines_of_input, say
from tests.chaos.posts import Change, World
from tests.chaos.records import Version, Writer
from tests.support.jetstream_server import JetstreamServer, commit, jetstream_server, record, tid

TICK_S = 0.01
CALL_EVERY_S = 0.5
TELL_EVERY_S = 0.5
REMEMBERED_S = 120
"""What is older the host forgets, so that a long run does not fill the memory."""

_FORGOTTEN = (0, "forgotten", "")


class Load:
    """Posts at a steady pace, `per_s` times a second."""

    def __init__(self, host: JetstreamServer, notes: Writer[Version], per_s: float) -> None:
        self._host = host
        self._notes = notes
        self.per_s = per_s
        self._world = World()
        self._last_us = 0
        self._forgotten = 0
        self.posts = 0
        self.calls: deque[tuple[int, float]] = deque(maxlen=20)
        """The latest roll calls and when they were."""

    async def post(self) -> None:
        """Post until cancelled, but for a last roll call."""
        before = called = time.monotonic()
        due = 0.0
        try:
            while True:
                now = time.monotonic()
                due += (now - before) * self.per_s
                before = now
                while self.posts < due:
                    self._tell(self._world.create(now, self._now_us()))
                    self.posts += 1
                for change in self._world.changes(now):
                    self._tell(change)
                if now >= called + CALL_EVERY_S:
                    called = now
                    self._call()
                    self._forget(now)
                await asyncio.sleep(TICK_S)
        finally:
            self._call()

    def _call(self) -> None:
        self._tell(self._world.roll_call(self._now_us()))
        self.calls.append((self._world.calls, time.monotonic()))

    def _tell(self, change: Change) -> None:
        post, us = change.post, self._now_us()
        gone = change.operation == "delete"
        body = None if gone else record(change.content.text, us, **change.content.fields)
        self._host.tell(commit(post.author, post.rkey, tid(us), change.operation, body))
        check = 0 if gone else zlib.crc32(change.content.text.encode())
        rooms = () if gone else post.rooms
        self._notes.note(Version(time.monotonic(), us, post.id, us // 1000, gone, rooms, check))

    def _now_us(self) -> int:
        """A moment that was not given yet."""
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        return self._last_us

    def _forget(self, now: float) -> None:
        history = self._host.history
        before_us = self._host.now_us() - REMEMBERED_S * 1_000_000
        while self._forgotten < len(history) and history[self._forgotten][0] < before_us:
            # In another collection than anybody asks for.
            history[self._forgotten] = _FORGOTTEN
            self._forgotten += 1


async def main(path: Path, per_s: float) -> None:
    """Be the host."""
    with path.open("wb") as file:
        async with jetstream_server() as host:
            say(port=host.port)
            load = Load(host, Writer(file), per_s)
            posting = asyncio.create_task(load.post())
            telling = asyncio.create_task(_tell(load))
            async for line in lines_of_input():
                if line.strip():
                    load.per_s = float(line)
                    continue
                posting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await posting
                say(over=load.calls[-1][0], posts=load.posts, calls=list(load.calls))
            posting.cancel()
            telling.cancel()
            await asyncio.gather(posting, telling, return_exceptions=True)


async def _tell(load: Load) -> None:
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        say(posts=load.posts, calls=list(load.calls))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), float(sys.argv[2])))
