"""The examples in docs/protocol.md are what is really said: a run has all of them, and nothing that is not there."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import socketio

from services.archive.settings import MOST_HOURS
from services.gateway.app import GatewayApp
from shared import raw
from shared.broker import connect
from shared.events import Action, Destroy, Event, Tweet, User
from shared.sources import SourceStatus
from shared.topology import RAW_EXCHANGE
from tests.integration.test_gateway_sources import heard, ingest
from tests.integration.test_history import knows_archive
from tests.support.archive import archive, asking, take_away
from tests.support.broker import ROOT, Broker
from tests.support.services import gateway, router
from tests.support.waiting import eventually
from tests.unit.tokens import SECRET, token

DOCUMENT = ROOT / "docs" / "protocol.md"
SENT, ANSWERED, TOLD = "→", "✓", "←"
"""How lines of an example begin: what a client sends, how that is acknowledged, what a client is sent."""

_BEGINS = re.compile(rf"({SENT}|{ANSWERED}|{TOLD}|GET|[1-5][0-9]{{2}}) +(.*)", re.DOTALL)
_CLOCK = re.compile(r'(again in |"resumes_in_s": )[0-9.]+')
"""What depends on when one asks."""

FOLLOWED_EACH = 10
EVERY_US = 100_000_000
"""From one batch to the next."""

FIRST_SEQ = 1_771_000_000_000_000
MTIME = 1_770_999_999_000


def item(mark: str, value: object) -> str:
    """One line of a conversation in canonical form. How long one has to wait is never the same."""
    text = value if mark == "GET" else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return _CLOCK.sub(r"\1…", f"{mark} {text}")


def documented() -> list[str]:
    """What stands in the examples, in their order: values may go on in lines that are indented."""
    found = []
    for block in re.findall(r"```text\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL):
        for line in re.split(r"\n(?! )", block.strip()):
            match = _BEGINS.fullmatch(line)
            assert match is not None, f"not in the form of an example: {line}"
            found.append(item(match[1], match[2] if match[1] == "GET" else json.loads(match[2])))
    return found


class Conversation:
    """All that was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, mark: str, value: object) -> None:
        """One more line."""
        self.said.append(item(mark, value))

    async def get(self, app: GatewayApp, path: str, given: str | None = None) -> None:
        """Ask the HTTP API."""
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{app.port}{path}", headers=headers) as response,
        ):
            self.note("GET", path)
            self.note(str(response.status), await response.json())


class Page:
    """A client all of whose words are noted."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._client = socketio.AsyncClient(reconnection=False)
        self._client.on("*", self._told)
        self._client.on("connect_error", self._refused)
        self.names: list[str] = []
        self.quiet: set[str] = set()
        """Events of which there are too many to note them."""

    async def come(self, app: GatewayApp, auth: object = None) -> None:
        """Connect."""
        await self._client.connect(
            f"http://localhost:{app.port}", auth=auth, transports=["websocket"], wait_timeout=10
        )

    async def leave(self) -> None:
        """Disconnect."""
        await self._client.disconnect()

    async def ask(self, event: str, argument: object) -> Any:
        """Send a request and wait for its acknowledgement."""
        self._conversation.note(SENT, [event, argument])
        answer = await self._client.call(event, argument, timeout=10)
        self._conversation.note(ANSWERED, answer)
        return answer

    async def hears(self, number: int, name: str) -> None:
        """Wait until an event has come so many times in all."""
        await eventually(lambda: self.names.count(name) >= number, what=f"{number} × {name}, not {self.names}")

    async def _told(self, event: str, *arguments: object) -> None:
        if event not in self.quiet:
            self._conversation.note(TOLD, [event, *arguments])
        self.names.append(event)

    async def _refused(self, error: object) -> None:
        self._conversation.note(TOLD, ["connect_error", error])


@asynccontextmanager
async def page(conversation: Conversation, app: GatewayApp, auth: object = None) -> AsyncIterator[Page]:
    """Somebody who has come."""
    one = Page(conversation)
    await one.come(app, auth)
    try:
        yield one
    finally:
        await one.leave()


def tweet(
    number: int, text: str, *, version: int = 0, screen_name: str = "kicker", lang: str = "en", **fields: Any
) -> Tweet:
    """A tweet that is the same in each run."""
    id = 1990000000000000000 + number
    return Tweet(
        action=Action.UPDATE if version else Action.CREATE,
        id=f"x:{id}",
        mtime=MTIME + 1000 * number + 60_000 * version,
        source="x",
        url=f"https://x.com/{screen_name}/status/{id}",
        text=text,
        lang=lang,
        created_at="2026-02-13T16:26:39Z",
        user=User(id="12", screen_name=screen_name, name="The Kicker", avatar="https://example.org/12.png"),
        **fields,
    )


def destroyed(number: int) -> Destroy:
    """The end of a tweet."""
    return Destroy(id=f"x:{1990000000000000000 + number}", mtime=MTIME + 1000 * number + 120_000)


class Stream:
    """What ingest publishes, with `seq`s that are the same in each run."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.last = FIRST_SEQ
        """The greatest `seq`. There was something before the first batch, and the archive has not got it."""

    async def publish(self, *events: Event) -> None:
        """Publish one batch, minutes after the one before: nobody looks back so far by himself."""
        link = raw.Link("x", self.last)
        first = self.last + EVERY_US
        self.last = first + len(events) - 1
        body = raw.pack([raw.entry(event, first + number) for number, event in enumerate(events)])
        async with connect(self._broker.amqp_url("ingest"), name="test ingest") as connection:
            channel = await connection.channel(confirms=True)
            await channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, headers=raw.headers(link), persistent=True)


class Stage:
    """A gateway with a router and an archive, and what is said there."""

    def __init__(self, broker: Broker, app: GatewayApp, conversation: Conversation) -> None:
        self.broker = broker
        self.app = app
        self.conversation = conversation
        self.stream = Stream(broker)

    async def room(self) -> None:
        """A room, a tweet's life in it, and what is said of sources."""
        async with page(self.conversation, self.app) as one:
            await one.hears(1, "status")
            await one.ask("subscribe", "nfl")
            links = ("https://www.nfl.com/schedules/",)
            await self.stream.publish(tweet(1, "NFL on a Sunday: nothing beats it. nfl.com/schedules", urls=links))
            await one.hears(1, "newTweet")
            await self.stream.publish(tweet(1, "Football on a Sunday: nothing beats it.", version=1))
            await one.hears(1, "updateTweet")
            await self.stream.publish(destroyed(1))
            await one.hears(1, "destroyTweet")
            await heard(self.broker)
            async with ingest(self.broker) as say:
                spent = SourceStatus(
                    source="x",
                    state="spent",
                    detail="the daily budget is used up",
                    resumes_in_s=3600,
                    asking={"term.nfl": 20},
                )
                await say(spent)
                await one.hears(1, "asking")
                await self.conversation.get(self.app, "/_/api/sources")
                await say(SourceStatus(source="x"))
                await one.hears(2, "source")
                await one.hears(2, "asking")
            await one.ask("unsubscribe", "nfl")

    async def past_of_a_room(self) -> None:
        """Its last tweets, what became of those that a page holds, and what is missing."""
        await self.stream.publish(tweet(2, "The NFL draft is tonight"))
        async with page(self.conversation, self.app) as one:
            await one.ask("subscribe", {"room": "NFL", "backfill": 1})
            await self.conversation.get(self.app, "/_/api/rooms")
            async with asking(self.broker) as somebody:
                await somebody.mark()
            await self.conversation.get(self.app, "/_/api/rooms/term.nfl/tweets?limit=1")
        since = self.stream.last
        await self.stream.publish(destroyed(2))
        async with page(self.conversation, self.app) as one:
            held = {tweet(2, "").id: str(tweet(2, "").mtime)}
            await one.ask("subscribe", {"room": "nfl", "since": str(since), "documents": held})
            await one.hears(1, "destroyTweet")
        async with page(self.conversation, self.app) as one:
            await one.ask("subscribe", {"room": "nyc", "since": FIRST_SEQ - 3 * EVERY_US})
            await one.hears(1, "gap")

    async def subscription(self) -> None:
        """A document's life in a subscription."""
        async with page(self.conversation, self.app) as one:
            query = {"term": "nfl", "lang": ["en", "de"]}
            asked = {"uid": "news", "collection": "tweet", "fields": ["text", "user.screen_name"]}
            await one.ask("subscribe", {**asked, "createQuery": query})
            await self.stream.publish(tweet(10, "NFL week seven"), tweet(11, "nfl", screen_name="amélie", lang="fr"))
            await one.hears(1, "news:tweet:create")
            # A change of what is not asked for is not told.
            await self.stream.publish(tweet(10, "NFL week seven", version=1, urls=("https://www.nfl.com/",)))
            await self.stream.publish(tweet(10, "Week eight, I mean", version=2))
            await one.hears(1, "news:tweet:save")
            await self.stream.publish(destroyed(10))
            await one.hears(1, "news:tweet:destroy")
            one.quiet = {"news:tweet:create"}
            for number in range(12, 12 + FOLLOWED_EACH + 1):
                await self.stream.publish(tweet(number, f"NFL {number}"))
            await one.hears(1, "news:tweet:unfollow")
            await one.ask("unsubscribe", {"uid": "news"})

    async def documents(self) -> None:
        """What happened between a page's rendering and its subscription, and what a query missed for ever."""
        await self.stream.publish(tweet(30, "coffee"), tweet(31, "tea"), tweet(32, "water"))
        held = {tweet(number, "").id: tweet(number, "").mtime for number in (30, 31, 32)}
        since = self.stream.last
        await self.stream.publish(tweet(31, "tea, and cake", version=1), destroyed(32), tweet(33, "more #coffee"))
        async with page(self.conversation, self.app) as one:
            asked = {"uid": "page", "collection": "tweet", "fields": ["text"], "documents": held}
            await one.ask("subscribe", {**asked, "createQuery": {"term": "coffee"}, "since": since})
            await one.hears(1, "page:tweet:destroy")
        async with page(self.conversation, self.app) as one:
            asked = {"uid": "old", "collection": "tweet", "fields": [], "createQuery": {"tag": "ai"}}
            await one.ask("subscribe", {**asked, "since": FIRST_SEQ - 3 * EVERY_US})
            await one.hears(1, "old:tweet:gap")

    async def mistakes(self) -> None:
        """What can't be understood."""
        async with page(self.conversation, self.app) as one:
            await one.ask("subscribe", {"room": "nfl", "backfill": "all"})
            await one.ask("subscribe", "from/@")
            asked = {"uid": "a", "collection": "tweet"}
            await one.ask("subscribe", {**asked, "collection": "toot"})
            await one.ask("subscribe", {**asked, "fields": ["user.password"]})
            await one.ask("subscribe", {**asked, "createQuery": {"text": {"$regex": "nfl"}}})
        await self.conversation.get(self.app, "/_/api/rooms/term.nfl/tweets?limit=1000")
        await self.conversation.get(self.app, "/_/api/rooms/nfl/tweets")


async def without_an_archive(broker: Broker, conversation: Conversation) -> None:
    """Limits, and tokens."""
    async with gateway(broker, max_rooms_per_client=1, subscribes_per_s=0.5) as app, page(conversation, app) as one:
        await one.ask("subscribe", {"uid": "a", "collection": "toot"})
        await one.ask("subscribe", "nfl")
    async with gateway(broker, max_rooms_per_client=2, max_connections_per_address=1, queries_for_all=False) as app:
        async with page(conversation, app) as one:
            asked = {"uid": "a", "collection": "tweet"}
            await one.ask("subscribe", {**asked, "createQuery": {"source": "x"}})
            await one.ask("subscribe", {**asked, "createQuery": {"term": ["nfl", "nba", "mlb"]}})
            await turned_away(conversation, app)
        await conversation.get(app, "/_/api/rooms/term.nfl/tweets")
    async with gateway(broker, auth="jwt", jwt_secret=SECRET) as app:
        now = time.time()
        await turned_away(conversation, app)
        await turned_away(conversation, app, {"token": "nonsense"})
        await turned_away(conversation, app, {"token": token(exp=now - 1)})
        limited = token(exp=now + 60, rooms=["term.nfl"])
        async with page(conversation, app, {"token": limited}) as one:
            await one.ask("subscribe", "nyc")
            await one.ask("subscribe", {"uid": "a", "collection": "tweet", "createQuery": {"lang": "en"}})
        await conversation.get(app, "/_/api/rooms")
        await conversation.get(app, "/_/api/rooms/term.nyc/tweets", limited)


async def turned_away(conversation: Conversation, app: GatewayApp, auth: object = None) -> None:
    """Somebody comes, and is not let in."""
    with pytest.raises(socketio.exceptions.ConnectionError):
        await Page(conversation).come(app, auth)


@pytest_asyncio.fixture
async def said(broker: Broker, tmp_path: Path) -> list[str]:
    """All that was said in a run."""
    conversation = Conversation()
    await asyncio.to_thread(take_away, broker)
    await without_an_archive(broker, conversation)
    async with (
        router(broker),
        archive(broker, tmp_path, keep_hours=MOST_HOURS),
        gateway(broker, max_followed_each=FOLLOWED_EACH) as app,
    ):
        await knows_archive(app)
        stage = Stage(broker, app, conversation)
        for scene in (stage.room, stage.past_of_a_room, stage.subscription, stage.documents, stage.mistakes):
            await scene()
    return conversation.said


async def test_what_the_document_shows_is_what_is_said(said: list[str]) -> None:
    examples = documented()
    assert sorted(set(said) - set(examples)) == [], "said, and not in the document"
    assert sorted(set(examples) - set(said)) == [], "in the document, and not said"
