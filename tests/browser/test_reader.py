"""What a reader can do: pause, scroll, walk by keyboard, go to another room."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Stage
from tests.support.tweets import deleted, edited, tweet

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_paused_page_holds_new_tweets_and_still_changes_those_it_shows(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    pause, pending = tab.page.locator("#pause"), tab.page.locator("#pending")
    shown, waiting, kept = tweet("nfl shown"), tweet("nfl waiting"), tweet("nfl kept")
    await stage.publish(shown)
    await tab.shows("nfl shown")
    await pause.click()
    await expect(pause).to_have_text("Resume")
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await expect(tab.page.locator("#pace")).to_have_text("paused")
    await stage.publish(waiting, kept)
    await expect(pending).to_have_text("Show 2 new")
    await stage.publish(edited(shown, "nfl shown, edited"), deleted(waiting), edited(kept, "nfl kept, edited"))
    await expect(pending).to_have_text("Show 1 new")
    await tab.shows("nfl shown, edited")
    await pause.click()
    await tab.shows("nfl kept, edited", "nfl shown, edited")
    await expect(pause).to_have_text("Pause")
    await expect(pending).to_be_hidden()


async def test_who_has_scrolled_down_is_not_moved(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    pending = tab.page.locator("#pending")
    await stage.publish(*(tweet(f"nfl {number}") for number in range(30)))
    await expect(tab.articles).to_have_count(30)
    await tab.page.keyboard.press("End")
    await expect(tab.texts.last).to_be_in_viewport()
    await stage.publish(tweet("nfl news"))
    await expect(pending).to_have_text("Show 1 new")
    await expect(tab.articles).to_have_count(30)
    await expect(tab.texts.last).to_be_in_viewport()
    await pending.click()
    await expect(tab.texts.first).to_have_text("nfl news")
    await expect(tab.texts.first).to_be_in_viewport()


async def test_the_page_by_keyboard(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    press = tab.page.keyboard.press
    await stage.publish(*(tweet(f"nfl {number}") for number in range(3)))
    await tab.shows("nfl 2", "nfl 1", "nfl 0")
    for key, number in {"j": 0, "jj": 2, "k": 1}.items():
        for one in key:
            await press(one)
        await expect(tab.articles.nth(number)).to_be_focused()
    # Nothing moves under who is walking; the tweet under the focus may go.
    newest = tweet("nfl newest")
    await stage.publish(newest)
    await expect(tab.page.locator("#pending")).to_have_text("Show 1 new")
    await press("n")
    await tab.shows("nfl newest", "nfl 2", "nfl 1", "nfl 0")
    await expect(tab.articles.first).to_be_focused()
    await stage.publish(deleted(newest))
    await tab.shows("nfl 2", "nfl 1", "nfl 0")
    await expect(tab.articles.first).to_be_focused()
    await press("Escape")
    await expect(tab.articles.first).not_to_be_focused()
    pause = tab.page.locator("#pause")
    for key, says in {"Space": "Resume", "p": "Pause"}.items():
        await press(key)
        await expect(pause).to_have_text(says)
    await press("/")
    box = tab.page.locator("#room-box")
    await expect(box).to_be_focused()
    await tab.page.keyboard.type("p j/n")
    await expect(box).to_have_value("p j/n")
    await expect(pause).to_have_text("Pause")
    await press("Escape")
    await tab.page.locator("#keys").uncheck()
    await press("p")
    await press("j")
    await expect(pause).to_have_text("Pause")
    await expect(tab.articles.first).not_to_be_focused()
    await stage.visit(tab, "/nfl")
    await expect(tab.page.locator("#keys")).not_to_be_checked()


async def test_the_box_goes_to_any_room(stage: Stage) -> None:
    tab = await stage.open("/")
    paths = {
        "nyc": "/nyc",
        " Super Bowl ": "/Super%20Bowl",
        "#nfl": "/tag/nfl",
        "@nfl": "/from/nfl",
        "c#": "/c%23",
        "100%": "/100%25",
        "word/nfl": "/word/nfl",
        "/lang/en": "/lang/en",
        "a/b?c": "/a%2Fb%3Fc",
        "socket.io": "/term/socket.io",
        "//elsewhere.example/x": "/elsewhere.example/x",
        r"/\elsewhere.example/x": "/%5Celsewhere.example/x",
        "javascript:alert(1)": "/javascript%3Aalert(1)",
        "🏈": "/%F0%9F%8F%88",
        "": "/",
    }
    led = await tab.page.evaluate(
        """async (typed) => {
          const { pathFor } = await import("/_/static/room.js");
          return Object.fromEntries(typed.map((text) => [text, pathFor(text)]));
        }""",
        list(paths),
    )
    assert led == paths
    for typed in (" Super Bowl ", "#nfl", "//elsewhere.example/x"):
        await tab.page.locator("#room-box").fill(typed)
        await tab.page.keyboard.press("Enter")
        await expect(tab.page).to_have_url(f"http://127.0.0.1:{stage.port}{paths[typed]}")
        await tab.says("Live")


async def test_links_in_the_page_lead_to_other_rooms_and_back(stage: Stage) -> None:
    tab = await stage.open("/xyzzy")
    await tab.page.locator("#empty a", has_text="/nfl").click()
    await tab.says("Live")
    await stage.wanted("/nfl")
    await stage.publish(tweet("the nfl, says @wren", screen_name="finch"))
    await tab.articles.locator("a.author").click()
    await expect(tab.page.locator("#room")).to_have_text("@finch")
    await tab.page.go_back()
    await expect(tab.page.locator("#room")).to_have_text("nfl")
    await tab.says("Live")
