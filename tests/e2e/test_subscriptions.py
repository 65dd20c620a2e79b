"""A page in Node.js that goes from one gateway to another, or whose gateway is killed, while the world goes on."""

import asyncio
import contextlib
import json
import os
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.events import Action, Event, Tweet
from tests.integration.conftest import empty_queues
from tests.support.archive import Chain, take_away
from tests.support.broker import ROOT, Broker, free_port
from tests.support.processes import processes
from tests.support.tweets import deleted, tweet
from tests.support.waiting import eventually

__all__ = ["empty_queues"]

TEXTS = ["nfl", "the nfl draft", "inflation", "of something else", "NFL #nfl"]
LINKS = [(), ("https://example.org/1",), ("https://example.org/1", "https://example.org/2")]


class Page:
    """What `tests/e2e/subscriber.mjs` says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[list[Any]] = []

    def number(self, *beginning: str) -> int:
        """How many lines began so."""
        return sum(line[: len(beginning)] == [*beginning] for line in self.lines)

    async def go(self, port: int) -> None:
        """Go to the gateway on a port; returns when it is told to, not when it is there."""
        await self._say(f"go http://127.0.0.1:{port}")

    async def shows(self) -> Any:
        """By the `uid` of its subscriptions `{documents, since}`."""
        before = self.number("shows")
        await self._say("show")
        await eventually(lambda: self.number("shows") > before)
        return [line for line in self.lines if line[0] == "shows"][-1][1]

    async def read(self) -> None:
        """Until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(json.loads(line))

    async def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()


@asynccontextmanager
async def subscriber() -> AsyncIterator[Page]:
    """A page in Node.js that is nowhere yet."""
    node = shutil.which("node") or shutil.which("node", path=str(ROOT / ".venv" / "bin"))
    if node is None or not (ROOT / "node_modules" / "socket.io-client").is_dir():
        pytest.fail("no Node.js or no socket.io-client: run `make setup`")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        node,
        str(ROOT / "tests" / "e2e" / "subscriber.mjs"),
        stdin=pipe,
        stdout=pipe,
        limit=16 * 1024 * 1024,
        env={name: value for name, value in os.environ.items() if not name.startswith("ROOST_")},
    )
    page = Page(process)
    reading = asyncio.create_task(page.read())
    try:
        yield page
    finally:
        # At the end of its input it disconnects and ends.
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


class World:
    """Tweets that come, change and go all the time, and which of them there are."""

    def __init__(self, broker: Broker, seed: int) -> None:
        self._chain = Chain(broker)
        self._random = random.Random(seed)
        self.tweets: dict[str, Tweet] = {}
        """Those that there are, in their newest version."""
        self.changes = 0
        self._mtime = 1_700_000_000_000

    @asynccontextmanager
    async def turning(self) -> AsyncIterator[None]:
        """It goes on all the while."""

        async def turn() -> None:
            while True:
                await self.change()

        task = asyncio.create_task(turn())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def change(self) -> None:
        """Publish some changes, in several batches; cancelled, it publishes them all the same."""
        batches = [[self._event() for _ in range(self._random.randint(1, 4))] for _ in range(3)]
        self.changes += sum(map(len, batches))
        publishing = asyncio.create_task(self._chain.publish(*batches))
        try:
            await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await publishing
            raise

    def _event(self) -> Event:
        self._mtime += 10
        pick = self._random.random()
        if pick < 0.6 or not self.tweets:
            one = tweet(self._text(), mtime=self._mtime, urls=self._random.choice(LINKS))
        elif pick < 0.85:
            old = self._random.choice(list(self.tweets.values()))
            urls = self._random.choice([old.urls, *LINKS])
            one = tweet(self._text(), id=old.id, mtime=self._mtime, action=Action.UPDATE, urls=urls)
        else:
            gone = self.tweets.pop(self._random.choice(list(self.tweets)))
            return deleted(gone, later_ms=self._mtime - gone.mtime)
        self.tweets[one.id] = one
        return one

    def _text(self) -> str:
        return f"{self._random.choice(TEXTS)} {self._mtime}"

    def differences(self, pages: Any) -> list[str]:
        """What a page does not show that it should, or shows and should not, or not as it is."""
        found = []
        nfl, links = (pages[uid]["documents"] for uid in ("nfl", "links"))
        matching = {id for id, one in self.tweets.items() if "nfl" in one.text.lower()}
        linking = {id for id in matching if self.tweets[id].urls}
        for uid, shown, wanted in (("nfl", nfl, matching), ("links", links, linking)):
            found += [f"{uid} lacks {self.tweets[id]}" for id in wanted - shown.keys()]
            # What has matched once, and was sent, stays until it goes.
            found += [f"{uid} still has {shown[id]}" for id in shown.keys() - self.tweets.keys()]
        for id in nfl.keys() & self.tweets.keys():
            one = self.tweets[id]
            if (nfl[id]["text"], nfl[id]["mtime"]) != (one.text, one.mtime):
                found.append(f"nfl has {nfl[id]}, and it is {one}")
        for id in links.keys() & self.tweets.keys():
            if tuple(links[id]["urls"]) != self.tweets[id].urls:
                found.append(f"links has {links[id]}, and it is {self.tweets[id]}")
        return found


async def until_it_shows(page: Page, world: World) -> None:
    """Wait until a page shows all of the world that it should, as it is."""
    found: list[str] = []

    async def differences() -> bool:
        found[:] = world.differences(await page.shows())
        return not found

    try:
        await eventually(differences)
    except AssertionError:
        said = [str(line) for line in page.lines if line[0] in ("subscribed", "wrong", "gap")]
        pytest.fail("\n".join([*said[:20], f"{len(found)} differences:", *found[:10]]))


def check(page: Page) -> None:
    """Nothing came that was no news, and nothing was left out."""
    assert [line for line in page.lines if line[0] in ("wrong", "gap")] == []
    for line in page.lines:
        assert line[0] != "subscribed" or "error" not in line[2], line
    assert page.number("create") > 20
    assert page.number("save") > 5
    assert page.number("destroy") > 2


async def test_a_page_that_goes_from_gateway_to_gateway_has_in_the_end_what_the_world_has(
    broker: Broker, tmp_path: Path
) -> None:
    take_away(broker)
    async with processes(broker) as start, subscriber() as page:
        ports = [free_port(), free_port()]
        # It comes first: gateways wait for an archive that they have reason to expect.
        await start.start("archive", folder=tmp_path)
        await asyncio.gather(
            start.start("router"),
            start.start("router"),
            *(start.start("gateway", port=port) for port in ports),
        )
        world = World(broker, 1)
        await world.change()
        async with world.turning():
            for number in range(8):
                # There and back, now and then before it has been told all.
                ready = page.number("ready") + 1
                await page.go(ports[number % 2])
                if number % 3 != 1:
                    await eventually(lambda ready=ready: page.number("ready") >= ready)
                changes = world.changes + 20
                await eventually(lambda changes=changes: world.changes >= changes)
        await until_it_shows(page, world)
        # And nothing is under way that would change that.
        await world.change()
        await until_it_shows(page, world)
        check(page)
    take_away(broker)


@pytest.mark.slow
async def test_a_page_whose_gateway_is_killed_has_in_the_end_what_the_world_has(
    broker: Broker, tmp_path: Path
) -> None:
    take_away(broker)
    async with processes(broker) as start, subscriber() as page:
        port = free_port()
        await start.start("archive", folder=tmp_path)
        _, gateway = await asyncio.gather(start.start("router"), start.start("gateway", port=port))
        world = World(broker, 2)
        await world.change()
        await page.go(port)
        await eventually(lambda: page.number("ready") == 1)
        async with world.turning():
            for number in range(2):
                await eventually(lambda number=number: world.changes >= 60 * (number + 1))
                gateway.kill()
                gateway = await start.start("gateway", port=port)
                await eventually(lambda number=number: page.number("ready") == number + 2)
            changes = world.changes + 30
            await eventually(lambda: world.changes >= changes)
        await until_it_shows(page, world)
        check(page)
    take_away(broker)
