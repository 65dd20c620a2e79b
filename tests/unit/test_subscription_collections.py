"""A second collection is a declaration: what is said there holds for it, and no room ever shows it."""

from typing import Any

import pytest

from services.gateway.subscriptions import collections, request
from services.gateway.subscriptions.collections import Collection
from services.gateway.wishes import BadRequestError
from shared.events import Document
from shared.labels import Facets
from tests.support.tweets import tweet
from tests.unit.archive_in_memory import NOW
from tests.unit.subscription_clock import leaping
from tests.unit.subscription_network import Client
from tests.unit.test_subscription_delivery import Page, comes, one_gateway

GAME = Collection(
    name="game",
    fields=frozenset({"title", "score.home", "score.away", "teams"}),
    labels=frozenset({"tag"}),
    facets=lambda document: Facets(document["action"], hashtags=tuple(document.get("teams", ()))),
)
"""Games: `tag` is a team that plays."""


def game(id: str, mtime: int, home: int, **fields: Any) -> Document:
    """A game as the broker brings it."""
    document = {"action": "update" if mtime > 1 else "create", "collection": "game", "id": id, "mtime": mtime}
    teams = {"title": "The Bowl", "teams": ["eagles", "bears"], "score": {"home": home, "away": 0, "odds": 7}}
    return document | {"seq": NOW + mtime, "bets": 12} | teams | fields


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**collections.COLLECTIONS, GAME.name: GAME}
    monkeypatch.setattr(request.read, "__defaults__", (known,))


def asked(**wish: Any) -> dict[str, Any]:
    """A subscription to games."""
    return {"collection": "game", "fields": None, "createQuery": {"tag": "eagles"}} | wish


@leaping
async def test_its_documents_come_to_its_subscriptions_and_to_nobody_else() -> None:
    async with one_gateway() as gateway:
        fan, reader = Page(gateway), Page(gateway)
        assert (await fan.asks("a", **asked()))["labels"] == ["tag.eagles"]
        await reader.asks("a", createQuery={"tag": "eagles"})
        room = gateway.rooms.with_key("tag.eagles")
        assert room is not None
        visitor = Client(lambda event: pytest.fail(f"no room shows games: {event!r}"))
        gateway.rooms.join(visitor.connection, room.label, 0)
        for document in (game("g:1", 1, 0), game("g:1", 2, 3), game("g:1", 3, 3, bets=99)):
            gateway.fanout.take(document, [room])
        gateway.fanout.take({"action": "destroy", "collection": "game", "id": "g:1", "mtime": 4, "seq": 9}, [])
        gateway.flush()
        first = {"title": "The Bowl", "teams": ["eagles", "bears"], "score": {"home": 0, "away": 0}}
        assert fan.told == [
            ("a:game:create", {"id": "g:1", "seq": NOW + 1, "mtime": 1} | first),
            ("a:game:save", {"id": "g:1", "seq": NOW + 2, "mtime": 2} | first | {"score": {"home": 3, "away": 0}}),
            ("a:game:destroy", {"id": "g:1"}),
        ]
        assert reader.told == []
        gateway.rooms.leave(visitor.connection, room.label)
        comes(gateway, tweet("a tweet", hashtags=("eagles",)), 10)
        assert reader.heard() == ["a:create a tweet"]
        assert len(fan.told) == 3


@leaping
async def test_what_a_page_holds_of_it_is_compared() -> None:
    async with one_gateway() as gateway:
        for document in (game("g:1", 1, 0), game("g:1", 2, 3), game("g:2", 1, 0)):
            gateway.fanout.take(document, [])
        page = Page(gateway)
        await page.asks("a", **asked(createQuery=None, fields=["score"], documents={"g:1": 1, "g:2": 1}))
        assert page.told == [
            ("a:game:save", {"id": "g:1", "seq": NOW + 2, "mtime": 2, "score": {"home": 3, "away": 0}})
        ]
        other = Page(gateway)
        await other.asks("a", documents={"g:1": 1})
        gateway.fanout.take(game("g:1", 5, 7), [])
        assert other.told == [], "a game is no tweet"


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"createQuery": {"term": "eagles"}}, "'term' is no field of game"),
        ({"createQuery": {"user.id": 1}}, "'user.id' is no field of game"),
        ({"createQuery": {"score.odds": 7}}, "'score.odds' is no field of game"),
        ({"fields": ["text"]}, "'text' is no field of game: they are score.away, score.home, teams, title"),
        ({"fields": ["bets"]}, "'bets' is no field of game"),
        ({"collection": "match"}, "collection is one of game, tweet"),
    ],
)
def test_it_has_its_own_fields_and_labels(wish: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        request.read({"uid": "a"} | asked(**wish))
    assert says in str(refused.value)


def test_equal_wishes_for_two_collections_are_not_equal() -> None:
    games = request.read({"uid": "a"} | asked(fields=[]))
    tweets = request.read({"uid": "a", "collection": "tweet", "fields": [], "createQuery": {"tag": "eagles"}})
    assert games.wanted != tweets.wanted


@leaping
async def test_a_document_that_its_collection_cannot_read_matches_nothing() -> None:
    async with one_gateway() as gateway:
        page = Page(gateway)
        await page.asks("a", **asked())
        await page.asks("t", createQuery={"tag": "eagles"})
        room = gateway.rooms.with_key("tag.eagles")
        assert room is not None
        unknown = game("m:1", 1, 0) | {"collection": "match"}
        broken = {"action": "create", "id": "x:1", "mtime": 1, "seq": NOW + 1, "hashtags": ["eagles"]}
        for document in (unknown, broken):
            gateway.fanout.take(document, [room])
        gateway.flush()
        assert page.told == []
