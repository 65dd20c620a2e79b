"""Which fields of a document leave: those that were asked for, and never one that is not listed."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.subscriptions.collections import ALWAYS, COLLECTIONS, TWEET
from services.gateway.subscriptions.fields import Fields, Projection, UnknownFieldError, values
from shared.events import Document, to_document
from tests.support.tweets import PHOTO, tweet


def document(**fields: Any) -> Document:
    return orjson.loads(orjson.dumps(to_document(tweet("nfl", **fields), 7)))  # type: ignore[no-any-return]


def left_of(one: Document, asked: list[str] | None) -> Document:
    """What leaves of a document, without what always does."""
    sent = orjson.loads(Projection(Fields.of(TWEET, asked))(one).json)
    for name in ALWAYS:
        assert sent.pop(name) == one[name]
    return sent  # type: ignore[no-any-return]


class TestWhatIsAskedFor:
    def test_nothing_but_what_tells_versions_apart(self) -> None:
        assert left_of(document(), []) == {}
        assert left_of(document(), ["id", "mtime"]) == {}

    def test_some(self) -> None:
        assert left_of(document(screen_name="ann"), ["text", "user.screen_name"]) == {
            "text": "nfl",
            "user": {"screen_name": "ann"},
        }

    def test_a_path_stands_for_all_below_it(self) -> None:
        assert Fields.of(TWEET, ["user"]) == Fields.of(
            TWEET, ["user.id", "user.screen_name", "user.name", "user.avatar"]
        )

    def test_below_a_list_a_path_goes_on_in_each_of_its_elements(self) -> None:
        one = document(media=(PHOTO, PHOTO))
        assert left_of(one, ["media.alt"]) == {"media": [{"alt": "a bird"}, {"alt": "a bird"}]}
        assert left_of(document(), ["media.alt"]) == {"media": []}

    def test_without_a_wish_all_there_is(self) -> None:
        one = document(media=(PHOTO,), urls=("https://example.org/",), hashtags=("ai",))
        everything = {name: one[name] for name in one.keys() - {*ALWAYS, "action", "collection"}}
        assert left_of(one, None) == everything

    def test_what_a_document_lacks_is_left_out(self) -> None:
        one = document()
        del one["lang"], one["user"]["name"]
        assert left_of(one, ["lang", "user.name", "text"]) == {"text": "nfl", "user": {}}

    def test_the_order_and_repetition_of_a_wish_do_not_matter(self) -> None:
        assert Fields.of(TWEET, ["text", "user", "lang"]) == Fields.of(TWEET, ["lang", "user.id", "user", "text"])

    @pytest.mark.parametrize(
        "path",
        ["password", "user.password", "user.", ".user", "use", "user.screen_name.x", "", "action", "collection"],
    )
    def test_another_field_is_refused_with_those_there_are(self, path: str) -> None:
        with pytest.raises(UnknownFieldError, match=r"is no field of tweet: they are created_at, hashtags, lang"):
            Fields.of(TWEET, ["text", path])


class TestWhatChanged:
    def test_a_change_of_other_fields_leaves_the_content_as_it_was(self) -> None:
        project = Projection(Fields.of(TWEET, ["text", "user.screen_name"]))
        one = document(screen_name="ann")
        other = one | {"mtime": one["mtime"] + 1, "seq": 9, "lang": "de", "user": one["user"] | {"name": "Anna"}}
        assert project(one).content == project(other).content
        assert project(one).json != project(other).json

    @pytest.mark.parametrize("change", [{"text": "nba"}, {"user": {"screen_name": "bob"}}, {"user": {}}])
    def test_a_change_of_these_does_not(self, change: Document) -> None:
        project = Projection(Fields.of(TWEET, ["text", "user.screen_name"]))
        assert project(document(screen_name="ann")).content != project(document(screen_name="ann") | change).content


_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5).map("value ".__add__),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["user", "screen_name", "id", "media", "url", "urls", "text", "token", "email"]), inner
        )
    ),
    max_leaves=20,
)
_names = sorted({name for path in TWEET.fields for name in path.split(".")} | {"token", "email", "action", "raw"})
_paths = sorted(TWEET.fields | {path.partition(".")[0] for path in TWEET.fields} | set(ALWAYS))


def paths(value: Any, before: str = "") -> Iterator[str]:
    """The dotted paths of all values in a document."""
    if isinstance(value, list):
        for each in value:
            yield from paths(each, before)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from paths(each, f"{before}.{name}" if before else name)
    else:
        yield before


@given(
    one=st.dictionaries(st.sampled_from(_names), _anything),
    asked=st.none() | st.lists(st.sampled_from(_paths), max_size=5),
)
def test_whatever_a_document_has_nothing_leaves_that_is_not_listed(one: Document, asked: list[str] | None) -> None:
    sent = orjson.loads(Projection(Fields.of(TWEET, asked))(one | {"id": "x:1", "seq": 2, "mtime": 3}).json)
    assert set(paths(sent)) <= TWEET.fields | set(ALWAYS)
    wanted = TWEET.fields if asked is None else asked
    assert all(any(f"{path}.".startswith(f"{each}.") for each in {*wanted, *ALWAYS}) for path in paths(sent))


@given(one=st.dictionaries(st.sampled_from(_names), _anything))
def test_what_leaves_is_what_the_document_has(one: Document) -> None:
    sent = left_of(one | {"id": "x:1", "seq": 2, "mtime": 3}, None)
    for path in TWEET.fields:
        assert [each for each in values(sent, path) if not isinstance(each, dict)] == [
            each for each in values(one, path) if not isinstance(each, dict | list)
        ]


def test_no_field_of_a_collection_is_both_a_value_and_a_parent() -> None:
    for collection in COLLECTIONS.values():
        for path in collection.fields:
            assert not any(other.startswith(f"{path}.") for other in collection.fields)
            assert path not in ALWAYS
