"""Whatever a tweet contains, the page shows it as text, runs none of it and goes on."""

from typing import Any
from urllib.parse import urlsplit

import msgpack
import pytest
from playwright.async_api import expect

from shared import raw
from shared.events import Media, Tweet, User, to_document
from shared.labels import Facets
from tests.browser.conftest import Stage
from tests.support.chromium import Tab
from tests.support.exchange import publish_body
from tests.support.tweets import edited, tweet

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARKUP = "<script>ran = 1</script><img src=/x onerror='ran = 2'><svg onload='ran = 3'><b onclick='ran = 4'>nfl</b>"
BREAKOUT = "\"><script>ran = 5</script><img src=x onerror=ran=6 a='"
HOSTILE = [
    "javascript:ran=7",
    "JaVaScRiPt:ran=8",
    " javascript:ran=9",
    "data:text/html,<script>ran=10</script>",
    "vbscript:ran=11",
    "//elsewhere.example/x",
    r"/\elsewhere.example/x",
    "http://elsewhere.example/x",
    "file:///etc/passwd",
    BREAKOUT,
]
SHOWN = [
    "elsewhere.example/x elsewhere.example/x" if address.startswith("http:") else f"{address} https://t.co/abc"
    for address in HOSTILE
]
"""What a text shows for such an address and for a t.co link to it: as a link only what may be one."""

FOUND = """() => ({
  ran: typeof ran === "undefined" ? null : ran,
  made: document.querySelectorAll("#feed :is(script, iframe, object, embed, style, link, form, b)").length,
  handlers: [...document.querySelectorAll("#feed *")].flatMap((node) =>
    node.getAttributeNames().filter((name) => name.startsWith("on") || name === "style")),
  images: [...document.images].map((image) => image.src),
  links: [...document.querySelectorAll("#feed a")].map((link) => link.href),
})"""
"""What is in the page that a tweet could have brought there."""


async def nothing_foreign(tab: Tab) -> None:
    """Nothing in the page runs, can run when it is clicked, or was not made by the page itself."""
    found = await tab.page.evaluate(FOUND)
    assert found["ran"] is None
    assert found["made"] == 0
    assert found["handlers"] == []
    assert found["images"] == []
    assert {"http"} <= {urlsplit(link).scheme for link in found["links"]} <= {"http", "https"}


async def test_nothing_that_a_tweet_contains_runs(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    bad = [
        tweet(
            f"nfl {number} {MARKUP} {address} https://t.co/abc",
            id=f"bad{number}{BREAKOUT}",
            url=address,
            urls=(address,),
            lang=BREAKOUT,
            created_at=BREAKOUT if number == 9 else "2026-01-02T03:04:05Z",
            source=MARKUP,
            user=User(id="u", screen_name=f"{BREAKOUT}{address}", name=MARKUP, avatar=address),
            media=(Media(type="photo", url=address, alt=MARKUP),),
            hashtags=(MARKUP,),
        )
        for number, address in enumerate(HOSTILE)
    ]
    await stage.publish(*bad)
    texts = [f"nfl {number} {MARKUP} {shown}" for number, shown in enumerate(SHOWN)]
    await tab.shows(*reversed(texts))
    await nothing_foreign(tab)
    await stage.publish(*(edited(post, f"nfl {MARKUP} {BREAKOUT}") for post in bad[:5]))
    await tab.shows(*reversed([f"nfl {MARKUP} {BREAKOUT}"] * 5 + texts[5:]))
    await nothing_foreign(tab)
    assert tab.foreign == tab.complaints == []


MALFORMED: list[dict[str, Any]] = [
    {"user": {"screen_name": 5, "name": 7, "avatar": {"startsWith": 1}}},
    {"user": None},
    {"user": ..., "urls": ..., "media": ..., "lang": ..., "source": ..., "created_at": ..., "url": ...},
    {"user": {"screen_name": {"toString": 1}, "name": ["x"], "avatar": 5}},
    {"urls": None},
    {"urls": "https://t.co/abc"},
    {"urls": [None, 5, {"toString": 1}]},
    {"media": [None, 5, {"type": "constructor", "url": {}, "alt": {"toString": 1}}]},
    {"media": {"length": 1}},
    {"created_at": {"toString": 1}, "url": {"toString": 1}, "lang": {"toString": 1}, "source": "constructor"},
    {"lang": 5, "source": {"toString": 1}, "created_at": 1e300},
    {"text": None},
    {"text": ...},
    {"text": {"toString": 1}},
]
"""What somebody with the right to publish may put in the place of a tweet's fields."""


async def publish_malformed(stage: Stage, post: Tweet, fields: dict[str, Any]) -> None:
    """Publish a tweet whose document says something else than what it is classified by; `...` leaves a field out."""
    document = to_document(post, post.mtime * 1000) | fields
    packed: bytes = msgpack.packb({field: value for field, value in document.items() if value is not ...})
    await publish_body(stage.broker, raw.pack([raw.Entry(packed, Facets.of(post))]))


async def test_a_malformed_tweet_is_shown_as_far_as_it_can_be(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    before = tweet("nfl before")
    await stage.publish(before)
    await tab.shows("nfl before")
    shown = ["nfl before"]
    for number, fields in enumerate(MALFORMED):
        await publish_malformed(stage, tweet(f"nfl {number} https://t.co/abc"), fields)
        shown.insert(0, "" if "text" in fields else f"nfl {number} t.co/abc")
        await tab.shows(*shown)
    for fields in MALFORMED:
        before = edited(before, "nfl before, edited")
        await publish_malformed(stage, before, fields)
    await stage.publish(edited(before, "nfl after"))
    await tab.shows(*shown[:-1], "nfl after")
    await expect(tab.page.locator("article[aria-label='7, @5'] .author")).to_have_attribute("href", "/from/5")


async def test_a_tweet_that_can_not_be_shown_stops_no_other(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    found = await tab.page.evaluate(
        """async () => {
          const { Feed } = await import("/_/static/feed.js");
          const root = document.createElement("div");
          const feed = new Feed(root, { room: { family: "all" }, held: () => false, changed: () => {} });
          const impossible = { get text() { throw new Error("impossible"); } };
          const texts = () => [...root.querySelectorAll(".text")].map((node) => node.textContent);
          feed.add({ id: "a", mtime: 1, text: "one" });
          feed.add(Object.defineProperties({ id: "b", mtime: 1 }, Object.getOwnPropertyDescriptors(impossible)));
          feed.add({ id: "c", mtime: 1, text: "three" });
          feed.release();
          feed.add(Object.defineProperties({ id: "a", mtime: 2 }, Object.getOwnPropertyDescriptors(impossible)));
          const first = texts();
          feed.add({ id: "b", mtime: 2, text: "two" });
          feed.release();
          return [first, texts(), feed.waiting.count];
        }"""
    )
    assert found == [["three", "one"], ["two", "three", "one"], 0]


async def test_a_tweet_of_thousands_of_links_is_linked_in_part(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    texts = [
        "nfl " + " ".join(f"#tag{number}" for number in range(5000)),
        "nfl " + " ".join(f"https://example.org/{number}" for number in range(3000)),
        "nfl " * 30_000,
    ]
    await stage.publish(*(tweet(text) for text in texts))
    await expect(tab.articles).to_have_count(3)
    pieces = await tab.texts.evaluate_all(
        "(texts) => texts.map((text) => [text.querySelectorAll('a').length, text.querySelectorAll('mark').length])"
    )
    assert pieces == [[0, 200], [200, 1], [200, 1]]
    assert await tab.texts.nth(0).text_content() == texts[2]
    assert await tab.texts.nth(2).text_content() == texts[0]


SLOWNESS = """async () => {
  const { h } = await import("/_/static/dom.js");
  const { pieces } = await import("/_/static/text.js");
  const took = (work) => {
    const start = performance.now();
    work();
    return performance.now() - start;
  };
  const often = (text) => took(() => Array.from({ length: 10 }, () => pieces(text)));
  const children = () => Array.from({ length: 8000 }, () => h("a", { dir: "auto" }, "#"));
  const [some, others] = [children(), children()];
  const plain = took(() => h("p", {}, ...some));
  return {
    directed: took(() => h("p", { dir: "auto" }, ...others)) - 10 * plain,
    brackets: often(`https://example.org/${")".repeat(24_000)}`),
    dots: often(`https://example.org/${".".repeat(24_000)}x`),
    names: took(() => pieces("a!".repeat(12_000), Array.from({ length: 5000 }, () => `http://${"a!".repeat(5000)}.b`))),
  };
}"""
"""Milliseconds for what is no work if it is done in one go, and seconds if it is begun again at each step."""


async def test_no_text_holds_up_the_page(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    took: dict[str, float] = await tab.page.evaluate(SLOWNESS)
    assert {what: ms for what, ms in took.items() if ms > 250} == {}


async def test_the_policy_would_stop_what_got_through(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    await tab.page.evaluate(
        """() => {
          const script = Object.assign(document.createElement("script"), { textContent: "ran = 1" });
          document.body.append(script);
          const image = document.createElement("div");
          document.body.append(image);
          image.innerHTML = "<img src=/_/nothing onerror='ran = 2'>";
          return new Promise((resolve) => image.firstChild.addEventListener("error", () => setTimeout(resolve)));
        }"""
    )
    assert (await tab.page.evaluate(FOUND))["ran"] is None
    violations = [words for words in tab.complaints if "Content Security Policy" in words]
    assert len(violations) == 2
    tab.complaints.clear()
