"""Subscriptions that no page would ask for, while documents come and go: each is answered, and nothing is left."""

import asyncio
import contextlib
import gc
import itertools
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import pytest
from structlog.testing import capture_logs

from services.gateway.app import GatewayApp
from services.gateway.connection import Connection
from services.gateway.subscriptions.interest import Audience, Interest
from services.ingest.pump import SequenceClock
from shared import feed
from shared.broker import Channel, connect
from shared.events import Action, Event, to_document
from shared.topology import TWEETS_EXCHANGE
from tests.integration.test_fuzz import Fuzz, watch
from tests.integration.test_history import knows_archive
from tests.integration.test_subscriptions import nothing_left
from tests.support.archive import archive
from tests.support.broker import Broker
from tests.support.engineio_client import RawSocket, feeding, on
from tests.support.services import gateway
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

TERMS = [f"term{number}" for number in range(10)]
UIDS = ["a", "b", "c.1", "D_-", "nfl", "x" * 64, "x" * 65, "", "a b", "uid:tweet:create", "\n", "ü"]
COLLECTIONS = ["tweet"] * 10 + ["tweets", "", "__proto__", "note"]
PATHS = ["text", "user", "user.screen_name", "media", "media.url", "urls", "id", "seq", "mtime", "source", "lang"]
WRONG_PATHS = [
    "",
    ".",
    "user.",
    ".user",
    "user..id",
    "secret",
    "user.email",
    "text.x",
    "a" * 9_999,
    "__class__",
    "\x00",
]
LABELS = ["term", "word", "tag", "from", "lang", "has_url", "has_media"]
WRONG_LABELS = ["all", "action", "labels", "$or", "$where", "Term", "term.x"]
IDS = [f"fuzz:{number}" for number in range(60)]
CODES = {"bad_request", "bad_room", "not_allowed", "too_many_rooms", "too_fast"}
BATCH = 20
"""Requests that a client sends before it waits for the answers."""

MOST_FOLLOWED = 400
MOST_FOLLOWED_EACH = 20


class SubscriptionFuzz(Fuzz):
    """Makes requests up: good ones, and ones that were good before somebody changed them."""

    def request(self) -> list[object]:
        """An event with its arguments."""
        pick = self.random.random()
        uid = self.random.choice(UIDS)
        if pick < 0.15:
            return ["unsubscribe", self.random.choice([uid, {"uid": uid}, {"room": uid}, self.value()])]
        if pick < 0.2:
            return ["subscribe", self.random.choice([self.random.choice(TERMS), {"room": "nfl"}, self.value()])]
        if pick < 0.25:
            return ["subscribe", *(self.subscription() for _ in range(self.random.randrange(3)))]
        asked = self.subscription()
        for _ in range(self.random.choice([0, 0, 0, 1, 1, 2])):
            self.spoil(asked)
        return ["subscribe", asked]

    def subscription(self) -> dict[str, object]:
        """One that may well be good."""
        asked: dict[str, object] = {"uid": self.random.choice(UIDS[:6]), "collection": "tweet"}
        if self.random.random() < 0.7:
            asked["fields"] = self.random.sample(PATHS, self.random.randrange(len(PATHS)))
        if self.random.random() < 0.8:
            asked["createQuery"] = self.query()
        if self.random.random() < 0.5:
            held = self.random.sample(IDS, self.random.choice([1, 5, 40]))
            asked["documents"] = {id: self.random.choice([0, 1, "1", 10**12, 2**53]) for id in held}
        if self.random.random() < 0.2:
            now = time.time_ns() // 1000
            asked["since"] = self.random.choice([0, now, f"{now}", now - 1_000_000, 1, "1", 2**63 - 1, 2**63])
        return asked

    def query(self) -> object:
        """Conditions, mostly of labels."""
        conditions: dict[str, object] = {}
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 3])):
            name = self.random.choice(LABELS)
            terms: list[object] = [self.random.choice(TERMS) for _ in range(self.random.choice([1, 1, 2, 5]))]
            conditions[name] = self.random.random() < 0.7 if name.startswith("has") else terms
        if self.random.random() < 0.2:
            conditions[self.random.choice(PATHS)] = self.random.choice(["somebody", ["en", None, 1, True]])
        return conditions

    def spoil(self, asked: dict[str, object]) -> None:
        """Change something about a request, at its top or in one of its parts."""
        inner = [value for value in asked.values() if isinstance(value, dict)]
        part: dict[str, object] = self.random.choice([asked, *inner])
        lists = [value for value in part.values() if isinstance(value, list)]
        pick = self.random.randrange(6)
        if pick == 0 and part:
            del part[self.random.choice(list(part))]
        elif pick == 1:
            names = [*WRONG_PATHS, *WRONG_LABELS, *asked, *LABELS, "\ud800"]
            part[self.random.choice(names)] = self.value()
        elif pick == 2 and part:
            part[self.random.choice(list(part))] = self.value()
        elif pick == 3 and lists:
            self.random.choice(lists).append(self.random.choice([*WRONG_PATHS, self.value(), "x" * 501]))
        elif pick == 4:
            asked["uid"], asked["collection"] = self.random.choice(UIDS), self.random.choice(COLLECTIONS)
        else:
            name = self.random.choice(["fields", "documents", "createQuery"])
            many = range(self.random.choice([11, 21, 51, 999, 1001]))
            asked[name] = self.random.choice([{f"{n}": n for n in many}, [f"{n}" for n in many], {"term": [*many]}])


def text_of(event: list[object], number: int) -> str | None:
    """A packet that asks for an acknowledgement; None where it can't be sent."""
    try:
        text = f"42{number}{json.dumps(event, allow_nan=False)}"
        return text if len(text.encode()) < 90_000 else None
    except (ValueError, UnicodeEncodeError):
        return None


def check(event: list[object], answer: Any) -> str:
    """See that an answer is one of those that there are; returns which."""
    if isinstance(answer, dict) and "error" in answer:
        assert answer.keys() == {"error"}
        assert answer["error"].keys() == {"code", "message"}
        assert answer["error"]["code"] in CODES, (event, answer)
        assert len(answer["error"]["message"]) < 700, (event, answer)
        return str(answer["error"]["code"])
    if answer is True:
        return "true"
    assert answer.keys() in ({"uid", "collection", "labels", "seq"}, {"room", "label", "url", "seq"}), (event, answer)
    return "uid" if "uid" in answer else "room"


async def ask(app: GatewayApp, fuzz: SubscriptionFuzz, number: int) -> Counter[str]:
    """Be a client, or several one after the other, that asks so often; returns how it was answered."""
    answers: Counter[str] = Counter()
    numbers = itertools.count()
    raw = await (await RawSocket.open(app.port)).join()
    asked = 0
    while asked < number:
        events: dict[int, list[object]] = {}
        for event in itertools.islice(iter(fuzz.request, None), BATCH):
            at = next(numbers)
            if (text := text_of(event, at)) is not None:
                events[at] = event
                raw.send(text)
        asked += len(events)
        if fuzz.random.random() < 0.1:
            # Away with all that is under way, and another one in its place; or the same anew on one connection.
            if fuzz.random.random() < 0.5:
                raw.cut()
                raw = await (await RawSocket.open(app.port)).join()
            else:
                raw.send("41")
                raw.send("40")
            continue
        await raw.until(lambda raw=raw, events=events: events.keys() <= raw.acks.keys())  # type: ignore[misc]
        answers.update(check(event, raw.acks.pop(at)) for at, event in events.items())
        raw.acks.clear()
        raw.events.clear()
        assert len(app._clients._subscribing._followed) <= MOST_FOLLOWED
    raw.cut()
    return answers


class World:
    """Documents that come, change and go all the time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._fuzz = Fuzz(7)
        self._clock = SequenceClock()
        self.events = 0

    async def turn(self) -> None:
        """Until cancelled."""
        for number in itertools.count(1):
            await self._publish(number)
            self.events += 1
            await asyncio.sleep(0.002)  # leave the loop to the others

    async def _publish(self, number: int) -> None:
        random = self._fuzz.random
        term = random.choice(TERMS)
        one = tweet(f"{term} {number}", id=random.choice(IDS), mtime=number, screen_name=random.choice(TERMS))
        action = random.choice([Action.CREATE, Action.CREATE, Action.UPDATE, Action.UPDATE, Action.DESTROY])
        event: Event = one if action is Action.CREATE else edited(one, one.text)
        event = deleted(one) if action is Action.DESTROY else event
        keys = [f"action.{action}"]
        if action is not Action.DESTROY:
            keys += [f"term.{term}", f"word.{term}", f"from.{one.user.screen_name}", "lang.en"]
        for message in feed.messages(keys, [msgpack.packb(to_document(event, self._clock.next()))]):
            await self._channel.publish(
                TWEETS_EXCHANGE,
                message.body,
                routing_key=message.routing_key,
                type=feed.TYPE,
                headers=message.headers,
            )


@contextlib.asynccontextmanager
async def turning(broker: Broker) -> Any:
    """A world, for a time."""
    async with connect(broker.amqp_url("router"), name="test router") as connection:
        world = World(await connection.channel(confirms=True))
        task = asyncio.create_task(world.turn())
        try:
            yield world
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def bound(broker: Broker) -> set[str]:
    """The keys that gateways are bound to."""
    return {key for destination, key in broker.bindings() if destination.startswith("gateway.")}


def left() -> list[object]:
    """What should be gone."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Connection | Interest | Audience)]


async def attack(broker: Broker, folder: Path, requests: int, *, clients: int) -> None:
    """Ask all of it at once, beside a client that has to get every tweet in time."""
    before = asyncio.all_tasks()
    settings = {
        "max_connections_per_address": 1_000,
        "max_rooms_per_client": 12,
        "max_rooms_per_address": 100_000,
        "subscribes_per_s": 100_000,
        "max_followed": MOST_FOLLOWED,
        "max_followed_each": MOST_FOLLOWED_EACH,
        "remembered_tweets": 100,
    }
    with capture_logs() as logs:
        async with archive(broker, folder), gateway(broker, **settings) as app:
            await knows_archive(app)
            await _ask_all(broker, app, requests, clients)
            await eventually(lambda: not app._server.eio.sockets)
            await eventually(lambda: nothing_left(app))
            await eventually(lambda: bound(broker) == {"action.update", "action.destroy"})
            await eventually(lambda: not left(), what="nothing is left")
    await eventually(lambda: asyncio.all_tasks() <= before, what="no task is left")
    assert [line for line in logs if line["log_level"] in ("warning", "error", "critical")] == []


async def _ask_all(broker: Broker, app: GatewayApp, requests: int, clients: int) -> None:
    good = await (await RawSocket.open(app.port)).join()
    await good.ask("subscribe", "")
    async with feeding(broker) as feed, turning(broker) as world:
        enough = asyncio.Event()
        watching = asyncio.create_task(watch(feed, good, enough))
        asking = [ask(app, SubscriptionFuzz(seed), requests // clients) for seed in range(clients)]
        answers = sum(await asyncio.gather(*asking), Counter[str]())
        enough.set()
        longest, number = await watching
        assert number > 10
        assert longest < 3, "seconds from sending a tweet to its arrival"
        assert world.events > 100
    for kind in ("uid", "true", "bad_request", "too_many_rooms", "room"):
        assert answers[kind] > requests // 1000, answers
    assert sum(answers.values()) > requests // 2
    assert not [event for event in good.events if ":" in event[0]], "nobody is told what others asked for"
    good.cut()


@on("uvloop")
async def test_three_thousand_odd_subscriptions_are_all_answered_and_leave_nothing(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await attack(broker, tmp_path, 3_000, clients=15)
    assert [record for record in caplog.records if record.name.startswith(("services", "aiohttp.server"))] == []


@pytest.mark.slow
@on("uvloop")
async def test_twelve_thousand_odd_subscriptions_are_all_answered_and_leave_nothing(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await attack(broker, tmp_path, 12_000, clients=60)
    assert [record for record in caplog.records if record.name.startswith(("services", "aiohttp.server"))] == []
