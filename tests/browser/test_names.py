"""Names that every object of JavaScript has are names like others, whoever gives them and whatever to."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.test_roost_js import alone, serving, visiting, wanted
from tests.support.broker import Broker
from tests.support.exchange import publish
from tests.support.services import router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = ("__proto__", "constructor")


async def test_rooms_subscriptions_and_documents_may_have_any_name(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    async with router(broker), serving(broker) as app, visiting(chromium, tmp_path, app.port) as page:
        held = [tweet(f"nfl {name}", id=name) for name in NAMES]
        await page.does('hear("nfl", site.room("nfl"))')
        await page.ready("nfl")
        await wanted("term.nfl")
        await publish(broker, *held)
        await page.hears("nfl", *(("tweet", one.text) for one in held))
        documents = json.dumps({one.id: one.mtime for one in held})
        await page.does(
            f"""
            const [tweets, documents] = [site.collection("tweet"), JSON.parse('{documents}')];
            for (const name of {json.dumps(NAMES)}) {{
              const asked = {{ uid: name, fields: ["text"], createQuery: {{ term: name }}, documents }};
              hear(`uid ${{name}}`, tweets.subscribe(asked));
              hear(`room ${{name}}`, site.room(name, {{ documents }}));
            }}
            """
        )
        for name in NAMES:
            await page.ready(f"uid {name}")
            await page.ready(f"room {name}")
        await wanted("term.nfl", *(f"term.{name}" for name in NAMES))
        last = tweet("__proto__ and constructor")
        await publish(broker, *(edited(one, f"{one.id}, edited") for one in held))
        await publish(broker, last, *(deleted(one) for one in held))
        for name in NAMES:
            # Each is told of both, for it said that it has them.
            gone = [("destroy", one.id) for one in held]
            changed = [f"{one.id}, edited" for one in held]
            await page.hears(f"uid {name}", *gone, ("create", last.text), *(("save", text) for text in changed))
            await page.hears(f"room {name}", *gone, ("tweet", last.text), *(("update", text) for text in changed))


async def test_who_ends_one_of_two_of_a_name_ends_that_one(broker: Broker, chromium: Browser, tmp_path: Path) -> None:
    async with router(broker), serving(broker) as app, visiting(chromium, tmp_path, app.port) as page:
        await page.does(
            """
            hear("nfl", site.room("nfl"));
            globalThis.query = (term) => ({ uid: "mine", fields: ["text"], createQuery: { term } });
            hear("first", site.collection("tweet").subscribe(query("first")));
            """
        )
        await page.ready("nfl")
        await page.ready("first")
        await page.does(
            """
            const other = site.room("NFL"); // nobody knows yet that it is the same
            other.end();
            const first = site.collection("tweet").subscribe(query("second"));
            hear("second", first);
            hear("more", site.collection("tweet").subscribe({ fields: ["text"], createQuery: { term: "more" } }));
            """
        )
        await page.ready("second")
        await page.ready("more")
        await wanted("term.nfl", "term.first", "term.second", "term.more")
        texts = ["nfl is still there", "second in the place of the", "more"]
        await publish(broker, *map(tweet, texts))
        await page.hears("nfl", ("tweet", texts[0]))
        await page.hears("second", ("create", texts[1]))
        await page.hears("more", ("create", texts[2]))
        assert await page.tweets("first") == []


async def test_an_event_of_any_name_is_told_as_it_is(broker: Broker, chromium: Browser, tmp_path: Path) -> None:
    async with serving(broker) as app, visiting(chromium, tmp_path, app.port) as page:
        await page.does(
            f"""
            hear("room", site.room("nfl"));
            for (const name of {json.dumps(NAMES)}) {{
              hear(name, site.collection("tweet").subscribe({{ uid: name, createQuery: {{ tag: "ai" }} }}));
              site.on(name, (what) => told.push(["site", name, what]));
            }}
            """
        )
        await page.ready("room")
        for connection in app._server.let_in():
            for name in NAMES:
                connection.emit(name, {"of": name})

        async def heard() -> bool:
            return await page.told("site", *NAMES) == [{"of": name} for name in NAMES]

        await eventually(heard)


async def test_what_is_held_is_said_again_under_any_name(broker: Broker, chromium: Browser, tmp_path: Path) -> None:
    async with serving(broker) as app, visiting(chromium, tmp_path, app.port) as page:
        await alone(page, app.port)
        events, held = await page.tab.page.evaluate(
            """() => {
              const { resuming, sent, events } = make({ asked: { uid: "constructor" } });
              const tell = (event, id, mtime, action) => resuming.take(event, { id, mtime, action });
              tell("create", "__proto__", 1);
              tell("create", "__proto__", 1);
              tell("save", "__proto__", 1, "constructor");
              tell("create", "constructor", 2, "__proto__");
              tell("toString", "constructor", 1);
              resuming.join();
              return [events(), Object.entries(sent[0].documents)];
            }"""
        )
        assert events == [
            "create __proto__",
            "save __proto__",
            "create constructor",
            "toString constructor",
            "begin ",
        ]
        assert sorted(held) == [["__proto__", 1], ["constructor", 2]]
