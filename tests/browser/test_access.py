"""Whether everybody can use the page: names, languages, order of focus, contrast, motion."""

from typing import Any, Literal

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Stage
from tests.support.tweets import PHOTO, edited, tweet

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAULTS = """() => {
  const faults = [];
  const check = (selector, fine, fault) => {
    for (const node of document.querySelectorAll(selector)) {
      if (node.checkVisibility() && !fine(node)) faults.push(`${fault}: ${node.outerHTML.slice(0, 120)}`);
    }
  };
  const named = (node) => node.getAttribute("aria-label") || node.labels?.length || node.textContent.trim();
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`twice: #${id}`);
  check("html", (node) => node.lang, "no language");
  check("article", named, "no name");
  check("article", (node) => node.tabIndex === -1, "in the way of the Tab key");
  check("a, button, input, select, textarea, [role=feed], nav, form, h1, h2", named, "no name");
  check("img", (node) => node.hasAttribute("alt"), "no alt");
  check("svg", (node) => node.closest("[aria-hidden=true]"), "picture without a meaning, not hidden");
  check("[tabindex]", (node) => node.tabIndex < 1, "order of focus changed");
  check("[aria-hidden=true] :is(a, button, input)", () => false, "hidden and yet to be reached");
  for (const one of ["main", "h1"]) {
    if (document.querySelectorAll(one).length !== 1) faults.push(`not one ${one}`);
  }
  return faults;
}"""
"""What an automatic checker would find: things without a name, out of order, there twice."""

PALE = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (color) => {
    const [r, g, b] = [...rgba(color)].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const { backgroundColor } = getComputedStyle(node);
      if (rgba(backgroundColor)[3] === 255) return backgroundColor;
    }
    return "white";
  };
  const pale = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility() || node.closest(".skip, noscript")) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) pale.push(`${contrast.toFixed(2)} ${text.slice(0, 40)}`);
  }
  return pale;
}"""
"""Texts that stand out from their ground less than 4.5 to 1."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_has_a_name_and_can_be_read(stage: Stage, scheme: Literal["light", "dark"]) -> None:
    tab = await stage.open("/nfl", color_scheme=scheme, reduced_motion="reduce")
    assert await tab.page.evaluate(FAULTS) == []
    assert await tab.page.evaluate(PALE) == []
    original = tweet("nfl", screen_name="wren")
    await stage.publish(
        *(tweet(f"#nfl https://example.org @you {n}", screen_name=f"bird{n}", media=(PHOTO,)) for n in range(7)),
        tweet("nfl", source="synthetic"),
        original,
    )
    await expect(tab.articles).to_have_count(9)
    await stage.publish(edited(original, "edited nfl"))
    await expect(tab.page.locator(".edited")).to_have_count(1)
    await tab.page.locator("#pause").click()
    await stage.publish(tweet("nfl, waiting"))
    await expect(tab.page.locator("#pending")).to_be_visible()
    assert await tab.page.evaluate(FAULTS) == []
    assert await tab.page.evaluate(PALE) == []


async def test_a_tweet_is_read_in_its_own_language_and_direction(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    for text, lang, direction, said in (
        ("nfl in English", "en", "ltr", "en"),
        ("سلام nfl", "fa", "rtl", "fa"),
        ("שלום nfl", "iw", "rtl", "he"),
        ("nfl …", "und", "ltr", None),
    ):
        await stage.publish(tweet(text, lang=lang))
        shown = tab.texts.first
        await expect(shown).to_have_text(text)
        await expect(shown).to_have_attribute("dir", "auto")
        await expect(shown).to_have_css("direction", direction)
        assert await shown.get_attribute("lang") == said


async def test_the_tab_key_goes_through_the_page_in_its_order_and_shows_where_it_is(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    await stage.publish(tweet("nfl https://example.org", screen_name="wren"))
    await tab.shows("nfl example.org")
    names = []
    for _ in range(14):
        await tab.page.keyboard.press("Tab")
        names.append(await tab.focused())
        look: dict[str, Any] = await tab.page.evaluate(
            """() => {
              const shown = (node) => getComputedStyle(node).outlineStyle !== "none";
              const at = document.activeElement;
              const box = at.getBoundingClientRect();
              return { outlined: shown(at) || shown(at.parentElement), inside: box.top >= 0 && box.left >= 0 };
            }"""
        )
        assert look == {"outlined": True, "inside": True}, names[-1]
    rooms = ["all", "url", "nfl", "nyc", "media", "lang/en"]
    first = ["Skip to the tweets", "Roost: every tweet", "Go to a room", "Go", *rooms, "Pause"]
    assert names[: len(first)] == first
    assert names[len(first)] == "Wren @wren"


async def test_the_skip_link_leads_to_the_tweets(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#feed")).to_be_focused()


async def test_nothing_moves_for_those_who_want_it_still(stage: Stage) -> None:
    tab = await stage.open("/nfl", reduced_motion="reduce")
    first = tweet("nfl first")
    for post in (first, tweet("nfl second"), edited(first, "nfl first, edited")):
        await stage.publish(post)
        await expect(tab.articles.filter(has_text=post.text)).to_be_visible()
        assert await tab.page.evaluate("() => document.getAnimations().length") == 0
