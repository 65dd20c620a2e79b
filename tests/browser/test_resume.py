"""A page that was cut off gets what it missed, sees what changed and what went, and is told where that can't be."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
from playwright.async_api import Browser, expect

from shared.events import Event
from tests.browser.test_gap import UNKNOWN, reads
from tests.browser.test_history import keep, numbered, older, read_back, texts
from tests.support.archive import archive, asking
from tests.support.broker import Broker, free_port
from tests.support.chromium import tabs
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Keep(Protocol):
    def __call__(self, *events: Event) -> Awaitable[None]: ...


@asynccontextmanager
async def serving(broker: Broker, port: int) -> AsyncIterator[None]:
    """A gateway that knows of the archive; each time another one, which remembers nothing."""
    async with gateway(broker, port=port):
        await eventually(lambda: metric("roost_gateway_archive") == 1)
        yield


@asynccontextmanager
async def library(broker: Broker, folder: Path) -> AsyncIterator[Keep]:
    """An archive and a router; yields what publishes and waits until the archive has it."""
    async with archive(broker, folder), asking(broker) as somebody, router(broker):
        yield lambda *events: keep(broker, somebody, *events)


async def test_a_page_gets_what_it_missed_while_its_gateway_was_away(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    port = free_port()
    past = numbered(130)
    async with library(broker, tmp_path) as kept, tabs(chromium) as opened:
        await kept(*past)
        async with serving(broker, port):
            tab = await opened.open(port, "/nfl")
            await read_back(tab)
            await tab.shows(*texts(past))
            await tab.page.keyboard.press("Home")
            await expect(tab.texts.first).to_be_in_viewport()
        await tab.says("Reconnecting…")
        missed = [tweet(f"nfl, missed {number}") for number in range(3)]
        # Of those that came with the page and of those that were loaded later.
        await kept(*missed, edited(past[100], "nfl 100, edited"), deleted(past[110]))
        await kept(edited(past[10], "it is called otherwise"), deleted(past[20]))
        past[100], past[10] = edited(past[100], "nfl 100, edited"), edited(past[10], "it is called otherwise")
        del past[110], past[20]
        async with serving(broker, port):
            await tab.shows(*texts(past + missed))
            await tab.says("Live")
            live = tweet("nfl, live")
            await publish(broker, live)
            await tab.shows(*texts([*past, *missed, live]))
            await expect(tab.page.locator(".gap")).to_have_count(0)
        assert tab.loads == 1


async def test_what_was_missed_waits_for_who_reads_below(broker: Broker, chromium: Browser, tmp_path: Path) -> None:
    port = free_port()
    past = numbered(1_100)
    async with library(broker, tmp_path) as kept, tabs(chromium) as opened:
        await kept(*past)
        async with serving(broker, port):
            tab = await opened.open(port, "/nfl")
            await read_back(tab)
        await tab.says("Reconnecting…")
        missed = [tweet("nfl, missed"), tweet("nfl, missed too")]
        # More than a gateway is told of at once.
        await kept(*missed, deleted(past.pop(0)), deleted(past.pop()))
        async with serving(broker, port):
            await tab.says("Live")
            pending = tab.page.locator("#pending")
            await expect(pending).to_have_text("Show 2 new")
            await tab.shows(*texts(past))
            await pending.click()
            await tab.shows(*texts(past[-198:] + missed))
            assert tab.loads == 1


async def test_a_page_that_never_had_a_tweet_gets_the_last_ones(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    port = free_port()
    async with library(broker, tmp_path) as kept, tabs(chromium) as opened:
        async with serving(broker, port):
            tab = await opened.open(port, "/nfl")
            await expect(tab.page.locator("#empty-title")).to_have_text("No tweet with “nfl” yet")
        await tab.says("Reconnecting…")
        await kept(tweet("nfl, the first"))
        async with serving(broker, port):
            await tab.shows("nfl, the first")
            await tab.says("Live")
            await expect(older(tab)).to_have_attribute("data-state", "end")
        assert tab.loads == 1


async def test_where_there_is_no_archive_the_page_says_what_it_can_not_know(
    broker: Broker, chromium: Browser
) -> None:
    port = free_port()
    async with router(broker), tabs(chromium) as opened:
        async with gateway(broker, port=port):
            tab = await opened.open(port, "/nfl")
            await publish(broker, tweet("nfl one"))
            await reads(tab, "nfl one")
        await tab.says("Reconnecting…")
        await publish(broker, tweet("nfl, and nobody heard it"))
        async with gateway(broker, port=port):
            await tab.says("Live")
            await reads(tab, UNKNOWN, "nfl one")
            await publish(broker, tweet("nfl two"))
            await reads(tab, "nfl two", UNKNOWN, "nfl one")
            await expect(older(tab)).to_have_attribute("data-state", "absent")
            await expect(older(tab).get_by_role("status")).to_be_empty()


async def test_a_page_that_was_put_away_or_asleep_connects_anew(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    past = numbered(60)
    async with library(broker, tmp_path) as kept, tabs(chromium) as opened:
        await kept(*past)
        async with gateway(broker) as app:
            await eventually(lambda: metric("roost_gateway_archive") == 1)
            tab = await opened.open(app.port, "/nfl")
            await tab.shows(*texts(past[10:]))
            connections: list[str] = []
            tab.page.on("websocket", lambda socket: connections.append(socket.url))
            await tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
            await eventually(lambda: len(connections) == 1)
            await tab.says("Live")
            # As when the machine has slept: the clock has gone on, and the page has not.
            await tab.page.evaluate("{ const now = Date.now; Date.now = () => now() + 600_000; }")
            await eventually(lambda: len(connections) == 2)
            await tab.says("Live")
            await publish(broker, tweet("nfl, and on"))
            # The gateway tells a little more than was missed; what is older than the page is no news.
            await tab.shows("nfl, and on", *texts(past[10:]))
            assert tab.loads == 1
