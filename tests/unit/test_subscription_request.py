"""A request for a subscription: what is understood, and what is refused and why."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.subscriptions import request
from services.gateway.subscriptions.request import Request, is_subscription
from services.gateway.wishes import BadRequestError

ASKED: dict[str, Any] = {"uid": "a", "collection": "tweet"}


def read(**asked: object) -> Request:
    return request.read(ASKED | asked)


def test_a_uid_and_a_collection_are_enough() -> None:
    made = read()
    assert (made.uid, made.wanted.collection.name, made.documents, made.since) == ("a", "tweet", {}, None)
    assert made.wanted.query is None, "no new ones"
    assert made.wanted == read(fields=None, documents=None, createQuery=None, since=None).wanted


def test_versions_and_places_may_be_digits() -> None:
    made = read(documents={"x:1": 1700000000000, "x:2": "1700000000001"}, since="1700000000000000")
    assert made.documents == {"x:1": 1700000000000, "x:2": 1700000000001}
    assert made.since == 1700000000000000


def test_equal_wishes_are_equal_whoever_has_them() -> None:
    one = read(uid="a", fields=["user", "text"], createQuery={"term": "NFL"}, documents={"x:1": 1}, since=1)
    other = read(uid="b", fields=["text", "user", "text"], createQuery={"term": ["nfl"]})
    assert one.wanted == other.wanted
    assert hash(one.wanted) == hash(other.wanted)
    assert one.wanted != read(fields=["text"], createQuery={"term": "nfl"}).wanted
    assert one.wanted != read(fields=["user", "text"]).wanted
    assert read(createQuery={}).wanted != read(createQuery=None).wanted, "all of them, or none"
    assert read(fields=[]).wanted != read().wanted, "nothing, or everything"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"uid": None}, "uid is your own name"),
        ({"uid": ""}, "uid is your own name"),
        ({"uid": "a b"}, "uid is your own name"),
        ({"uid": "a:b"}, "uid is your own name"),
        ({"uid": "a\n"}, "uid is your own name"),
        ({"uid": "x" * 65}, "1 to 64"),
        ({"uid": 1}, "uid is your own name"),
        ({"collection": "tweets"}, "collection is one of tweet"),
        ({"collection": None}, "collection is one of tweet"),
        ({"collection": ["tweet"]}, "collection is one of tweet"),
        ({"documents": ["x:1"]}, "documents is a map"),
        ({"documents": {"x:1": None}}, "documents is a map"),
        ({"documents": {"x:1": -1}}, "documents is a map"),
        ({"documents": {"x:1": True}}, "documents is a map"),
        ({"documents": {"x:1": "new"}}, "documents is a map"),
        ({"documents": {"\ud800": 1}}, "documents is a map"),
        ({"documents": {f"x:{number}": 1 for number in range(1001)}}, "1000 at most"),
        ({"fields": "text"}, "fields is a list"),
        ({"fields": {"text": True}}, "fields is a list"),
        ({"fields": ["text", 1]}, "fields is a list"),
        ({"fields": ["text"] * 51}, "at most 50"),
        ({"fields": ["password"]}, "'password' is no field of tweet"),
        ({"createQuery": "nfl"}, "createQuery is a map"),
        ({"createQuery": False}, "createQuery is a map"),
        ({"createQuery": {"term": {"$in": []}}}, "no operator"),
        ({"since": "yesterday"}, "since is the seq"),
        ({"since": -1}, "since is the seq"),
        ({"since": 2**62}, "since is the seq"),
        ({"since": 1.5}, "since is the seq"),
    ],
)
def test_what_is_wrong_is_said(asked: dict[str, object], says: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        read(**asked)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "is_one"),
    [
        (ASKED, True),
        ({"uid": "a"}, True),
        ({"collection": "tweet"}, True),
        ({"room": "nfl"}, False),
        ("nfl", False),
        (["uid"], False),
        (None, False),
    ],
)
def test_a_request_for_a_room_is_none(asked: object, is_one: bool) -> None:
    assert is_subscription(asked) is is_one


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["term", "id"]), inner),
    max_leaves=8,
)
_NAMES = ("uid", "collection", "documents", "fields", "createQuery", "since", "extra")


@given(asked=st.dictionaries(st.sampled_from(_NAMES), _json), good=st.booleans())
def test_whatever_is_sent_is_understood_or_refused_in_words(asked: dict[str, object], good: bool) -> None:
    try:
        made = request.read(asked | ASKED if good else asked)
    except BadRequestError as error:
        assert str(error)
        str(error).encode()
    else:
        assert len(made.documents) <= 1000
        assert hash(made.wanted) == hash(made.wanted)
