"""Whatever a tweet contains, the page shows it as text and runs none of it."""

from urllib.parse import urlsplit

import pytest

from shared.events import Media, User
from tests.browser.conftest import Stage
from tests.support.chromium import Tab
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
