"""`createQuery`: which documents are new to a subscription, which label brings them, and what is refused and why."""

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.subscriptions import query
from services.gateway.subscriptions.collections import TWEET
from services.gateway.subscriptions.query import Query, QueryError
from shared.events import Document, User, to_document
from shared.labels import ALL, FAMILIES, Facets, Label
from tests.support.tweets import PHOTO, deleted, tweet


def document(text: str = "the NFL draft", **fields: Any) -> Document:
    """A tweet as the broker brings it."""
    return orjson.loads(orjson.dumps(to_document(tweet(text, **fields), 1)))  # type: ignore[no-any-return]


def read(asked: object) -> Query:
    return query.read(TWEET, asked)


def holds(asked: object, one: Document) -> bool:
    return read(asked).matches(one, Facets.of_document(one))


def keys(asked: object) -> list[str]:
    return [label.key for label in read(asked).binding]


class TestWhatMatches:
    @pytest.mark.parametrize(
        ("asked", "one", "expected"),
        [
            ({}, document("anything"), True),
            ({"term": "NFL"}, document("#nflDraft"), True),
            ({"term": "nfl"}, document("nba"), False),
            ({"word": "nfl"}, document("#NFL!"), True),
            ({"word": "nfl"}, document("nflDraft"), False),
            ({"tag": "#AI"}, document("x", hashtags=("ai",)), True),
            ({"from": "@Ann"}, document("x", screen_name="ann"), True),
            ({"lang": "EN"}, document("x", lang="en"), True),
            ({"lang": ["de", "fr"]}, document("x", lang="en"), False),
            ({"has_url": True}, document("x", urls=("https://example.org/",)), True),
            ({"has_url": True}, document("x"), False),
            ({"has_url": False}, document("x"), True),
            ({"has_media": True}, document("x", media=(PHOTO,)), True),
            ({"has_media": [False]}, document("x", media=(PHOTO,)), False),
            ({"term": ["nba", "nfl"]}, document("the NFL"), True),
            ({"term": "nfl", "has_url": True}, document("nfl"), False),
            ({"term": "nfl", "from": "ann"}, document("nfl", screen_name="ann"), True),
            ({"source": "test"}, document(), True),
            ({"source": "Test"}, document(), False),
            ({"source": ["x", "test"]}, document(), True),
            ({"user.screen_name": "ann"}, document("x", screen_name="ann"), True),
            ({"user.screen_name": "ANN"}, document("x", screen_name="ann"), False),
            ({"user.avatar": None}, document(), True),
            ({"user.avatar": False}, document(), False),
            ({"hashtags": "AI"}, document("x", hashtags=("ML", "AI")), True),
            ({"hashtags": ["b", "c"]}, document("x", hashtags=("a", "b")), True),
            ({"media.type": "photo"}, document("x", media=(PHOTO,)), True),
            ({"media.type": "video"}, document("x", media=(PHOTO,)), False),
            ({"media.type": "photo"}, document("x"), False),
            ({"urls": "https://example.org/"}, document("x", urls=("https://example.org/",)), True),
        ],
    )
    def test_each_condition_means_what_it_says(self, asked: object, one: Document, expected: bool) -> None:
        assert holds(asked, one) is expected

    def test_true_is_not_one_and_false_is_not_zero(self) -> None:
        likes = {**document(), "source": 1}
        assert not read({"source": True}).matches(likes, Facets("create"))
        assert read({"source": 1}).matches(likes, Facets("create"))
        assert read({"source": 1.0}).matches(likes, Facets("create"))

    def test_what_is_destroyed_has_no_text_and_no_author(self) -> None:
        end = to_document(deleted(tweet("nfl")), 1)
        assert not holds({"term": "nfl"}, end)
        assert not holds({"source": "test"}, end)


_TEXTS = ("nfl", "NFL and nba", "nothing", "x")
_NAMES = ("ann", "bob")
_LANGS = ("en", "de")


@st.composite
def tweets(draw: st.DrawFn) -> Document:
    name = draw(st.sampled_from(_NAMES))
    avatar = draw(st.sampled_from([None, "https://example.org/a.png"]))
    return document(
        draw(st.sampled_from(_TEXTS)),
        lang=draw(st.sampled_from(_LANGS)),
        urls=draw(st.sampled_from([(), ("u",), ("v", "u")])),
        hashtags=draw(st.sampled_from([(), ("nfl",), ("x", "y")])),
        media=draw(st.sampled_from([(), (PHOTO,)])),
        user=User(id=name, screen_name=name, name=name.title(), avatar=avatar),
    )


_VALUES: dict[str, Any] = {
    "term": st.sampled_from(["nfl", "nba", "th"]),
    "from": st.sampled_from(["ann", "bob"]),
    "tag": st.sampled_from(["nfl", "y"]),
    "lang": st.sampled_from(["en", "de", "fr"]),
    "has_url": st.booleans(),
    "has_media": st.booleans(),
    "user.screen_name": st.sampled_from(["ann", "Ann", None, 1]),
    "user.avatar": st.sampled_from([None, "https://example.org/a.png"]),
    "urls": st.sampled_from(["u", "v", "w"]),
    "media.type": st.sampled_from(["photo", "video"]),
}


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(_VALUES)), unique=True, max_size=4))
    lists = {name: draw(st.lists(_VALUES[name], min_size=1, max_size=1 if "has" in name else 3)) for name in names}
    return {name: each[0] if len(each) == 1 and draw(st.booleans()) else each for name, each in lists.items()}


def plainly(asked: dict[str, Any], one: Document) -> bool:
    """What a query means, written down once more, for the values above."""
    text = one["text"].lower()
    means: dict[str, Any] = {
        "term": lambda value: value in text,
        "from": lambda value: one["user"]["screen_name"].lower() == value,
        "tag": lambda value: value in one["hashtags"],
        "lang": lambda value: one["lang"] == value,
        "has_url": lambda value: bool(one["urls"]) is value,
        "has_media": lambda value: bool(one["media"]) is value,
        "user.screen_name": lambda value: one["user"]["screen_name"] == value,
        "user.avatar": lambda value: one["user"]["avatar"] == value,
        "urls": lambda value: value in one["urls"],
        "media.type": lambda value: value in [each["type"] for each in one["media"]],
    }
    return all(any(map(means[name], value if isinstance(value, list) else [value])) for name, value in asked.items())


@given(asked=queries(), one=tweets())
def test_a_query_matches_what_it_plainly_says(asked: dict[str, Any], one: Document) -> None:
    assert holds(asked, one) is plainly(asked, one)


@given(asked=queries(), one=tweets())
def test_whatever_matches_has_one_of_the_labels_that_are_bound(asked: dict[str, Any], one: Document) -> None:
    facets = Facets.of_document(one)
    assert not holds(asked, one) or any(label.matches(facets) for label in read(asked).binding)


class TestEqualQueries:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"term": "NFL"}, {"term": "nfl "}),
            ({"term": "nfl"}, {"term": ["nfl"]}),
            ({"term": ["a", "b", "a"]}, {"term": ["B", "A"]}),
            ({"tag": "#ai"}, {"tag": "AI"}),
            ({"term": "nfl", "has_url": True}, {"has_url": [True], "term": "nfl"}),
            ({"source": ["x", "y"]}, {"source": ["y", "x", "x"]}),
        ],
    )
    def test_what_means_the_same_is_the_same(self, one: object, other: object) -> None:
        assert read(one) == read(other)
        assert hash(read(one)) == hash(read(other))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"has_url": False}),
            ({"has_url": True}, {"has_url": False}),
            ({"term": "nfl"}, {"word": "nfl"}),
            ({"source": "X"}, {"source": "x"}),
            ({"source": 1}, {"source": True}),
            ({"source": None}, {"source": False}),
        ],
    )
    def test_what_means_something_else_is_not(self, one: object, other: object) -> None:
        assert read(one) != read(other)

    @given(asked=queries(), data=st.data())
    def test_the_order_of_things_does_not_matter(self, asked: dict[str, Any], data: st.DataObject) -> None:
        shuffled = {
            name: data.draw(st.permutations(value)) if isinstance(value, list) else [value]
            for name, value in data.draw(st.permutations(list(asked.items())))
        }
        assert read(asked) == read(shuffled)


class TestTheBinding:
    @pytest.mark.parametrize(
        ("asked", "bound"),
        [
            ({}, ["all"]),
            ({"source": "x"}, ["all"]),
            ({"has_url": False}, ["all"]),
            ({"has_url": True}, ["has_url"]),
            ({"term": "nfl", "has_url": True}, ["term.nfl"]),
            ({"term": "nfl", "from": "ann"}, ["from.ann"]),
            ({"lang": "en", "has_media": True, "has_url": True}, ["has_media"]),
            ({"tag": "ai", "word": "ai"}, ["tag.ai"]),
            ({"term": ["nfl", "nba"], "lang": "en"}, ["term.nba", "term.nfl"]),
            ({"term": "a", "word": "draft"}, ["word.draft"]),
            ({"lang": ["en", "de", "fr", "es"]}, ["all"]),
            ({"from": ["a", "b", "c", "d"], "tag": "ai"}, ["tag.ai"]),
            ({"term": "super bowl"}, ["term.super%20bowl"]),
        ],
    )
    def test_is_the_cheapest_that_brings_everything(self, asked: object, bound: list[str]) -> None:
        assert keys(asked) == bound

    def test_of_equally_cheap_ones_it_is_always_the_same(self) -> None:
        for asked in itertools.permutations([("term", "nfl"), ("word", "draft")]):
            assert keys(dict(asked)) == ["term.nfl"]

    def test_every_label_of_the_collection_has_its_price(self) -> None:
        assert TWEET.labels | {ALL.family} == set(query.COSTS)
        assert TWEET.labels < set(FAMILIES)


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "says"),
        [
            ("nfl", "a map from labels and fields"),
            ([], "a map from labels and fields"),
            (1, "a map from labels and fields"),
            ({"term": {"$gt": 1}}, "there is no operator '$gt'"),
            ({"term": {}}, "there is no operator ''"),
            ({"user": {"screen_name": "x"}}, "there is no operator 'screen_name'"),
            ({"term": []}, "0 alternatives; it takes 1 to 20"),
            ({"term": [str(number) for number in range(21)]}, "21 alternatives"),
            ({"term": ["a", ["b"]]}, "nothing within them"),
            ({"term": ["a", {"b": 1}]}, "nothing within them"),
            ({"source": "x" * 501}, "500 characters at most"),
            ({"term": "x" * 101}, "longer than 100 characters"),
            ({"term": " "}, "'term' needs a value"),
            ({"term": 1}, "'term' takes text"),
            ({"term": None}, "'term' takes text"),
            ({"term": ["nfl", True]}, "'term' takes text"),
            ({"term": "\ud800"}, "not valid Unicode"),
            ({"has_url": "yes"}, "'has_url' is true or false"),
            ({"has_url": 1}, "'has_url' is true or false"),
            ({"has_url": [True, False]}, "'has_url' is true or false"),
            ({"nonsense": 1}, "'nonsense' is no field of tweet"),
            ({"action": "create"}, "'action' is no field of tweet"),
            ({"all": True}, "'all' is no field of tweet"),
            ({"user": "ann"}, "ask for user.avatar, user.id, user.name, user.screen_name"),
            ({"user.password": "x"}, "'user.password' is no field"),
            ({"id": "x:1"}, "name what you hold in `documents`"),
            ({"seq": 1}, "name what you hold in `documents`"),
            ({"": 1}, "'' is no field"),
            ({"café": 1}, r"'caf\xe9' is no field"),
            ({"n" * 1000: 1}, f"'{'n' * 40}' is no field"),
            ({f"field{number}": 1 for number in range(11)}, "11 conditions, and 10 are the most"),
        ],
    )
    def test_say_what_is_wrong(self, asked: object, says: str) -> None:
        with pytest.raises(QueryError) as refused:
            read(asked)
        assert says in str(refused.value)
        assert len(str(refused.value)) < 500

    def test_of_an_unknown_field_say_which_there_are(self) -> None:
        with pytest.raises(QueryError, match=r"user\.screen_name.*or labels: from, has_media, has_url, lang, tag"):
            read({"author": "ann"})


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(_VALUES)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(sorted(_VALUES)), inner),
    max_leaves=12,
)


@given(asked=st.dictionaries(st.sampled_from([*sorted(_VALUES), "user", "id", "?"]), json) | json)
def test_whatever_is_asked_is_a_query_or_refused_in_words(asked: object) -> None:
    try:
        made = read(asked)
    except QueryError as error:
        assert str(error)
        str(error).encode()
    else:
        assert made.binding
        assert all(isinstance(label, Label) for label in made.binding)
        assert made.matches(document(), Facets.of_document(document())) in {True, False}
