"""What a token grants holds for subscriptions too: for queries, and for documents that are named by their ids."""

from typing import Any

import pytest

from tests.integration.test_history import knows_archive
from tests.integration.test_subscriptions import TEXT, publish_documents
from tests.integration.test_tokens import ask, locked, rooms_of, valid
from tests.support.archive import archive
from tests.support.broker import Broker
from tests.support.exchange import publish
from tests.support.services import gateway, router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually
from tests.support.wire import Polling, Session, Transport, Visits, WebSocket, refused

pytestmark = pytest.mark.usefixtures("hurry")


async def told(session: Session, uid: str, end: str) -> list[tuple[str, Any]]:
    """What a subscription is told up to the document whose text, or id, is `end`."""
    found: list[tuple[str, Any]] = []
    while not found or end not in (found[-1][1].get("text"), found[-1][1].get("id")):
        if not session.events:
            await session._next()
        name, payload, *_ = session.events.pop(0)
        if name.startswith(f"{uid}:tweet:"):
            found.append((name.rpartition(":")[2], payload))
    return found


@pytest.mark.parametrize("transport", [WebSocket, Polling])
async def test_a_query_needs_a_condition_whose_labels_are_all_granted(
    broker: Broker, visits: Visits, transport: Transport
) -> None:
    async with locked(broker, subscribes_per_s=100) as app:
        session = await visits.connected(app, transport, token=valid(rooms=["term.NFL", "tag.*", "has_url"]))
        for query, granted in (
            ({"term": "nfl"}, True),
            ({"term": ["nfl", "nyc"]}, False),
            ({"tag": ["anything", "else"]}, True),
            ({"term": "nyc"}, False),
            ({"term": "nyc", "has_url": True}, True),
            ({"term": "nyc", "has_url": False}, False),
            ({"user.screen_name": "ann", "word": "nfl"}, False),
            ({"user.screen_name": "ann", "term": "nFL"}, True),
            ({}, False),
            ({"user.screen_name": "ann"}, False),
            (None, True),
        ):
            answer = await session.ask("subscribe", {"uid": "a", **TEXT, "createQuery": query})
            if granted:
                assert answer["uid"] == "a", query
            else:
                assert refused(answer) == "not_allowed", query
                assert "token" in answer["error"]["message"]
        for rooms in (["*"], ["all"]):
            everything = await visits.connected(app, transport, token=valid(rooms=rooms))
            for any_query in ({}, {"term": "nyc"}, {"has_url": False}):
                asked = {"uid": "a", **TEXT, "createQuery": any_query}
                assert (await everything.ask("subscribe", asked))["uid"] == "a"
        nothing = await visits.connected(app, transport, token=valid(rooms=[]))
        assert refused(await nothing.ask("subscribe", {"uid": "a", **TEXT, "createQuery": {"term": "nfl"}}))


async def test_equal_subscriptions_of_different_rights_are_sent_what_both_may_see(
    broker: Broker, visits: Visits
) -> None:
    async with router(broker), locked(broker) as app:
        sessions = [await visits.connected(app, token=valid(rooms=[room])) for room in ("term.nfl", "has_url", "*")]
        for session in sessions:
            query = {"term": "nfl", "has_url": True}
            assert (await session.ask("subscribe", {"uid": "a", **TEXT, "createQuery": query}))["uid"] == "a"
        await publish(broker, tweet("nfl"), tweet("nyc", urls=("https://example.org/",)))
        await publish(broker, tweet("nfl link", urls=("https://example.org/",)))
        for session in sessions:
            assert [name for name, _ in await told(session, "a", "nfl link")] == ["create"]


async def test_of_documents_by_id_one_is_told_what_is_granted_and_in_any_case_that_they_are_gone(
    broker: Broker, visits: Visits, tmp_path: Any
) -> None:
    async with router(broker), archive(broker, tmp_path), locked(broker) as app:
        await knows_archive(app)
        mine, secret, mixed = tweet("nfl mine"), tweet("secret"), tweet("nfl mixed")
        gone, lost = tweet("secret gone"), tweet("secret lost")
        await publish(broker, mine, secret, mixed, gone, lost)
        await publish(broker, edited(mine, "nfl mine 2"), edited(secret, "secret 2"), deleted(gone))
        documents = {one.id: one.mtime for one in (mine, secret, mixed, gone, lost)}
        some = await visits.connected(app, token=valid(rooms=["term.nfl"]))
        everything = await visits.connected(app, token=valid())
        for session in (some, everything):
            await session.ask("subscribe", {"uid": "a", **TEXT, "documents": documents})
        await publish(broker, edited(secret, "nfl secret no more", later_ms=2000))
        await publish(broker, edited(secret, "secret again", later_ms=3000), edited(mixed, "now a secret"))
        await publish(broker, deleted(lost), edited(mixed, "nfl mixed 3", later_ms=3000))
        seen = [(name, document.get("text")) for name, document in await told(some, "a", "nfl mixed 3")]
        assert sorted(seen, key=str) == [
            ("destroy", None),
            ("destroy", None),
            ("save", "nfl mine 2"),
            ("save", "nfl mixed 3"),
            ("save", "nfl secret no more"),
        ]
        whole = [document.get("text") for _, document in await told(everything, "a", "nfl mixed 3")]
        assert {"secret 2", "secret again", "now a secret"} <= set(whole)


async def test_what_nobody_can_see_through_is_told_only_to_who_may_see_all(broker: Broker, visits: Visits) -> None:
    held = tweet("nfl held")
    odd = {"action": "update", "collection": "tweet", "id": held.id, "mtime": held.mtime + 1, "seq": 1, "text": "odd"}
    async with locked(broker) as app:
        some = await visits.connected(app, token=valid(rooms=["term.nfl"]))
        everything = await visits.connected(app, token=valid())
        for session in (some, everything):
            await session.ask("subscribe", {"uid": "a", **TEXT, "documents": {held.id: held.mtime}})
        await publish_documents(broker, ["action.update"], odd)
        destroy = {"action": "destroy", "id": held.id, "mtime": held.mtime + 2, "seq": 2}
        await publish_documents(broker, ["action.destroy"], destroy)
        assert [name for name, _ in await told(some, "a", held.id)] == ["gap", "destroy"]
        assert [name for name, _ in await told(everything, "a", "odd")] == ["gap", "save"]
        assert [name for name, _ in await told(everything, "a", held.id)] == ["destroy"]


async def test_http_shows_nothing_of_subscriptions(broker: Broker, visits: Visits) -> None:
    async with locked(broker) as app, gateway(broker) as unlocked:
        session = await visits.connected(app, token=valid())
        await session.ask("subscribe", {"uid": "a", **TEXT, "createQuery": {"term": ["a secret", "another"]}})
        assert await session.join("nfl") is True
        assert await rooms_of(app, valid()) == {"term.nfl": 1}
        assert (await ask(app, "rooms", valid()))[1] == {
            "rooms": [{"room": "nfl", "label": "term.nfl", "url": "/nfl", "members": 1}]
        }
        assert (await ask(app, "rooms"))[0] == 401
        # Of a gateway without tokens nobody is asked for one.
        session = await visits.connected(unlocked)
        assert (await session.ask("subscribe", {"uid": "a", **TEXT, "createQuery": {}}))["labels"] == ["all"]
        assert (await ask(unlocked, "rooms"))[1] == {"rooms": []}


async def test_a_token_that_ends_ends_the_subscription(broker: Broker, visits: Visits) -> None:
    async with locked(broker) as app:
        session = await visits.connected(app, token=valid(for_s=1.5, rooms=["term.nfl"]))
        query = {"createQuery": {"term": "nfl"}, "documents": {"test:1": 1}}
        assert (await session.ask("subscribe", {"uid": "a", **TEXT, **query}))["uid"] == "a"
        await session.ended()
        await eventually(lambda: not app._clients._subscribing._of and not len(app._rooms))
        assert len(app._clients._subscribing._followed) == 0
