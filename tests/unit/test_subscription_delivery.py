"""What a subscription is told, by turns: one gateway, its archive, and a few pages."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from services.gateway.auth import EVERYTHING, Grant
from services.gateway.subscriptions import request
from shared.events import Document, Event, Tweet, to_document
from shared.labels import Facets, Label
from tests.support.tweets import deleted, edited, tweet
from tests.unit.archive_in_memory import NOW, SECOND
from tests.unit.subscription_clock import leaping
from tests.unit.subscription_network import Client, Gateway, Network

NFL = Label("term", "nfl")


class Page:
    """One client, and what it is told: `a:create nfl 1`."""

    def __init__(self, gateway: Gateway, grant: Grant = EVERYTHING) -> None:
        self.gateway = gateway
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.client = Client(self._take, grant)

    def _take(self, event: bytes) -> None:
        name, payload = orjson.loads(event.removeprefix(b"2"))
        self.told.append((name, payload))

    async def asks(self, uid: str = "a", **asked: Any) -> Any:
        """It subscribes; returns the answer."""
        asked = {"uid": uid, "collection": "tweet", "fields": ["text"], "createQuery": {"term": "nfl"}} | asked
        return await self.gateway.subscribing.subscribe(self.client.connection, request.read(asked))

    def heard(self) -> list[str]:
        """What it has been told since it was asked last."""
        self.gateway.flush()
        told, self.told = self.told, []
        return [
            " ".join(filter(None, (name.replace(":tweet", ""), payload.get("text", "")))) for name, payload in told
        ]


@asynccontextmanager
async def one_gateway(**limits: int) -> AsyncIterator[Gateway]:
    """A gateway with its archive and a broker that is quiet."""
    network = Network(random.Random(1), **({"max_followed": 1000, "max_followed_each": 1000} | limits))
    gateway = network.gateways[0]
    gateway.received = NOW
    try:
        yield gateway
    finally:
        await network.end()


def comes(gateway: Gateway, event: Event, at_s: float, *, labelled: bool = True) -> Document:
    """An event comes from the broker, under the labels of open rooms, or for a change under none of them."""
    document = to_document(event, NOW + int(at_s * SECOND))
    facets = Facets.of_document(document)
    rooms = [room for room in gateway.rooms.all() if labelled and room.label.matches(facets)]
    gateway.fanout.take(document, rooms)
    gateway.flush()
    return document


def of(one: Tweet, *others: Tweet) -> dict[str, int]:
    """What a page says that it holds."""
    return {each.id: each.mtime for each in (one, *others)}


@leaping
async def test_new_ones_that_match_their_changes_and_their_end() -> None:
    async with one_gateway() as gateway:
        page = Page(gateway)
        answer = await page.asks()
        assert (answer["uid"], answer["collection"], answer["labels"]) == ("a", "tweet", ["term.nfl"])
        first = tweet("nfl 1")
        comes(gateway, first, 1)
        comes(gateway, tweet("nba"), 2)
        changed = edited(first, "nothing of it")
        comes(gateway, changed, 3, labelled=False)
        comes(gateway, first, 1)
        comes(gateway, deleted(first), 4)
        comes(gateway, deleted(first), 4)
        assert page.heard() == ["a:create nfl 1", "a:save nothing of it", "a:destroy"]


@leaping
async def test_what_it_holds_is_told_of_whatever_it_matches_and_the_rest_is_silent() -> None:
    async with one_gateway() as gateway:
        held, same, other = tweet("something"), tweet("something else"), tweet("another one")
        page = Page(gateway)
        await page.asks(createQuery=None, documents=of(held, same))
        comes(gateway, edited(other, "changed"), 1)
        comes(gateway, edited(held, "changed"), 1)
        comes(gateway, edited(held, "changed", later_ms=2000), 2)
        comes(gateway, same, 3)
        comes(gateway, deleted(same), 4)
        comes(gateway, deleted(other), 5)
        assert page.heard() == ["a:save changed", "a:destroy"]


@leaping
async def test_what_changed_between_rendering_and_subscribing_is_told_once_and_at_once() -> None:
    async with one_gateway() as gateway:
        changed, gone, same = tweet("nfl changed"), tweet("nfl gone"), tweet("nfl same")
        archive: list[Event] = [
            changed,
            gone,
            same,
            edited(changed, "nfl changed since"),
            deleted(gone),
            tweet("nfl new"),
        ]
        for number, one in enumerate(archive):
            gateway.archive.store(to_document(one, NOW - 60 * SECOND + number * 20 * SECOND))
        page = Page(gateway)
        await page.asks(documents=of(changed, gone, same), since=NOW - 20 * SECOND)
        assert page.heard() == ["a:save nfl changed since", "a:create nfl new", "a:destroy"]
        for number, one in enumerate(archive):
            comes(gateway, one, -60 + number * 20)
        assert page.heard() == []


@leaping
async def test_what_matched_once_and_does_not_any_more_is_not_new_to_who_comes_later() -> None:
    async with one_gateway() as gateway:
        first, later = Page(gateway), Page(gateway)
        await first.asks()
        one = tweet("nfl")
        comes(gateway, one, 1)
        comes(gateway, edited(one, "nothing of it"), 2, labelled=False)
        await later.asks(since=NOW)
        assert later.heard() == [], "it holds none that does not match"
        comes(gateway, edited(one, "nfl again", later_ms=3000), 3)
        assert later.heard() == ["a:create nfl again"]
        comes(gateway, edited(one, "nfl and again", later_ms=4000), 4)
        comes(gateway, deleted(one, later_ms=5000), 5)
        assert later.heard() == ["a:save nfl and again", "a:destroy"]
        assert first.heard() == [
            "a:create nfl",
            "a:save nothing of it",
            "a:save nfl again",
            "a:save nfl and again",
            "a:destroy",
        ]


@leaping
async def test_what_routers_left_out_comes_to_who_asked_for_it_whoever_had_opened_the_room() -> None:
    async with one_gateway() as gateway:
        await Page(gateway).asks(createQuery={"term": "nfl", "has_url": True})
        # It was published under another label only: routers do not know of this one yet.
        gateway.archive.store(to_document(tweet("nfl left out"), NOW + 2 * SECOND))
        gateway.received = NOW + 3 * SECOND
        asked, not_asked = Page(gateway), Page(gateway)
        await asked.asks(since=NOW)
        await not_asked.asks()
        heard = asked.heard()
        gateway.catchup.bring(gateway.archive.documents[0], gateway.rooms.all())
        assert heard + asked.heard() == ["a:create nfl left out"]
        assert not_asked.heard() == [], "it was there before"


@leaping
async def test_what_an_archive_brings_that_lagged_behind_is_told_to_who_asked_for_it() -> None:
    async with one_gateway() as gateway:
        gateway.received = NOW + 5 * SECOND
        gateway.archive.slow_s = 5.0
        gateway.archive.publish(to_document(tweet("nfl late"), NOW + 2 * SECOND))
        page = Page(gateway)
        await page.asks(since=NOW)
        assert page.heard() == [], "it is not stored yet"
        await gateway.archive.caught_up()
        await gateway.settled()
        assert page.heard() == ["a:create nfl late"]


@leaping
async def test_what_was_forgotten_and_is_brought_again_is_not_new_again() -> None:
    async with one_gateway() as gateway:
        page = Page(gateway)
        await page.asks()
        one = comes(gateway, tweet("nfl 1"), 1)
        late = Page(gateway)
        gateway.received = NOW + 2 * SECOND
        await late.asks()
        for number in range(1001):
            comes(gateway, tweet("nothing"), 3 + number, labelled=False)
            comes(gateway, edited(tweet("nothing"), "of it"), 3 + number, labelled=False)
        assert gateway.versions.get(one["id"]) is None
        gateway.catchup.bring(one, gateway.rooms.all())
        assert page.heard() == ["a:create nfl 1"]
        assert late.heard() == []


@leaping
async def test_who_was_not_told_of_a_version_is_told_of_the_next_though_that_has_the_same_fields() -> None:
    async with one_gateway() as gateway:
        held = tweet("nfl", lang="en")
        comes(gateway, held, 0, labelled=False)
        page = Page(gateway, Grant(everything=False, labels=frozenset({NFL})))
        await page.asks(documents=of(held), fields=["lang"])
        comes(gateway, tweet("hidden", id=held.id, mtime=held.mtime + 1, lang="de"), 1)
        assert page.heard() == [], "its token does not grant that"
        comes(gateway, tweet("nfl again", id=held.id, mtime=held.mtime + 2, lang="de"), 2)
        assert page.heard() in (["a:save"], ["a:create"])


@leaping
async def test_two_subscriptions_of_one_page_are_told_each_for_itself() -> None:
    async with one_gateway() as gateway:
        page = Page(gateway)
        await page.asks("all", createQuery={}, fields=["text"])
        await page.asks("nfl", fields=[])
        one = tweet("nfl")
        comes(gateway, one, 1)
        comes(gateway, edited(one, "nba"), 2)
        assert sorted(page.heard()) == ["all:create nfl", "all:save nba", "nfl:create"]
        gateway.subscribing.unsubscribe(page.client.connection, "all")
        comes(gateway, deleted(one), 3)
        assert page.heard() == ["nfl:destroy"]


@leaping
async def test_a_request_that_is_refused_leaves_the_subscription_as_it_was() -> None:
    async with one_gateway() as gateway:
        page = Page(gateway)
        await page.asks()
        page.client.places = 1000
        answer = await page.asks(createQuery={"term": ["nfl", "nba"]})
        assert answer["error"]["code"] == "too_many_rooms"
        comes(gateway, tweet("nfl"), 1)
        assert page.heard() == ["a:create nfl"]
        assert (await page.asks())["uid"] == "a", "in the place of itself there is room"


@leaping
async def test_a_token_is_for_queries_of_which_one_condition_is_granted_altogether() -> None:
    async with one_gateway() as gateway:
        page = Page(gateway, Grant(everything=False, labels=frozenset({NFL, Label("lang", "en")})))
        for granted in ({"term": "nfl"}, {"term": "NFL", "has_url": True}, {"lang": ["en"], "term": ["nfl", "nba"]}):
            assert "uid" in await page.asks(createQuery=granted)
        for refused in ({}, {"term": ["nfl", "nba"]}, {"source": "test"}, {"has_url": False}, {"has_url": True}):
            answer = await page.asks(createQuery=refused)
            assert answer["error"]["code"] == "not_allowed"
        everybodys = Page(gateway, Grant(everything=False, labels=frozenset({Label("all")})))
        assert "uid" in await everybodys.asks(createQuery={})
        assert "uid" in await everybodys.asks(createQuery={"term": "anything"})
        assert "uid" in await Page(gateway, Grant(everything=False)).asks(createQuery=None), "no new ones"


@leaping
async def test_a_token_is_told_of_documents_that_it_names_what_it_may_know() -> None:
    async with one_gateway() as gateway:
        granted, hidden = tweet("nfl"), tweet("hidden")
        page = Page(gateway, Grant(everything=False, labels=frozenset({NFL})))
        comes(gateway, edited(hidden, "still hidden"), 0)
        await page.asks(createQuery=None, documents=of(granted, hidden))
        comes(gateway, edited(granted, "nfl changed"), 1)
        comes(gateway, edited(hidden, "hidden, too", later_ms=2000), 1)
        assert page.heard() == ["a:save nfl changed"]
        comes(gateway, deleted(granted, later_ms=5000), 2)
        comes(gateway, deleted(hidden, later_ms=5000), 2)
        assert page.heard() == ["a:destroy", "a:destroy"]


@leaping
async def test_who_holds_too_many_is_told_of_which_it_is_told_no_more() -> None:
    async with one_gateway(max_followed_each=2) as gateway:
        page, held = Page(gateway), [tweet(f"nfl {number}") for number in range(4)]
        for number, one in enumerate(held):
            comes(gateway, one, number)
        await page.asks(documents=of(*held))
        ((name, payload),) = page.told
        assert (name, payload) == ("a:tweet:unfollow", {"ids": [held[0].id, held[1].id]}), "the oldest"
        page.told = []
        comes(gateway, edited(held[0], "nba"), 5, labelled=False)
        comes(gateway, edited(held[3], "nba"), 6, labelled=False)
        assert page.heard() == ["a:save nba"]
