"""What a page says of the sources, and how it shows posts of a source with other handles and links."""

from typing import Any

import pytest
from playwright.async_api import Locator, expect

from shared.events import User
from shared.sources import SourceStatus
from tests.browser.conftest import Stage
from tests.browser.test_access import FAULTS, PALE
from tests.browser.test_safety import MARKUP
from tests.browser.test_screenshots import DESKTOP, FOLDER, LAYOUT, PHONE, SCHEMES
from tests.integration.test_gateway_sources import heard, ingest
from tests.support.chromium import Tab
from tests.support.tweets import tweet

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPENT = "the daily budget of 10,000 posts is used up; it goes on at 00:00 UTC"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


def notes(tab: Tab) -> Locator:
    """The lines that the page has of sources."""
    return tab.page.locator("#notes > p")


async def test_a_source_that_is_away_or_spent_has_a_line_until_all_is_well(stage: Stage) -> None:
    await heard(stage.broker)
    tab = await stage.open("/nfl")
    await expect(notes(tab)).to_have_count(0)
    async with ingest(stage.broker) as say:
        await say(SourceStatus(source="x", state="spent", detail=SPENT, resumes_in_s=3600))
        await expect(notes(tab)).to_have_text([f"X: {SPENT}"])
        await say(SourceStatus(source="bsky", state="away", detail="no answer from the host"))
        lines = [f"X: {SPENT}", "Bluesky is away: no answer from the host"]
        await expect(notes(tab)).to_have_text(lines)
        later = await stage.open("/nyc")
        await expect(notes(later)).to_have_text(lines)
        await say(SourceStatus(source="x", state="live"))
        await expect(notes(tab)).to_have_text(lines[1:])
        await say(SourceStatus(source="bsky", state="live"))
        for page in (tab, later):
            await expect(notes(page)).to_have_count(0)
            assert await page.page.locator("#notes").evaluate("(node) => node.offsetHeight") == 0


async def test_a_room_that_is_being_asked_for_counts_down_without_being_read_aloud(stage: Stage) -> None:
    await heard(stage.broker)
    tab = await stage.open("/NFL Draft")
    await tab.page.evaluate(
        """() => {
          heard = 0;
          const element = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement);
          const spoken = ({ target }) => !element(target).closest("[aria-hidden=true]");
          const notes = document.getElementById("notes");
          new MutationObserver((records) => {
            heard += records.filter(spoken).length;
          }).observe(notes, { childList: true, characterData: true, subtree: true });
        }"""
    )
    async with ingest(stage.broker) as say:
        await say(SourceStatus(source="x", asking={"term.nfl draft": 3}))
        await say(SourceStatus(source="x", asking={"term.nfl%20draft": 40}))
        left = tab.page.locator("#notes .left")
        await expect(notes(tab)).to_contain_text("Asking X for “nfl draft”: up to")
        await expect(left).to_have_text("39 s")
        await expect(left).to_have_text("38 s")
        await expect(tab.page.locator("#notes .unseen")).to_have_text("40 s")
        assert await tab.page.evaluate("() => heard") == 1, "what counts down is kept from screen readers"
        await say(SourceStatus(source="x"))
        await expect(notes(tab)).to_have_count(0)
        await say(SourceStatus(source="x", asking={"term.nfl%20draft": 1.5}))
        await expect(notes(tab)).to_have_count(1)
        await expect(notes(tab)).to_have_count(0)


async def test_a_room_that_a_source_is_not_asked_for_says_so(stage: Stage) -> None:
    await heard(stage.broker)
    async with ingest(stage.broker) as say:
        await say(SourceStatus(source="x", not_asked=("tag.inf",), not_asked_count=1))
        tab = await stage.open("/tag/inf")
        await expect(notes(tab)).to_have_text(["X is not asked for “#inf”: shown is what comes anyway"])
        await say(SourceStatus(source="x", state="away", detail="refused", not_asked=("tag.inf",)))
        await expect(notes(tab)).to_have_text(["X is away: refused"])
        await say(SourceStatus(source="x", asking={"tag.inf": 300}))
        await expect(notes(tab).locator(".left")).to_have_text("5 min")
        await say(SourceStatus(source="x"))
        await expect(notes(tab)).to_have_count(0)


async def test_what_a_source_says_stays_text(stage: Stage) -> None:
    await heard(stage.broker)
    tab = await stage.open("/nfl")
    async with ingest(stage.broker) as say:
        await say(SourceStatus(source="x", state="away", detail=MARKUP))
        await say(SourceStatus(source="<b onclick='ran = 1'>", state="spent", detail=MARKUP))
        await say(SourceStatus(source="constructor", state="away", detail="__proto__"))
        lines = [f"X is away: {MARKUP}", f"<b onclick='ran = 1'>: {MARKUP}", "constructor is away: __proto__"]
        await expect(notes(tab)).to_have_text(lines)
        assert await tab.page.locator("#notes *:not(p)").count() == 0
        for number in range(20):
            await say(SourceStatus(source=f"source {number}", state="away"))
        await expect(notes(tab)).to_have_count(5)
    assert await tab.page.evaluate("() => typeof ran") == "undefined"


async def test_handles_and_links_of_bluesky_lead_where_they_should(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    whole = "https://www.example.org/2026/01/02/the-rest-of-it"
    bluesky: dict[str, Any] = {"source": "bsky", "screen_name": "wren.bsky.social"}
    text = "nfl @alice-b.bsky.social. @bob www.example.org/2026/01/02... @c.example.com's x@d.example.com"
    await stage.publish(
        tweet("nfl @alice.b", source="x", screen_name="wren"),
        tweet(text, urls=(whole,), **bluesky),
        tweet(
            "nfl https://www.example.org/2026/01… and example.net/a...",
            urls=(whole, "https://example.net/a1", "https://example.net/a2"),
            source="bsky",
            user=User(id=DID, screen_name=DID, name=""),
        ),
    )
    await expect(tab.articles).to_have_count(3)
    cut, named, other = [
        [(await link.text_content(), await link.get_attribute("href")) for link in await one.locator(".text a").all()]
        for one in await tab.articles.all()
    ]
    assert other == [("@alice", "/from/alice")]
    assert named == [
        ("@alice-b.bsky.social", "/from/alice-b.bsky.social"),
        ("www.example.org/2026/01/02...", whole),
        ("@c.example.com", "/from/c.example.com"),
    ]
    assert cut == [("example.org/2026/01/02/the-rest-of-it", whole)], "of two links none is guessed"
    await expect(tab.texts.nth(1)).to_have_text(text)
    await expect(tab.articles.nth(1).locator(".source")).to_have_text("Bluesky")
    await expect(tab.articles.nth(1).locator(".author")).to_have_attribute("href", "/from/wren.bsky.social")
    nameless = tab.articles.first.locator(".author")
    await expect(nameless).to_have_text("did:plc:ewvi7nxz… @did:plc:ewvi7nxz…")
    await expect(nameless).to_have_attribute("href", f"/from/{DID.replace(':', '%3A')}")
    await expect(nameless).to_have_attribute("title", f"@{DID}")
    await stage.visit(tab, f"/from/{DID}")
    await stage.publish(tweet("by a number", user=User(id=DID, screen_name=DID, name="Wren"), source="bsky"))
    await tab.shows("by a number")


async def test_screenshots_of_notes(stage: Stage) -> None:
    await heard(stage.broker)
    FOLDER.mkdir(exist_ok=True)
    async with ingest(stage.broker) as say:
        await say(SourceStatus(source="x", asking={"term.nfl": 40}))
        await say(
            SourceStatus(source="bsky", state="away", detail="no answer from jetstream.example.org" + " x" * 60)
        )
        await say(SourceStatus(source="other", not_asked=("term.nfl",)))
        for number, (device, options) in enumerate({"desktop": DESKTOP, "phone": PHONE}.items(), start=1):
            tab = await stage.open("/nfl", **options)
            await stage.publish(
                *(
                    tweet("nfl @alice.bsky.social", source="bsky", user=user)
                    for user in (
                        User(id=DID, screen_name=DID, name=""),
                        User(id="a", screen_name="a" * 60 + ".bsky.social", name="A name"),
                        User(id="b", screen_name="wren.bsky.social", name="Wren"),
                    )
                )
            )
            await expect(notes(tab)).to_have_count(3)
            # Who comes second is shown what the first was sent.
            await expect(tab.articles).to_have_count(3 * number)
            for scheme in SCHEMES:
                await tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                await tab.page.screenshot(path=FOLDER / f"notes-{device}-{scheme}.png")
                layout = await tab.page.evaluate(LAYOUT)
                assert layout["sideways"] <= 0, (device, scheme)
                assert await tab.page.evaluate(FAULTS) == []
                assert await tab.page.evaluate(PALE) == []
