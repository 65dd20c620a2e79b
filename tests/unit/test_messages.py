"""What consumers get: documents, and the messages that bring them. (`test_raw.py`: what routers get.)"""

from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import feed
from shared.events import Action, Destroy, Event, Media, Tweet, UnreadableError, User, to_document
from tests.support.tweets import PHOTO, deleted, edited, tweet

words = st.text(max_size=20)
moments = st.integers(0, 2**53)
tweets = st.builds(
    Tweet,
    action=st.sampled_from([Action.CREATE, Action.UPDATE]),
    id=words,
    mtime=moments,
    source=words,
    url=words,
    text=words,
    lang=words,
    created_at=words,
    user=st.builds(User, id=words, screen_name=words, name=words, avatar=st.none() | words),
    urls=st.lists(words, max_size=2).map(tuple),
    hashtags=st.lists(words, max_size=2).map(tuple),
    media=st.lists(
        st.builds(
            Media,
            type=st.sampled_from(["photo", "video", "animated_gif"]),
            url=st.none() | words,
            alt=st.none() | words,
        ),
        max_size=2,
    ).map(tuple),
)
events = st.one_of(tweets, tweets, st.builds(Destroy, id=words, mtime=moments))

# What MessagePack can say, true to type in some places and not in others.
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**31), 2**31), st.text(max_size=3), st.binary(max_size=3)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(words, inner, max_size=3)
)


def document_of(event: Event, seq: int = 7) -> dict[str, Any]:
    """As a consumer sees it: what has gone through MessagePack."""
    return msgpack.unpackb(msgpack.packb(to_document(event, seq)))  # type: ignore[no-any-return]


class TestDocuments:
    def test_a_new_tweet_has_all_its_fields_and_no_others(self) -> None:
        event = tweet(
            "Go #NFL https://t.co/1",
            id="x:1377650090978992134",
            mtime=1_617_000_000_123,
            source="x",
            url="https://x.com/a/status/1377650090978992134",
            urls=("https://example.org/x",),
            hashtags=("NFL",),
            media=(PHOTO,),
            user=User(id="42", screen_name="a", name="A", avatar=None),
        )
        assert document_of(event, seq=1_617_000_000_123_456) == {
            "action": "create",
            "collection": "tweet",
            "id": "x:1377650090978992134",
            "seq": 1_617_000_000_123_456,
            "mtime": 1_617_000_000_123,
            "source": "x",
            "url": "https://x.com/a/status/1377650090978992134",
            "text": "Go #NFL https://t.co/1",
            "lang": "en",
            "created_at": "2026-01-02T03:04:05Z",
            "user": {"id": "42", "screen_name": "a", "name": "A", "avatar": None},
            "urls": ["https://example.org/x"],
            "hashtags": ["NFL"],
            "media": [{"type": "photo", "url": "https://example.org/photo.jpg", "alt": "a bird"}],
        }

    def test_an_edit_has_the_same_fields(self) -> None:
        original = tweet("one")
        edit = document_of(edited(original, "two"))
        assert edit.keys() == document_of(original).keys()
        assert (edit["action"], edit["id"], edit["text"]) == ("update", original.id, "two")
        assert edit["mtime"] > original.mtime

    def test_a_destroy_carries_nothing_of_the_tweet(self) -> None:
        end = deleted(tweet("secret"))
        assert document_of(end, seq=7) == {
            "action": "destroy",
            "collection": "tweet",
            "id": end.id,
            "seq": 7,
            "mtime": end.mtime,
        }

    def test_which_action_wins_at_the_same_moment(self) -> None:
        assert Action.CREATE.rank < Action.UPDATE.rank < Action.DESTROY.rank


class TestFeed:
    def test_the_labels_of_a_message_are_its_routing_key_and_the_others(self) -> None:
        [message] = feed.messages(["term.a", "term.b", "all"], [msgpack.packb(document_of(tweet("a b")))])
        assert message.routing_key == "term.a"
        assert message.headers == {"v": 1, "CC": ["term.b", "all"]}
        assert feed.labels(message.routing_key, message.headers) == ["term.a", "term.b", "all"]

    def test_one_label_needs_no_header(self) -> None:
        [message] = feed.messages(["all"], [b"\x80"])
        assert message.headers == {"v": 1}
        assert feed.labels("all", message.headers) == ["all"]

    @pytest.mark.parametrize("headers", [{}, {"CC": None}, {"CC": "term.b"}])
    def test_labels_of_somebody_elses_message(self, headers: dict[str, Any]) -> None:
        assert feed.labels("term.a", headers) == ["term.a"]

    def test_nobody_and_nothing_make_no_message(self) -> None:
        assert list(feed.messages([], [b"\x80"])) == []
        assert list(feed.messages(["all"], [])) == []

    @settings(deadline=None, max_examples=100)
    @given(
        keys=st.lists(st.text("abé.", min_size=1, max_size=12), max_size=12, unique=True),
        sizes=st.lists(st.integers(0, 60), max_size=12),
    )
    def test_large_messages_are_split_and_nothing_is_lost(self, keys: list[str], sizes: list[int]) -> None:
        documents = [
            msgpack.packb({"action": "create", "id": str(seq), "seq": seq, "mtime": 1, "text": "x" * size})
            for seq, size in enumerate(sizes)
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(feed, "MAX_KEYS_BYTES", 40)
            patch.setattr(feed, "MAX_BODY_BYTES", 120)
            messages = list(feed.messages(keys, documents))
        for message in messages:
            labels = feed.labels(message.routing_key, message.headers)
            assert len(labels) == 1 or sum(len(label.encode()) for label in labels) <= 40
            travelling = feed.unpack(message.body, message.headers)
            assert len(travelling) == 1 or len(message.body) <= 120 + 5
        expected = [msgpack.unpackb(document) for document in documents]
        assert received_by_key(messages) == (dict.fromkeys(keys, expected) if documents else {})

    def test_splits_at_the_real_limits(self) -> None:
        keys = [f"term.{number:0250}" for number in range(600)]
        documents = [msgpack.packb({"action": "create", "id": "1", "seq": 1, "mtime": 1, "text": "x" * 400_000})] * 3
        messages = list(feed.messages(keys, documents))
        assert len(messages) == 3 * 2
        for message in messages:
            assert sum(len(key) for key in feed.labels(message.routing_key, message.headers)) <= 64 * 1024
            assert len(message.body) <= 1024 * 1024 + 5

    def test_a_document_over_the_limit_travels_alone(self) -> None:
        small, large = msgpack.packb(document_of(tweet("small"))), msgpack.packb(document_of(tweet("x" * 2**21)))
        messages = list(feed.messages(["all"], [small, large, small]))
        assert [len(feed.unpack(message.body, message.headers)) for message in messages] == [1, 1, 1]

    @settings(deadline=None, max_examples=150)
    @given(
        st.one_of(
            st.binary(max_size=40),
            anything.map(msgpack.packb),
            st.lists(
                st.fixed_dictionaries(
                    {"action": st.sampled_from(["create", "explode"]) | scalars | st.just([])},
                    optional={"id": words | scalars, "mtime": moments | scalars, "seq": moments | scalars},
                )
            ).map(msgpack.packb),
        )
    )
    @example(b"\x91" * 5000)
    def test_a_damaged_message_is_unreadable_and_nothing_worse(self, body: bytes) -> None:
        try:
            documents = feed.unpack(body, {})
        except UnreadableError as error:
            assert str(error)
        else:
            for document in documents:
                assert Action(document["action"])
                assert isinstance(document["mtime"], int)
                assert isinstance(document["seq"], int)
                assert isinstance(document["id"], str)


def received_by_key(messages: Iterable[feed.Message]) -> dict[str, list[dict[str, Any]]]:
    """What somebody who bound just that key receives."""
    received: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        for key in feed.labels(message.routing_key, message.headers):
            received.setdefault(key, []).extend(feed.unpack(message.body, message.headers))
    return received
