"""What the page says where tweets are missing."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from services.gateway.app import GatewayApp
from services.gateway.holes import Hole
from tests.browser.conftest import Stage
from tests.browser.test_access import FAULTS, PALE
from tests.browser.test_screenshots import DESKTOP, FOLDER, LAYOUT, PHONE, SCHEMES
from tests.support.broker import Broker
from tests.support.chromium import Tab, tabs
from tests.support.services import gateway, router
from tests.support.tweets import deleted, tweet

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNKNOWN = "Some tweets may be missing here"


class Gaps(Stage):
    """A stage on which the gateway can be made to say that something is missing."""

    app: GatewayApp

    def overflow(self) -> None:
        """As when the broker has dropped tweets of the gateway's queue."""
        self.app._mending.fell_into(Hole(None, 2))

    def skip(self, missed: int) -> None:
        """As when a client has not kept up, and the gateway has counted what it was not sent."""
        for connection in self.app._server.let_in():
            connection.emit("gap", {"missed": missed, "from": 1, "to": missed}, "nfl")


@pytest_asyncio.fixture(loop_scope="session")
async def stage(broker: Broker, chromium: Browser) -> AsyncIterator[Gaps]:
    async with router(broker), gateway(broker, unbind_after_s=600) as app, tabs(chromium) as opened:
        stage = Gaps(broker, app.port, opened)
        stage.app = app
        yield stage


def lines(tab: Tab) -> Locator:
    """All that is in the feed, newest first: texts of tweets, and lines about gaps."""
    return tab.page.locator("#feed > article:not([inert]) > p")


async def reads(tab: Tab, *expected: str) -> None:
    """Wait until the feed reads so, newest first."""
    await expect(lines(tab)).to_have_text(list(expected))


async def test_a_line_stands_where_tweets_are_missing(stage: Gaps) -> None:
    tab = await stage.open("/nfl")
    await stage.publish(tweet("nfl one"))
    await reads(tab, "nfl one")
    stage.overflow()
    await reads(tab, UNKNOWN, "nfl one")
    await stage.publish(tweet("nfl two"))
    await reads(tab, "nfl two", UNKNOWN, "nfl one")
    stage.skip(1)
    await stage.publish(tweet("nfl three"))
    await reads(tab, "nfl three", "1 tweet could not be shown", "nfl two", UNKNOWN, "nfl one")


async def test_several_that_follow_each_other_are_one(stage: Gaps) -> None:
    tab = await stage.open("/nfl")
    two = tweet("nfl two")
    await stage.publish(tweet("nfl one"))
    await reads(tab, "nfl one")
    stage.skip(3)
    await reads(tab, "3 tweets could not be shown", "nfl one")
    stage.skip(1_000)
    await reads(tab, "1003 tweets could not be shown", "nfl one")
    await stage.publish(two)
    await reads(tab, "nfl two", "1003 tweets could not be shown", "nfl one")
    stage.overflow()
    stage.overflow()
    await reads(tab, UNKNOWN, "nfl two", "1003 tweets could not be shown", "nfl one")
    await stage.publish(deleted(two))
    await reads(tab, "1003 tweets could not be shown, maybe more", "nfl one")


async def test_lines_wait_in_their_places_with_the_tweets(stage: Gaps) -> None:
    tab = await stage.open("/nfl")
    stage.overflow()
    await reads(tab, UNKNOWN)
    await expect(tab.page.locator("#empty-title")).to_have_text("No tweet with “nfl” yet")
    await tab.page.get_by_role("button", name="Pause").click()
    pending = tab.page.locator("#pending")
    gone = tweet("nfl gone")
    await stage.publish(tweet("nfl one"))
    await expect(pending).to_have_text("Show 1 new")
    stage.skip(2)
    await stage.publish(gone)
    await expect(pending).to_have_text("Show 2 new")
    stage.skip(3)
    await stage.publish(deleted(gone))
    await expect(pending).to_have_text("Show 1 new")
    await stage.publish(tweet("nfl two"))
    await expect(pending).to_have_text("Show 2 new")
    await reads(tab, UNKNOWN)
    await pending.click()
    await reads(tab, "nfl two", "5 tweets could not be shown", "nfl one", UNKNOWN)


async def test_who_walks_by_keyboard_comes_by(stage: Gaps) -> None:
    tab = await stage.open("/nfl")
    await stage.publish(tweet("nfl one", screen_name="ada"))
    await reads(tab, "nfl one")
    stage.overflow()
    await stage.publish(tweet("nfl two", screen_name="bo"))
    await reads(tab, "nfl two", UNKNOWN, "nfl one")
    walked = []
    for _ in range(3):
        await tab.page.keyboard.press("j")
        walked.append(await tab.focused())
    assert walked == ["Bo, @bo", "Tweets are missing", "Ada, @ada"]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_everybody_can_read_it(stage: Gaps, scheme: Literal["light", "dark"]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for device, room, options in (("desktop", "/nfl", DESKTOP), ("phone", "/word/nfl", PHONE)):
        tab = await stage.open(room, color_scheme=scheme, reduced_motion="reduce", **options)
        await stage.publish(tweet(f"nfl: before the gap, as one reads it on a {device}"))
        await expect(tab.articles).to_have_count(1)
        stage.skip(12)
        stage.overflow()
        await stage.publish(tweet("nfl: between the gaps"))
        await expect(tab.articles).to_have_count(2)
        stage.overflow()
        await stage.publish(tweet("nfl: after them"))
        await expect(tab.articles).to_have_count(3)
        assert await tab.page.evaluate(FAULTS) == []
        assert await tab.page.evaluate(PALE) == []
        assert (await tab.page.evaluate(LAYOUT))["sideways"] <= 0
        await tab.page.screenshot(path=FOLDER / f"gap-{device}-{scheme}.png")
