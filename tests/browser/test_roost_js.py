"""`roost.js` in a page of another site: rooms and subscriptions that come back by themselves and lack nothing."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser

from services.gateway.app import GatewayApp
from tests.browser.test_resume import library
from tests.support.broker import Broker, free_port
from tests.support.chromium import Tab, tabs
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually
from tests.unit.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = """<!doctype html>
<title>Somebody's site</title>
<link rel="icon" href="data:,">
<p id="status"></p>
<script>
  const EVENTS = ["ready", "refused", "tweet", "update", "destroy", "gap", "create", "save", "unfollow", "away"];
  const told = [];
  function hear(name, emitter) {
    for (const event of EVENTS) emitter.on(event, (what) => told.push([name, event, what]));
    return emitter;
  }
  function begin(roost) {
    globalThis.site = roost;
    document.getElementById("status").textContent = "Loaded";
  }
</script>
"""
FORMS = {
    "script": '<script src="{gateway}/_/static/roost.js"></script><script>begin(roost)</script>',
    "module": '<script type="module">import {{ roost }} from "{gateway}/_/static/roost.mjs"; begin(roost);</script>',
}

Told = tuple[str, str]
"""An event, and the text of the tweet that it brought, or its id where it has no text."""


@asynccontextmanager
async def site(folder: Path, port: int = 0) -> AsyncIterator[int]:
    """Somebody's web server with the files of a folder; yields its port on loopback."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        server = web.TCPSite(runner, "127.0.0.1", port or free_port())
        await server.start()
        yield int(server.name.rpartition(":")[2])
    finally:
        await runner.cleanup()


class Somewhere:
    """A page of somebody's site, on which `roost.js` is."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab

    async def does(self, script: str) -> None:
        """Run a script in the page."""
        await self.tab.page.evaluate(f"() => {{ {script} }}")

    async def told(self, name: str, *events: str) -> list[Any]:
        """What the page was told under a name by some events, in the order of arrival."""
        told: list[list[Any]] = await self.tab.page.evaluate("told")
        return [what for whose, event, what in told if whose == name and event in events]

    async def tweets(self, name: str) -> list[Told]:
        """What the page was told of tweets."""
        told: list[list[Any]] = await self.tab.page.evaluate("told")
        quiet = {"ready", "away"}
        return [
            (event, what.get("text") or what.get("id") or "")
            for whose, event, what in told
            if whose == name and event not in quiet
        ]

    async def ready(self, name: str, times: int = 1) -> None:
        """Wait until a room or a subscription was answered so often."""

        async def answered() -> bool:
            return len(await self.told(name, "ready")) == times

        await eventually(answered, what=f"{name} is ready")

    async def hears(self, name: str, *expected: Told) -> None:
        """Wait until the page was told exactly this of tweets, in whatever order."""

        async def same() -> bool:
            return sorted(await self.tweets(name)) == sorted(expected)

        try:
            await eventually(same)
        except AssertionError:
            assert sorted(await self.tweets(name)) == sorted(expected)


@asynccontextmanager
async def visiting(
    chromium: Browser, folder: Path, gateway_port: int, form: str = "module", *, port: int = 0
) -> AsyncIterator[Somewhere]:
    """A page of somebody's site, open in a browser."""
    (folder / "page.html").write_text(PAGE + FORMS[form].format(gateway=f"http://127.0.0.1:{gateway_port}"))
    async with site(folder, port) as served, tabs(chromium) as opened:
        yield Somewhere(await opened.open(served, "/page.html", status="Loaded"))


@asynccontextmanager
async def serving(broker: Broker, *, archived: bool = False, **settings: Any) -> AsyncIterator[GatewayApp]:
    """A gateway that lets pages of any site in; each time another one, which remembers nothing."""
    async with gateway(broker, origins="*", **settings) as app:
        await eventually(lambda: not archived or metric("roost_gateway_archive") == 1)
        yield app


async def wanted(*labels: str) -> None:
    """Wait until routers look for so many labels, beside the changes that every gateway wants."""
    await eventually(lambda: metric("roost_router_wanted_keys") == 2 + len(labels), what=f"{labels} are wanted")


@pytest.mark.parametrize("form", list(FORMS))
async def test_a_page_of_another_site_has_rooms_and_subscriptions(
    broker: Broker, chromium: Browser, tmp_path: Path, form: str
) -> None:
    async with router(broker), serving(broker) as app, visiting(chromium, tmp_path, app.port, form) as page:
        await page.does(
            """
            hear("nfl", site.room("NFL"));
            hear("wren", site.room("from/wren"));
            tweets = site.collection("tweet");
            const query = { term: "nfl", has_url: true };
            linked = hear("linked", tweets.subscribe({ fields: ["text"], createQuery: query }));
            hear("other", tweets.subscribe({ fields: ["user.screen_name"], createQuery: { from: "wren" } }));
            """
        )
        for name in ("nfl", "wren", "linked", "other"):
            await page.ready(name)
        await wanted("term.nfl", "from.wren")
        plain = tweet("NFL!")
        links = tweet("nfl https://example.org/a", urls=("https://example.org/a",), screen_name="wren")
        await publish(broker, plain, links)
        await page.hears("nfl", ("tweet", plain.text), ("tweet", links.text))
        await page.hears("wren", ("tweet", links.text))
        await page.hears("linked", ("create", links.text))
        await page.hears("other", ("create", links.id))
        [shown] = await page.told("other", "create")
        assert shown.keys() == {"id", "seq", "mtime", "user"}
        assert shown["user"] == {"screen_name": "wren"}
        await page.does('linked.end(); site.room("nfl").on("ready", () => told.push(["again", "ready", {}]))')
        await page.ready("again")
        await publish(broker, edited(links, "nfl, edited"), deleted(plain))
        await page.hears(
            "nfl", ("tweet", plain.text), ("tweet", links.text), ("update", "nfl, edited"), ("destroy", plain.id)
        )
        await page.hears("wren", ("tweet", links.text), ("update", "nfl, edited"))
        await page.hears("linked", ("create", links.text))
        # Nothing that it was sent of this one has changed.
        await page.hears("other", ("create", links.id))


async def test_what_happened_while_the_gateway_was_away_is_told_once(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    port = free_port()
    past = [tweet(f"nfl {number}") for number in range(4)]
    folder = tmp_path / "site"
    folder.mkdir()
    async with library(broker, tmp_path / "archive") as keep, AsyncExitStack() as stack:
        await keep(*past)
        async with serving(broker, archived=True, port=port):
            page = await stack.enter_async_context(visiting(chromium, folder, port))
            await page.does(
                f"""
                hear("room", site.room("nfl", {{ backfill: 3 }}));
                const documents = {{ "{past[0].id}": {past[0].mtime}, "{past[1].id}": "{past[1].mtime}" }};
                const asked = {{ fields: ["text"], createQuery: {{ term: "nfl" }}, documents }};
                hear("all", site.collection("tweet").subscribe(asked));
                hear("rare", site.collection("tweet").subscribe({{ createQuery: {{ word: "wren" }} }}));
                hear("empty", site.room("heron"));
                """
            )
            await page.ready("room")
            await page.ready("all")
            live = [tweet("nfl, live"), tweet("nfl, live too")]
            await keep(*live)
            room = [("tweet", one.text) for one in (*past[1:], *live)]
            subscribed = [("create", one.text) for one in live]
            await page.hears("room", *room)
            await page.hears("all", *subscribed)
        missed = tweet("nfl, missed")
        await keep(tweet("a wren"), tweet("a heron"))
        await keep(missed, edited(past[1], "nfl, edited"), deleted(live[0]), edited(live[1], "otherwise"))
        changed = [("destroy", live[0].id), *(("{}", text) for text in ("nfl, edited", "otherwise"))]
        room += [("tweet", missed.text), *((what.format("update"), text) for what, text in changed)]
        subscribed += [("create", missed.text), *((what.format("save"), text) for what, text in changed)]
        for times in (2, 3):
            async with serving(broker, archived=True, port=port):
                await page.ready("room", times)
                await page.ready("all", times)
                # Next time nothing has happened.
                await page.hears("room", *room)
                await page.hears("all", *subscribed)
                # To these nothing had come yet.
                await page.hears("rare", ("create", "a wren"))
                await page.hears("empty", ("tweet", "a heron"))
                if times == 3:
                    last = tweet("nfl, and on")
                    await publish(broker, last, edited(missed, "nfl, missed and edited"))
                    room += [("tweet", last.text), ("update", "nfl, missed and edited")]
                    subscribed += [("create", last.text), ("save", "nfl, missed and edited")]
                    await page.hears("room", *room)
                    await page.hears("all", *subscribed)
        assert page.tab.loads == 1


async def test_what_is_refused_says_why_and_what_passes_is_asked_again(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    async with serving(broker, max_rooms_per_client=2) as app, visiting(chromium, tmp_path, app.port) as page:
        await page.tab.page.clock.install()
        await page.does(
            """
            hear("wrong", site.collection("tweet").subscribe({ fields: ["password"] }));
            first = hear("first", site.room("nfl"));
            hear("second", site.collection("tweet").subscribe({ createQuery: { term: "nyc" } }));
            hear("third", site.collection("tweet").subscribe({ createQuery: { tag: "ai" } }));
            """
        )

        async def refused(name: str) -> bool:
            return bool(await page.told(name, "refused"))

        await eventually(lambda: refused("wrong"))
        await eventually(lambda: refused("third"))
        [wrong] = await page.told("wrong", "refused")
        assert (wrong["code"], wrong["again"]) == ("bad_request", False)
        assert "password" in wrong["message"]
        [full] = await page.told("third", "refused")
        assert (full["code"], full["again"]) == ("too_many_rooms", True)
        await page.does("first.end()")
        await eventually(lambda: len(app._rooms) <= 2)
        await page.tab.page.clock.fast_forward(5_000)
        await page.ready("third")
        assert len(await page.told("third", "refused")) == 1
        assert await page.told("wrong", "ready") == []


async def test_a_token_that_is_refused_is_told_and_another_one_is_taken(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    valid = token(exp=time.time() + 600, rooms=["term.*"])
    async with (
        serving(broker, auth="jwt", jwt_secret=SECRET) as app,
        visiting(chromium, tmp_path, app.port) as page,
    ):
        await page.does(
            f"""
            globalThis.token = "nonsense";
            const there = "http://127.0.0.1:{app.port}";
            locked = hear("locked", roost.connect(there, {{ auth: async () => ({{ token }}) }}));
            hear("nfl", locked.room("nfl"));
            hear("linked", locked.collection("tweet").subscribe({{ createQuery: {{ has_url: true }} }}));
            """
        )

        async def away() -> bool:
            return [each and each["code"] for each in await page.told("locked", "away")] == ["token_invalid"]

        await eventually(away)
        await page.does(f'token = "{valid}"; locked.reconnect()')
        await page.ready("nfl")
        rooms = await page.tab.page.evaluate(
            """async ([address, token]) => {
              const answer = await fetch(address, { headers: { Authorization: `Bearer ${token}` } });
              return (await answer.json()).rooms.map(({ room }) => room);
            }""",
            [f"http://127.0.0.1:{app.port}/_/api/rooms", valid],
        )
        assert rooms == ["nfl"]

        async def refused() -> bool:
            return [each["code"] for each in await page.told("linked", "refused")] == ["not_allowed"]

        await eventually(refused)


RESUMING = """async () => {
  const { Resuming } = await import(`${GATEWAY}/_/static/resuming.js`);
  globalThis.make = (options) => {
    const sent = [], heard = [];
    const resuming = new Resuming({
      ...options,
      send: (request, answered) => sent.push({ ...request, answered }),
      emit: (event, what) => heard.push([event, what]),
    });
    const named = () => sent.map(({ documents }) => Object.keys(documents).length);
    return { resuming, sent, heard, named, events: () => heard.map(([event, what]) => `${event} ${what?.id ?? ""}`) };
  };
}"""
"""Makes rooms and subscriptions whose gateway is an array."""


async def alone(page: Somewhere, gateway_port: int) -> None:
    """Load what makes them whole by itself."""
    await page.tab.page.evaluate(RESUMING.replace("${GATEWAY}", f"http://127.0.0.1:{gateway_port}"))


async def test_more_than_fits_a_packet_a_room_names_in_several_and_a_subscription_lets_go(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    async with serving(broker) as app, visiting(chromium, tmp_path, app.port) as page:
        await alone(page, app.port)
        found = await page.tab.page.evaluate(
            """() => {
              const many = (count, width) => Object.fromEntries(
                Array.from({ length: count }, (_, i) => [`x${String(i).padStart(width - 1, "x")}`, i + 1]));
              const room = make({ asked: { room: "nfl" }, documents: () => many(2300, 5), since: () => 7 });
              room.resuming.join();
              room.sent[0].answered({ room: "nfl" });
              room.sent[1].answered({ error: { code: "too_fast" } });
              const long = make({ asked: { room: "nfl" }, documents: many(900, 180) });
              long.resuming.join();
              const one = make({ asked: { uid: "a" }, documents: many(1500, 5) });
              one.resuming.join();
              one.sent[0].answered({ uid: "a" });
              const let_go = one.heard.at(-1)[1].ids;
              one.resuming.join();
              return {
                room: room.named(), newest: Object.keys(room.sent[0].documents)[0], since: room.sent[0].since,
                later: Object.values(room.sent[1].documents)[0], asked: Object.keys(room.sent[1]).sort(),
                long: long.named(), bytes: JSON.stringify(long.sent[0].documents).length,
                one: one.named(), events: one.events(), let_go: [let_go.length, let_go[0]],
              };
            }"""
        )
        assert found["room"] == [1000, 1000]
        assert (found["newest"], found["since"], found["later"]) == ("x2299", 7, 1300)
        assert found["asked"] == ["answered", "documents", "room"]
        assert 200 < found["long"][0] < 400
        assert found["bytes"] < 64_000
        assert found["one"] == [1000, 1000]
        assert found["events"] == ["begin ", "ready ", "unfollow ", "begin "]
        assert found["let_go"] == [500, "xx499"]


async def test_an_answer_that_does_not_come_is_asked_for_again(
    broker: Broker, chromium: Browser, tmp_path: Path
) -> None:
    async with serving(broker) as app, visiting(chromium, tmp_path, app.port) as page:
        await alone(page, app.port)
        found = await page.tab.page.evaluate(
            """async () => {
              const room = make({ asked: { room: "nfl" }, once: { backfill: 5 }, documents: { a: 1 } });
              room.resuming.join();
              room.sent[0].answered(null);
              await new Promise((done) => { setTimeout(done); });
              room.sent[1].answered({ room: "nfl" });
              return [room.events(), room.named(), room.sent.map(({ backfill }) => backfill), room.heard[1][1]];
            }"""
        )
        assert found[:3] == [["begin ", "refused ", "begin ", "ready "], [1, 1], [5, 5]]
        assert (found[3]["code"], found[3]["again"]) == ("late", True)


async def test_of_each_document_only_what_is_newer_is_told(broker: Broker, chromium: Browser, tmp_path: Path) -> None:
    async with serving(broker) as app, visiting(chromium, tmp_path, app.port) as page:
        await alone(page, app.port)
        found = await page.tab.page.evaluate(
            """() => {
              const tell = ({ resuming }, ...events) => {
                for (const [event, id, mtime, rest] of events) resuming.take(event, { id, mtime, ...rest });
              };
              const one = make({ asked: { uid: "a" }, documents: { h: 5 }, since: "9" });
              tell(one,
                ["create", "a", 1, { seq: 12 }], ["create", "a", 1], ["save", "a", 1], ["save", "a", 1],
                ["create", "a", 2], ["save", "a", 1], ["create", "h", 5], ["save", "h", 6],
                ["create", "b", 1, { seq: 13 }], ["destroy", "b"], ["destroy", "b"], ["create", "b", 3],
                ["create", "c", 1, { seq: 14 }]);
              one.resuming.take("unfollow", { ids: ["c"] });
              tell(one, ["create", "c", 1]);
              one.resuming.join();
              tell(one, ["create", "d", 1, { seq: 11 }], ["create", "e", 1, { seq: 12 }]);
              const room = make({ asked: { room: "nfl" } });
              tell(room,
                ["tweet", "a", 1, { action: "update" }], ["update", "a", 1, { action: "update" }],
                ["destroy", "a", 3], ["tweet", "a", 2], ["tweet", "a", 4], ["tweet", "a", 5]);
              return [one.events(), one.sent[0].documents, one.sent[0].since, room.events()];
            }"""
        )
        told, documents, since, room = found
        assert told == [
            "create a",
            "save a",
            "save a",
            "save h",
            "create b",
            "destroy b",
            "create c",
            "unfollow ",
            "begin ",
            "create e",
        ]
        assert (documents, since) == ({"a": 2, "h": 6}, 14)
        assert room == ["tweet a", "destroy a", "tweet a", "update a"]
