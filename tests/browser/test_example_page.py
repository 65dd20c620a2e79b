"""The example of two subscriptions, opened from a developer's own server, another origin than the gateway."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, Locator, Route, expect

from services.ingest.sources.demo.timeline import Timeline
from shared.events import Tweet
from tests.browser.test_access import FAULTS, PALE
from tests.browser.test_history import PAGES
from tests.browser.test_resume import Keep, library
from tests.browser.test_roost_js import site, wanted
from tests.browser.test_safety import MARKUP
from tests.browser.test_screenshots import DESKTOP, FOLDER, LAYOUT, PHONE, SCHEMES
from tests.support.broker import ROOT, Broker
from tests.support.chromium import Tab, Tabs, tabs
from tests.support.exchange import publish
from tests.support.services import gateway, metric
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = ROOT / "examples"


class Desk:
    """A developer's server, a gateway that knows it, an archive, and a browser."""

    def __init__(self, broker: Broker, keep: Keep, opened: Tabs, served: int, port: int) -> None:
        self.broker = broker
        self.keep = keep
        self._tabs = opened
        self._served = served
        self.port = port

    async def open(self, term: str = "nfl", **options: Any) -> Tab:
        """The example in a tab, connected."""
        path = f"/subscriptions.html?term={term}&port={self.port}"
        return await self._tabs.open(
            self._served, path, status=f"Connected to http://127.0.0.1:{self.port}", **options
        )


@asynccontextmanager
async def desk(broker: Broker, chromium: Browser, folder: Path) -> AsyncIterator[Desk]:
    async with (
        site(EXAMPLES) as served,
        library(broker, folder) as keep,
        tabs(chromium) as opened,
        gateway(broker, origins=f"http://127.0.0.1:{served}") as app,
    ):
        await eventually(lambda: metric("roost_gateway_archive") == 1)
        yield Desk(broker, keep, opened, served, app.port)


def texts(tab: Tab, section: str) -> Locator:
    """The texts of a column, newest first."""
    return tab.page.locator(f"#{section} article p[dir]")


def told(tab: Tab, section: str) -> Locator:
    """What a column was told how often."""
    return tab.page.locator(f"#{section} .told")


def linking(text: str) -> Tweet:
    return tweet(f"{text} https://example.org/a", urls=("https://example.org/a",))


async def test_one_column_gets_what_is_new_and_one_is_kept_current(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    async with desk(broker, chromium, tmp_path) as here:
        past = [tweet(f"nfl {number} {MARKUP}") for number in range(25)]
        await here.keep(*past)
        tab = await here.open()
        shown = [one.text for one in reversed(past[5:])]
        await expect(texts(tab, "kept")).to_have_text(shown)
        await expect(texts(tab, "links")).to_have_count(0)
        await wanted("term.nfl", "word.nfl")
        new, inside = linking("NFL, says somebody,"), linking("inflation")
        await publish(broker, new, inside, edited(past[24], f"nfl, edited {MARKUP}"), deleted(past[23]))
        await expect(texts(tab, "links")).to_have_text([new.text])
        await expect(told(tab, "links")).to_have_text("create 1")
        await expect(texts(tab, "kept")).to_have_text([inside.text, new.text, f"nfl, edited {MARKUP}", *shown[2:]])
        await expect(told(tab, "kept")).to_contain_text("destroy 1")
        await expect(told(tab, "kept")).to_contain_text("save 1")
        assert await tab.page.evaluate("typeof ran") == "undefined"


async def test_what_happens_between_rendering_and_subscribing_is_told(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    async with desk(broker, chromium, tmp_path) as here:
        past = [tweet(f"nfl {number}") for number in range(3)]
        await here.keep(*past)
        tab = await here.open("xyzzy")

        async def meanwhile(route: Route) -> None:
            rendered = await route.fetch()
            await here.keep(tweet("nfl, new"), edited(past[2], "nfl, edited"), deleted(past[1]))
            await route.fulfill(response=rendered)

        await tab.page.route(PAGES, meanwhile)
        await tab.page.get_by_label("Word").fill("nfl")
        await tab.page.keyboard.press("Enter")
        await expect(texts(tab, "kept")).to_have_text(["nfl, new", "nfl, edited", "nfl 0"])
        await expect(told(tab, "kept")).to_contain_text("create 1")


async def test_a_gateway_that_does_not_know_the_site_is_named(broker: Broker, chromium: Browser) -> None:
    async with site(EXAMPLES) as served, gateway(broker) as app, tabs(chromium) as opened:
        says = f"http://127.0.0.1:{app.port} is away, or does not know http://127.0.0.1:{served}"
        tab = await opened.open(served, f"/subscriptions.html?port={app.port}", status=says)
        # A browser says so, too.
        assert any("CORS" in words for words in tab.complaints)
        tab.complaints.clear()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_it_can_be_read_and_used(
    broker: Broker, chromium: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    FOLDER.mkdir(exist_ok=True)
    now = time.time_ns() // 1_000_000
    demo = Timeline(seed=1, rate=1, run=now)
    async with desk(broker, chromium, tmp_path) as here:
        await here.keep(*(demo.draw(now - (800 - number) * 1_000) for number in range(600)))
        looks = {"desktop": DESKTOP, "phone": PHONE}
        opened = {
            device: await here.open(color_scheme=scheme, reduced_motion="reduce", **options)
            for device, options in looks.items()
        }
        for tab in opened.values():
            await expect(texts(tab, "kept")).to_have_count(20)
        await wanted("term.nfl", "word.nfl")
        await publish(broker, *(demo.draw(now - (200 - number) * 1_000) for number in range(200)))
        for device, tab in opened.items():
            await expect(texts(tab, "links").nth(2)).to_be_attached()
            await tab.page.screenshot(path=FOLDER / f"example-{device}-{scheme}.png")
            assert await tab.page.evaluate(FAULTS) == []
            assert await tab.page.evaluate(PALE) == []
            assert (await tab.page.evaluate(LAYOUT))["sideways"] <= 0
