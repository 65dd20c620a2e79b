"""Who opens a page finds the last tweets on it, and older ones by scrolling, back to where the archive begins."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Route, expect

from services.ingest.sources.demo.timeline import Timeline
from shared.events import Event, Tweet
from tests.browser.conftest import Stage
from tests.browser.test_access import FAULTS, PALE
from tests.browser.test_screenshots import DESKTOP, FOLDER, LAYOUT, PHONE, SCHEMES
from tests.support.archive import Asking, archive, asking
from tests.support.broker import Broker
from tests.support.chromium import Tab, tabs
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually
from tests.unit.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = "**/_/api/rooms/**"

WATCH = """() => {
  globalThis.seen = [];
  const look = () => {
    const shown = (selector) => document.querySelector(selector)?.checkVisibility() ?? false;
    const now = JSON.stringify({
      tweets: document.querySelectorAll("#feed > article").length,
      empty: shown("#empty"),
      pending: shown("#pending"),
      title: document.title,
      announced: document.querySelector("#announce")?.textContent ?? "",
      moving: document.getAnimations().length,
      perched: document.querySelectorAll("#wire .perched").length,
    });
    if (seen.at(-1) !== now) seen.push(now);
  };
  const all = { subtree: true, childList: true, attributes: true, characterData: true };
  new MutationObserver(look).observe(document, all);
}"""
"""Writes down what a reader could have seen of a page, from its first moment."""


class Library(Stage):
    """A stage with an archive beside it."""

    somebody: Asking

    async def keep(self, *events: Event) -> None:
        """Publish events, and wait until they are in the archive."""
        await keep(self.broker, self.somebody, *events)


async def keep(broker: Broker, somebody: Asking, *events: Event) -> None:
    for start in range(0, len(events), 100):
        await publish(broker, *events[start : start + 100])
    await somebody.mark()


@pytest_asyncio.fixture(loop_scope="session")
async def stage(broker: Broker, chromium: Browser, tmp_path: Path) -> AsyncIterator[Library]:
    async with (
        archive(broker, tmp_path),
        asking(broker) as somebody,
        router(broker),
        gateway(broker, unbind_after_s=600) as app,
        tabs(chromium) as opened,
    ):
        await eventually(lambda: metric("roost_gateway_archive") == 1)
        stage = Library(broker, app.port, opened)
        stage.somebody = somebody
        yield stage


def older(tab: Tab) -> Locator:
    """What stands below the tweets."""
    return tab.page.locator("#older")


def numbered(count: int) -> list[Tweet]:
    return [tweet(f"nfl {number}") for number in range(count)]


def texts(tweets: list[Tweet]) -> list[str]:
    """As a page shows them, newest first."""
    return [one.text for one in reversed(tweets)]


async def read_back(tab: Tab) -> None:
    """Scroll down until there is nothing more."""

    async def at_the_end() -> bool:
        await tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        return await older(tab).get_attribute("data-state") == "end"

    await eventually(at_the_end, what="the archive's beginning is reached", within_s=30)
    await expect(older(tab).get_by_role("status")).to_have_text("This is where the archive begins.")
    await tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")


async def test_the_last_tweets_are_there_at_once_and_are_no_news(stage: Library) -> None:
    past = numbered(60)
    await stage.keep(*past)
    tab = await stage.open("/xyzzy")
    await tab.page.add_init_script(f"({WATCH})()")
    await stage.visit(tab, "/nfl")
    await tab.shows(*texts(past[10:]))
    await stage.publish(tweet("nfl, and live"))
    await tab.shows("nfl, and live", *texts(past[10:]))
    seen = await tab.page.evaluate("seen.map(JSON.parse)")
    counts = [one["tweets"] for one in seen]
    assert sorted(set(counts)) == [0, 50, 51]
    assert not any(one["empty"] or one["pending"] or one["announced"] for one in seen)
    assert {one["title"] for one in seen} <= {"", "Roost", "nfl · Roost"}
    assert not any(one["moving"] or one["perched"] for one in seen if one["tweets"] == 50)


async def test_an_empty_room_is_empty_and_no_archive_begins_there(stage: Library) -> None:
    tab = await stage.open("/xyzzy")
    await expect(tab.page.locator("#empty-title")).to_have_text("No tweet with “xyzzy” yet")
    await expect(older(tab).get_by_role("status")).to_be_empty()


async def test_a_reader_scrolls_back_to_the_beginning_while_tweets_come(stage: Library) -> None:
    past = numbered(500)
    await stage.keep(*past)
    tab = await stage.open("/nfl")
    pending, feed = tab.page.locator("#pending"), tab.page.locator("#feed")
    await tab.shows(*texts(past[450:]))
    await tab.page.keyboard.press("End")
    await expect(tab.articles.nth(99)).to_be_attached()
    reading = tab.texts.filter(has_text="nfl 420")
    await reading.scroll_into_view_if_needed()
    before = await reading.bounding_box()
    live = [tweet(f"nfl, live {number}") for number in range(3)]
    await stage.publish(*live, deleted(past[480]), edited(past[410], "nfl 410, edited"), deleted(past[405]))
    await expect(pending).to_have_text("Show 3 new")
    await expect(tab.page.locator(".edited")).to_have_count(1)
    past[410] = edited(past[410], "nfl 410, edited")
    del past[480], past[405]
    for gone in ("nfl 480", "nfl 405"):
        await expect(tab.articles.filter(has_text=gone)).to_have_count(0)
    after = await reading.bounding_box()
    assert before and after and abs(before["y"] - after["y"]) < 2, "the reader keeps the place"
    await read_back(tab)
    await tab.shows(*texts(past))
    await expect(feed).to_have_attribute("aria-busy", "false")
    # The page is short again at the top, and what it let go comes again.
    await pending.click()
    await tab.shows(*texts(past[301:] + live))
    await expect(older(tab).get_by_role("status")).to_be_empty()
    await expect(pending).to_be_hidden()
    await read_back(tab)
    await tab.shows(*texts(past + live))


async def test_what_could_not_wait_is_found_by_scrolling_back(stage: Library) -> None:
    past, flood = numbered(30), [tweet(f"nfl, flood {number}") for number in range(250)]
    await stage.keep(*past)
    tab = await stage.open("/nfl")
    await tab.shows(*texts(past))
    pause = tab.page.get_by_role("button", name="Pause")
    await pause.click()
    await stage.keep(*flood)
    await expect(tab.page.locator("#pending")).to_have_text("Show 200+ new")
    await stage.publish(deleted(flood.pop(100)))
    await expect(tab.page.locator("#pending")).to_have_text("Show 199+ new")
    await tab.page.get_by_role("button", name="Resume").click()
    # None of those that were shown before: between them and these, some are missing.
    await tab.shows(*texts(flood[50:]))
    await read_back(tab)
    await tab.shows(*texts(past + flood))


async def test_a_reader_who_walks_by_keyboard_walks_on(stage: Library) -> None:
    past = numbered(70)
    await stage.keep(*past)
    tab = await stage.open("/nfl")
    await tab.shows(*texts(past[20:]))
    await tab.page.keyboard.press("j")
    for number in range(1, 70):
        await expect(tab.articles.nth(number)).to_be_attached()
        await tab.page.keyboard.press("j")
    await expect(tab.articles.last).to_be_focused()
    await expect(tab.texts.last).to_have_text("nfl 0")


async def test_where_older_tweets_do_not_come_the_page_says_so_and_tries_again(stage: Library) -> None:
    past = numbered(120)
    await stage.keep(*past)
    tab = await stage.open("/nfl")
    answers = [503, 429, 500]
    refusals = {
        503: '{"error": {"code": "no_archive", "message": "there is no archive"}}',
        429: '{"error": {"code": "too_fast", "message": "too many requests"}}',
        500: "oh",
    }

    async def refuse(route: Route) -> None:
        if not answers:
            await route.continue_()
            return
        status = answers.pop()
        await route.fulfill(status=status, headers={"Retry-After": "1"}, body=refusals[status])

    await tab.page.route(PAGES, refuse)
    await tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    says, again = older(tab).get_by_role("status"), older(tab).get_by_role("button", name="Try again")
    await expect(says).to_have_text("Older tweets can’t be loaded now.")
    await expect(again).to_be_visible()
    await again.focus()
    await tab.page.keyboard.press("Enter")
    # It is told to wait, and waits; then there is no archive, of which it has heard nothing yet.
    await expect(tab.page.locator("#feed")).to_have_attribute("aria-busy", "true")
    await expect(tab.articles.last).to_be_focused()
    await expect(older(tab)).to_have_attribute("data-state", "absent")
    await expect(says).to_be_empty()
    tab.complaints.clear()
    assert answers == []
    await expect(again).to_be_hidden()


async def test_older_tweets_need_the_token_too(broker: Broker, chromium: Browser, tmp_path: Path) -> None:
    past = numbered(80)
    async with archive(broker, tmp_path), asking(broker) as somebody, tabs(chromium) as opened:
        await keep(broker, somebody, *past)
        async with gateway(broker, auth="jwt", jwt_secret=SECRET) as app:
            await eventually(lambda: metric("roost_gateway_archive") == 1)
            tab = await opened.open(app.port, "/nfl", status="Token needed")
            await tab.page.locator("#token-box").fill(token(rooms=["term.nfl"]))
            await tab.page.keyboard.press("Enter")
            await tab.says("Live")
            await tab.shows(*texts(past[30:]))
            await read_back(tab)
            await tab.shows(*texts(past))


LONG = """async () => {
  const { Feed } = await import("/_/static/feed.js");
  const root = document.querySelector("#feed");
  const feed = new Feed(root, { room: {}, held: () => true, changed: () => {} });
  const tweet = (seq) => ({ id: `${seq}`, seq, mtime: 1, action: "create", text: `number ${seq}` });
  const shown = () => Array.from(root.querySelectorAll("[data-id]"), (article) => Number(article.dataset.id));
  feed.add(tweet(5001));
  feed.release();
  for (let seq = 5000; seq > 0; seq -= 50) {
    const page = Array.from({ length: 50 }, (_, i) => tweet(seq - i));
    feed.addOlder(page, seq > 50 ? `${seq - 49},${seq - 49}` : null, true);
  }
  const known = feed.documents.length;
  const below = shown();
  feed.destroy({ id: "4999", mtime: 2 });
  feed.update({ ...tweet(4998), mtime: 2, text: "edited" });
  feed.lengthen();
  const further = shown();
  while (feed.lengthen());
  const all = shown();
  feed.release();
  const edited = root.querySelector("[data-id='4998'] .text").textContent;
  return { known, below, further, all, edited, left: shown(), before: feed.before };
}"""
"""Fills a feed with 5,001 tweets, changes some of the uppermost, and climbs up again."""


async def test_of_a_very_long_page_the_upper_part_is_put_aside_and_comes_back(stage: Library) -> None:
    tab = await stage.open("/xyzzy")
    found = await tab.page.evaluate(LONG)
    every = [number for number in range(5001, 0, -1) if number != 4999]
    assert found["known"] == 5001
    assert len(found["below"]) <= 2000
    assert found["below"] == every[-len(found["below"]) :]
    assert found["further"] == every[-len(found["below"]) - 1000 :]
    assert found["all"] == every
    assert found["edited"] == "edited"
    # What was taken away can be asked for again.
    oldest = every[len(found["left"]) - 1]
    assert found["left"] == every[: len(found["left"])]
    assert found["before"] == f"{oldest},{oldest - 1}"


async def test_screenshots_of_the_past(stage: Library) -> None:
    FOLDER.mkdir(exist_ok=True)
    now = int(time.time() * 1000)
    demo = Timeline(seed=1, rate=1, run=now)
    await stage.keep(*(demo.draw(now - (140 - number) * 7_000) for number in range(140)))
    for device, options in {"desktop": DESKTOP, "phone": PHONE}.items():
        tab = await stage.open("/", reduced_motion="reduce", **options)
        going_on = await held_up(tab)
        await expect(tab.articles).to_have_count(50)
        await pictures(tab, f"filled-{device}")
        await tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        await expect(older(tab).get_by_text("Loading…")).to_be_in_viewport()
        await pictures(tab, f"older-{device}")
        going_on.set()
        await read_back(tab)
        await expect(older(tab).get_by_role("status")).to_be_in_viewport()
        await pictures(tab, f"beginning-{device}")


async def held_up(tab: Tab) -> asyncio.Event:
    """Let no older tweets come to the page before the event."""
    going_on = asyncio.Event()

    async def hold(route: Route) -> None:
        await going_on.wait()
        await route.continue_()

    await tab.page.route(PAGES, hold)
    return going_on


async def pictures(tab: Tab, name: str) -> None:
    for scheme in SCHEMES:
        await tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert await tab.page.evaluate(FAULTS) == []
        assert await tab.page.evaluate(PALE) == []
        layout = await tab.page.evaluate(LAYOUT)
        assert layout["sideways"] <= 0
        assert layout["spilling"] == 0
        await tab.page.screenshot(path=FOLDER / f"{name}-{scheme}.png")
