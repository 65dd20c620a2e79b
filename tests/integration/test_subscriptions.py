"""The subscription model: what a page holds is kept current, and new documents come that it is interested in."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import pytest

from services.gateway.app import GatewayApp
from shared import feed
from shared.broker import connect
from shared.events import Action, Document, to_document
from shared.topology import TWEETS_EXCHANGE
from tests.integration.test_history import knows_archive, stage
from tests.support.broker import Broker
from tests.support.browsers import Client, browser
from tests.support.exchange import publish
from tests.support.services import gateway, router
from tests.support.tweets import PHOTO, deleted, edited, tweet
from tests.support.waiting import eventually
from tests.support.wire import refused

TEXT = {"collection": "tweet", "fields": ["text"]}
NFL = {"createQuery": {"term": "nfl"}}


def shown(told: Iterable[tuple[str, Document]], held: Mapping[str, int] | None = None) -> dict[str, Document]:
    """What a page shows in the end that does as it is told, by id; `held` is what it had before, as it said.

    Fails where it is told something that is no news to it.
    """
    versions = {id: int(mtime) for id, mtime in (held or {}).items()}
    page: dict[str, Document] = {}
    for name, payload in told:
        if name == "destroy":
            assert payload.keys() == {"id"}
            del versions[payload["id"]]
            page.pop(payload["id"], None)
        elif name in ("create", "save"):
            id = payload["id"]
            assert (id in versions) == (name == "save"), (name, payload)
            assert payload["mtime"] > versions.get(id, -1), (name, payload)
            versions[id] = payload["mtime"]
            page[id] = payload
    return page


def texts(client: Client, uid: str, name: str = "create") -> list[str]:
    """The texts of all that came to a subscription by one event."""
    return [document["text"] for document in client.of(uid, name)]


def names(client: Client, uid: str) -> list[str]:
    """What a subscription was told, by the names alone."""
    return [name for name, _ in client.told.get(uid, ())]


def nothing_left(app: GatewayApp) -> bool:
    """Whether a gateway has no trace of any subscription, room or binding that was."""
    subscribing = app._clients._subscribing
    return (
        not len(subscribing._followed)
        and not subscribing._followed._interests
        and not subscribing._interests
        and not subscribing._of
        and not len(app._rooms)
        and len(app._bindings) == 2
        and not len(app._clients._places._of_address)
        and not app._clients._outbox._waiting
    )


async def publish_documents(broker: Broker, keys: list[str], *documents: Document) -> None:
    """Publish documents to the exchange `tweets` under some labels, as a router does."""
    async with connect(broker.amqp_url("router"), name="test router") as connection:
        channel = await connection.channel(confirms=True)
        for message in feed.messages(keys, [msgpack.packb(document) for document in documents]):
            await channel.publish(
                TWEETS_EXCHANGE,
                message.body,
                routing_key=message.routing_key,
                type=feed.TYPE,
                headers=message.headers,
            )


async def test_new_documents_that_match_come_projected_and_are_followed(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        answer = await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        assert answer == {"uid": "a", "collection": "tweet", "labels": ["term.nfl"], "seq": answer["seq"]}
        one, other = tweet("nfl one"), tweet("nfl other")
        await publish(broker, one, tweet("nothing of it"), other)
        await eventually(lambda: len(client.of("a", "create")) == 2)
        first = client.of("a", "create")[0]
        assert first == {"id": one.id, "mtime": one.mtime, "seq": first["seq"], "text": "nfl one"}
        await publish(broker, edited(one, "changed, and of no interest"), deleted(other))
        await eventually(lambda: len(client.told["a"]) == 4)
        [saved], [gone] = client.of("a", "save"), client.of("a", "destroy")
        assert saved["text"] == "changed, and of no interest"
        assert gone == {"id": other.id}
        assert await client.call("unsubscribe", "a") is True
        await publish(broker, tweet("nfl unheard"))
        await client.call("subscribe", {"uid": "b", **TEXT, **NFL})
        await publish(broker, tweet("nfl heard"))
        await eventually(lambda: texts(client, "b") == ["nfl heard"])
        assert len(client.told["a"]) == 4


@pytest.mark.parametrize("written", [int, str])
@pytest.mark.parametrize("remembered", ["in memory", "in the archive"])
async def test_what_happened_between_rendering_and_subscribing_is_told_once_at_once(
    broker: Broker, tmp_path: Path, remembered: str, written: type
) -> None:
    async with stage(broker, tmp_path) as app, gateway(broker) as other, browser(app.port) as first:
        await knows_archive(other)
        await first.call("subscribe", {"uid": "a", **TEXT, **NFL})
        same, changed, gone = tweet("nfl same"), tweet("nfl changed"), tweet("nfl gone")
        await publish(broker, same, changed, gone)
        await eventually(lambda: len(client_of(first)) == 3)
        held = {document["id"]: written(document["mtime"]) for document in client_of(first).values()}
        since = written(max(document["seq"] for document in client_of(first).values()))
        new, brief = tweet("nfl new"), tweet("nfl brief")
        await publish(broker, edited(changed, "changed"), deleted(gone), new, brief, deleted(brief))
        await eventually(lambda: set(client_of(first)) == {same.id, changed.id, new.id})
        async with browser((app if remembered == "in memory" else other).port) as client:
            await client.call("subscribe", {"uid": "a", **TEXT, **NFL, "documents": held, "since": since})
            # All of it before the acknowledgement.
            assert sorted(names(client, "a")) == ["create", "destroy", "save"]
            assert names(client, "a").index("destroy") == 2, "what is new and changed in its order, then what went"
            assert texts(client, "a") == ["nfl new"]
            assert client.of("a", "save")[0]["text"] == "changed"
            await publish(broker, edited(same, "changed as well"), deleted(new))
            await eventually(lambda: len(client.told["a"]) == 5)
            assert shown(client.told["a"], held).keys() == {same.id, changed.id}
            assert texts(client, "a", "save")[-1] == "changed as well"


def client_of(client: Client, uid: str = "a") -> dict[str, Document]:
    """What a subscription's page shows."""
    return shown(client.told.get(uid, ()))


async def test_documents_without_a_query_are_kept_current_and_nothing_else_comes(
    broker: Broker, tmp_path: Path
) -> None:
    async with stage(broker, tmp_path) as app, browser(app.port) as client:
        kept, gone = tweet("about tea"), tweet("about coffee")
        await publish(broker, kept, gone)
        held = {kept.id: kept.mtime, gone.id: gone.mtime, "test:unknown": 7}
        answer = await client.call("subscribe", {"uid": "a", **TEXT, "documents": held})
        assert answer["labels"] == []
        assert "a" not in client.told, "nothing has happened yet"
        assert len(app._rooms) == 0
        late = tweet("late", id="test:unknown", mtime=8)
        await publish(broker, tweet("about tea and coffee"), edited(kept, "about milk"), deleted(gone))
        await publish(broker, edited(late, "of it nobody had heard"))
        await eventually(lambda: len(client.told.get("a", ())) == 3)
        assert sorted(texts(client, "a", "save")) == ["about milk", "of it nobody had heard"]
        assert client.of("a", "destroy") == [{"id": gone.id}]


async def test_documents_that_are_held_are_told_of_also_when_they_match_no_more(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        one, other, later = tweet("nfl one"), tweet("nfl other"), tweet("of something else")
        await publish(broker, one, other, later)
        await eventually(lambda: len(client_of(client)) == 2)
        await publish(broker, edited(one, "no more of it"), edited(later, "nfl at last"))
        await eventually(lambda: len(client.told["a"]) == 4)
        assert texts(client, "a") == ["nfl one", "nfl other", "nfl at last"], "one that matches now is new"
        await publish(broker, edited(one, "nothing yet", later_ms=2000))
        await publish(broker, edited(one, "nfl again", later_ms=3000), deleted(later), deleted(other))
        await publish(broker, deleted(one, later_ms=4000))
        await eventually(lambda: client_of(client) == {})
        assert texts(client, "a", "save") == ["no more of it", "nothing yet", "nfl again"]


async def test_subscriptions_of_one_socket_are_told_apart_by_their_uid(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client, browser(app.port) as other:
        name = ["user.screen_name"]
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        await client.call("subscribe", {"uid": "A.2_-", "collection": "tweet", "fields": name, **NFL})
        await client.call("subscribe", {"uid": "same", **TEXT, **NFL})
        await client.call("subscribe", {"uid": "links", **TEXT, "createQuery": {"term": "nfl", "has_url": True}})
        await other.call("subscribe", {"uid": "a", **TEXT, "createQuery": {"term": "nyc"}})
        plain, link = tweet("nfl", screen_name="ann"), tweet("nfl in nyc", urls=("https://example.org/",))
        await publish(broker, plain, link)
        await eventually(lambda: [len(client.of(uid, "create")) for uid in ("a", "A.2_-", "same")] == [2, 2, 2])
        await eventually(lambda: texts(other, "a") == ["nfl in nyc"])
        assert texts(client, "links") == ["nfl in nyc"]
        assert client.of("A.2_-", "create")[0]["user"] == {"screen_name": "ann"}
        assert "text" not in client.of("A.2_-", "create")[0]
        assert client.of("same", "create") == client.of("a", "create")
        # One that is ended takes nothing from the others, equal ones or not.
        assert await client.call("unsubscribe", {"uid": "a"}) is True
        await publish(broker, edited(plain, "nfl changed"), deleted(link))
        await eventually(lambda: [len(client.told[uid]) for uid in ("same", "links", "A.2_-")] == [4, 2, 3])
        assert len(client.told["a"]) == 2
        assert names(client, "A.2_-") == ["create", "create", "destroy"], "the name is the same as before"


async def test_a_second_one_of_the_same_uid_takes_the_place_of_the_first(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        old = tweet("nfl")
        await publish(broker, old)
        await eventually(lambda: len(client.told["a"]) == 1)
        await client.call("subscribe", {"uid": "a", **TEXT, "createQuery": {"term": "nyc"}})
        await publish(broker, tweet("nfl again"), edited(old, "nfl changed"), tweet("nyc"))
        await eventually(lambda: texts(client, "a") == ["nfl", "nyc"])
        await eventually(lambda: [room.key for room in app._rooms.all()] == ["term.nyc"])
        for _ in range(20):
            await client.call("subscribe", {"uid": "a", **TEXT, "createQuery": {"term": "nyc"}})
        await publish(broker, tweet("nyc again"))
        await eventually(lambda: texts(client, "a") == ["nfl", "nyc", "nyc again"])
        assert len(client.told["a"]) == 3


async def test_what_touches_none_of_the_fields_is_not_told(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client, browser(app.port) as holder:
        some = ["urls", "user.name"]
        await client.call("subscribe", {"uid": "a", "collection": "tweet", "fields": some, **NFL})
        await client.call("subscribe", {"uid": "none", "collection": "tweet", "fields": [], **NFL})
        one = tweet("nfl")
        await publish(broker, one)
        await eventually(lambda: len(client.told) == 2)
        # It holds the tweet, and asks for no new ones.
        asked = {"uid": "a", "collection": "tweet", "fields": some, "documents": {one.id: one.mtime}}
        await holder.call("subscribe", asked)
        await publish(broker, edited(one, "another text"))
        link = tweet("nfl", id=one.id, mtime=one.mtime + 2000, action=Action.UPDATE, urls=("https://example.org/",))
        await publish(broker, link)
        await eventually(lambda: len(client.told["a"]) == 2)
        await eventually(lambda: len(holder.told["a"]) == 1)
        await publish(broker, edited(one, "a text", later_ms=3000), tweet("nfl marks the end"))
        await eventually(lambda: len(client.of("none", "create")) == 2)
        assert names(client, "a") == ["create", "save", "save", "create"], "a link came, went, and a tweet came"
        assert [document["urls"] for document in client.of("a", "save")] == [["https://example.org/"], []]
        assert holder.of("a", "save") == client.of("a", "save")
        assert names(client, "none") == ["create", "create"]
        assert client.of("none", "create")[0].keys() == {"id", "seq", "mtime"}


async def test_only_what_is_listed_leaves(broker: Broker) -> None:
    # What no tweet should have and a document may have all the same.
    odd = {"user": {"email": "s3cret"}, "media": ["s3cret"], "text": {"s3cret": 1}, "urls": ["a", {"s3cret": 1}]}
    document = to_document(tweet("nfl", media=(PHOTO,)), 7) | {"secret": "s3cret"}
    document["user"]["email"] = document["media"][0]["original"] = "s3cret"
    async with gateway(broker) as app, browser(app.port) as client:
        await client.call("subscribe", {"uid": "all", "collection": "tweet", **NFL})
        await client.call("subscribe", {"uid": "parents", "collection": "tweet", "fields": ["user", "media"], **NFL})
        for path in ("secret", "user.email", "media.original", "user.id.x", "", ".", "user.", "__class__"):
            for asked in ({"fields": [path], **NFL}, {"createQuery": {path: "s3cret"}}):
                assert refused(await client.call("subscribe", {"uid": "b", "collection": "tweet", **asked}))
        await publish_documents(broker, ["term.nfl"], document)
        update = {**document, "mtime": document["mtime"] + 1, "action": "update", **odd}
        await publish_documents(broker, ["term.nfl", "action.update"], update)
        await eventually(lambda: [len(client.told.get(uid, ())) for uid in ("all", "parents")] == [2, 2])
        assert "s3cret" not in str(client.told)
        whole = client.of("all", "create")[0]
        assert whole.keys() == {
            *("id", "seq", "mtime", "source", "url", "text", "lang", "created_at"),
            *("user", "urls", "hashtags", "media"),
        }
        assert whole["media"] == [{"type": PHOTO.type, "url": PHOTO.url, "alt": PHOTO.alt}]
        assert client.of("parents", "create")[0].keys() == {"id", "seq", "mtime", "user", "media"}
        assert client.of("all", "save")[0]["urls"] == ["a"]


TWEETS = {
    "plain": tweet("NFL draft", screen_name="Ann"),
    "link": tweet("an nfl link #AI", urls=("https://example.org/a", "https://example.org/b"), hashtags=("AI",)),
    "photo": tweet("nflx", media=(PHOTO,), lang="de", screen_name="bob"),
    "other": tweet("of something else", lang="fr", hashtags=("ai", "ml"), source="elsewhere"),
}

QUERIES: list[tuple[dict[str, Any], str, set[str]]] = [
    ({}, "all", {"plain", "link", "photo", "other"}),
    ({"term": "nFl"}, "term.nfl", {"plain", "link", "photo"}),
    ({"word": "nfl"}, "word.nfl", {"plain", "link"}),
    ({"tag": ["ai", "nothing"]}, "tag.ai tag.nothing", {"link", "other"}),
    ({"from": "ANN"}, "from.ann", {"plain"}),
    ({"from": ["ann", "bob"], "has_media": True}, "from.ann from.bob", {"photo"}),
    ({"lang": ["de", "fr"]}, "lang.de lang.fr", {"photo", "other"}),
    ({"has_url": True}, "has_url", {"link"}),
    ({"has_url": False, "term": "nfl"}, "term.nfl", {"plain", "photo"}),
    ({"has_media": False}, "all", {"plain", "link", "other"}),
    ({"user.screen_name": "Ann"}, "all", {"plain"}),
    ({"user.screen_name": "ann"}, "all", set()),
    ({"hashtags": "ml", "tag": "ai"}, "tag.ai", {"other"}),
    ({"urls": ["https://example.org/b"], "lang": "en"}, "lang.en", {"link"}),
    ({"media.type": "photo"}, "all", {"photo"}),
    ({"source": ["elsewhere", None]}, "all", {"other"}),
    ({"term": ["nfl draft", "else"], "lang": "en"}, "term.else term.nfl%20draft", {"plain"}),
]


async def test_a_query_brings_what_fulfils_all_of_its_conditions_under_its_cheapest_label(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        for number, (query, labels, _) in enumerate(QUERIES):
            asked = {"uid": f"{number}", "collection": "tweet", "fields": ["text"], "createQuery": query}
            assert (await client.call("subscribe", asked))["labels"] == labels.split(), query
        await publish(broker, *TWEETS.values())
        await eventually(lambda: len(client.of("0", "create")) == 4)
        wanted = [{TWEETS[name].text for name in found} for _, _, found in QUERIES]
        await eventually(lambda: [set(texts(client, f"{number}")) for number in range(len(QUERIES))] == wanted)
        await publish(broker, *(deleted(one) for one in TWEETS.values()))
        await eventually(
            lambda: all(
                len(client.told.get(f"{number}", ())) == 2 * len(found)
                for number, (_, _, found) in enumerate(QUERIES)
            ),
            what="whoever was sent one is told that it went, and nobody else",
        )


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"uid": None}, "uid"),
    ({"uid": ""}, "uid"),
    ({"uid": "a b"}, "uid"),
    ({"uid": "x" * 65}, "uid"),
    ({"uid": "a\n"}, "uid"),
    ({"uid": "ä"}, "uid"),
    ({"collection": "notes"}, "collection is one of tweet"),
    ({"collection": ["tweet"]}, "collection is one of tweet"),
    ({"fields": "text"}, "fields is a list"),
    ({"fields": [7]}, "fields is a list"),
    ({"fields": ["text"] * 51}, "50"),
    ({"fields": ["txt"]}, "text"),
    ({"createQuery": []}, "createQuery is a map"),
    ({"createQuery": "nfl"}, "createQuery is a map"),
    ({"createQuery": {"term": {"$gt": ""}}}, "'$gt'"),
    ({"createQuery": {"term": []}}, "alternatives"),
    ({"createQuery": {"term": [["nfl"]]}}, "list"),
    ({"createQuery": {"term": 7}}, "term"),
    ({"createQuery": {"term": ""}}, "term"),
    ({"createQuery": {"term": "x" * 101}}, "100"),
    ({"createQuery": {"tag": [str(number) for number in range(21)]}}, "20"),
    ({"createQuery": {"has_url": "yes"}}, "true or false"),
    ({"createQuery": {"has_url": [True, False]}}, "true or false"),
    ({"createQuery": {"action": "create"}}, "action"),
    ({"createQuery": {"all": True}}, "all"),
    ({"createQuery": {"id": "test:1"}}, "documents"),
    ({"createQuery": {"user": "ann"}}, "user.screen_name"),
    ({"createQuery": {f"f{number}": 1 for number in range(11)}}, "10"),
    ({"documents": [1]}, "documents is a map"),
    ({"documents": {"a": "soon"}}, "documents is a map"),
    ({"documents": {"a": -1}}, "documents is a map"),
    ({"documents": {str(number): 1 for number in range(1001)}}, "1000"),
    ({"since": "yesterday"}, "since"),
    ({"since": -1}, "since"),
    ({"since": 1.5}, "since"),
]


async def test_what_can_not_be_is_refused_with_the_reason_and_changes_nothing(broker: Broker) -> None:
    async with router(broker), gateway(broker, subscribes_per_s=1000) as app, browser(app.port) as client:
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        for wrong, said in REFUSALS:
            answer = await client.call("subscribe", {"uid": "a", **TEXT, **NFL, **wrong})
            assert refused(answer) == "bad_request", wrong
            assert said in answer["error"]["message"], (wrong, answer)
            assert len(answer["error"]["message"]) < 500
        await publish(broker, tweet("nfl"))
        await eventually(lambda: texts(client, "a") == ["nfl"])
        assert [room.key for room in app._rooms.all()] == ["term.nfl"]
        assert refused(await client.call("unsubscribe", {"uid": 7})) == "bad_request"
        assert await client.call("unsubscribe", {"uid": "never there"}) is True
        assert await client.call("unsubscribe", {"uid": "a"}) is True
        await eventually(lambda: nothing_left(app))


async def test_rooms_and_subscriptions_stand_side_by_side_on_one_socket(broker: Broker) -> None:
    async with router(broker), gateway(broker) as app, browser(app.port) as client:
        assert await client.call("subscribe", "nfl") is True
        await client.call("subscribe", {"uid": "nfl", **TEXT, **NFL})
        one = tweet("nfl one")
        await publish(broker, one)
        await eventually(lambda: client.texts("nfl") == texts(client, "nfl") == ["nfl one"])
        # Where there is a subscription of the name, that is meant; then the room.
        assert await client.call("unsubscribe", "nfl") is True
        await publish(broker, edited(one, "nfl changed"))
        await eventually(lambda: client.page("nfl") == {one.id: "nfl changed"})
        assert names(client, "nfl") == ["create"]
        await client.call("subscribe", {"uid": "nfl", **TEXT, **NFL})
        assert await client.call("unsubscribe", {"room": "nfl"}) is True
        await publish(broker, tweet("nfl two"))
        await eventually(lambda: texts(client, "nfl") == ["nfl one", "nfl two"])
        assert client.texts("nfl") == ["nfl one"]
        assert await client.call("unsubscribe", "nfl") is True
        await eventually(lambda: nothing_left(app))


async def test_documents_of_another_collection_show_up_neither_in_rooms_nor_here(broker: Broker) -> None:
    async with gateway(broker) as app, browser(app.port) as client:
        await client.call("subscribe", "nfl")
        await client.call("subscribe", {"uid": "a", **TEXT, **NFL})
        held = tweet("nfl held")
        note = to_document(held, 1) | {"collection": "note", "text": "nfl note"}
        await client.call("subscribe", {"uid": "held", **TEXT, "documents": {held.id: held.mtime - 1}})
        await publish_documents(broker, ["term.nfl"], note, {**note, "id": "test:other note"})
        await publish_documents(broker, ["term.nfl"], to_document(tweet("nfl tweet"), 2))
        await eventually(lambda: client.texts("nfl") == texts(client, "a") == ["nfl tweet"])
        # There is no archive to ask.
        assert names(client, "held") == ["gap"]
