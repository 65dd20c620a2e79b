"""Raw batches: what ingest packs a router reads, and what it makes of them, whatever has happened to them."""

import re
from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.classify import Classified, KeysOf, classify
from services.router.matcher import Matcher
from shared import feed, raw
from shared.events import Event, Tweet, UnreadableError
from shared.labels import Facets
from tests.support.tweets import tweet
from tests.unit.test_messages import anything, document_of, events, received_by_key, scalars, tweets


# A column of any length, mostly true to type.
def column(true: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(true, min_size=2, max_size=2) | st.lists(true | scalars, max_size=3) | scalars


batches = st.tuples(
    column(st.integers(0, 3)),
    st.sampled_from([b"abcd", b"ab", b""]) | st.binary(max_size=9) | scalars,
    column(st.sampled_from(["create", "update"])),
    st.sampled_from([b"a\xffb\xff", b"\xff\xff", b"a\xff\xc3\xff", b"a\xffb", b""]) | st.binary(max_size=9) | scalars,
    column(st.lists(st.text(max_size=3), max_size=3)),
    column(st.text(max_size=3)),
    column(st.text(max_size=3)),
    column(st.booleans()),
    column(st.booleans()),
).map(list)
bodies = st.one_of(
    st.binary(max_size=40), anything.map(msgpack.packb), batches.map(msgpack.packb), batches.map(msgpack.packb)
)


NAMES = ("sizes", "documents", "action", "text", "hashtags", "screen_name", "lang", "has_url", "has_media")
"""The columns of a raw batch in their order."""


def damaged(body: bytes, column: str, value: object, *, place: int | None = None) -> bytes:
    """A batch with another value for one column, or for what that column has at `place`."""
    columns = msgpack.unpackb(body)
    if place is None:
        columns[NAMES.index(column)] = value
    else:
        columns[NAMES.index(column)][place] = value
    return bytes(msgpack.packb(columns))


def batch_of(*events: Event) -> bytes:
    return raw.pack([raw.entry(event, seq) for seq, event in enumerate(events, 1)])


def texts_of(entries: Iterable[raw.Entry]) -> list[str]:
    return [msgpack.unpackb(entry.document)["text"] for entry in entries]


def of_one(*, action: bytes = b"\xa1a", lang: bytes = b"\xa0") -> bytes:
    """A batch of one event, with what is packed already in some of its columns."""
    return b"\x99\x91\x01\xc4\x01\x80\x91" + action + b"\xc4\x01\xff\x91\x90\x91\xa0\x91" + lang + b"\x91\xc2\x91\xc2"


DAMAGE = {
    "nothing": b"",
    "no MessagePack": b"\xc1",
    "more than there is": b"\xdd\xff\xff\xff\xff",
    "deep arrays": b"\x91" * 5000,
    "deep arrays in a column": of_one(lang=b"\x91" * 700 + b"\xc0"),
    "too deep arrays in a column": of_one(lang=b"\x91" * 5000 + b"\xc0"),
    "an array for a key": of_one(action=b"\x81\x90\x01"),
    "a string that is not UTF-8": of_one(lang=b"\xa1\xfe"),
    "an extension": of_one(lang=b"\xd4\x05\x00"),
    "a moment": of_one(lang=b"\xd6\xff\x00\x00\x00\x00"),
    "not a number": of_one(lang=b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"),
    "more behind it": of_one() + b"\xc0",
}


class TestRawBatches:
    @settings(deadline=None, max_examples=100)
    @given(st.lists(events, max_size=5))
    def test_a_router_reads_what_ingest_packed(self, sent: list[Event]) -> None:
        body = raw.pack([raw.entry(event, seq) for seq, event in enumerate(sent)])
        batch = raw.Batch(body)
        assert len(batch) == len(sent)
        received, unreadable = raw.read(body)
        assert (received, unreadable) == (batch.entries(), [])
        assert [msgpack.unpackb(entry.document) for entry in received] == [
            document_of(event, seq) for seq, event in enumerate(sent)
        ]
        assert [entry.facets for entry in received] == [Facets.of(event) for event in sent]
        assert raw.pack(received) == body

    @settings(deadline=None, max_examples=250)
    @given(bodies)
    def test_damage_is_unreadable_and_nothing_worse(self, body: bytes) -> None:
        self.damage_is_told(body)

    @pytest.mark.parametrize("body", DAMAGE.values(), ids=DAMAGE)
    def test_damage_of_rare_kinds_is_not_worse_either(self, body: bytes) -> None:
        self.damage_is_told(body)

    def damage_is_told(self, body: bytes) -> None:
        try:
            readable, unreadable = raw.read(body)
        except UnreadableError as error:
            assert str(error)
            return
        for entry in readable:
            assert isinstance(entry.document, bytes)
            assert isinstance(entry.facets.has_url, bool)
            assert raw.read(raw.pack([entry])) == ([entry], [])
        for dead in unreadable:
            assert dead.reason
            assert dead.format == raw.FORMAT

    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("action", None, "action: .*null"),
            ("hashtags", ["a", 1], r"hashtags: .*str.*int.*\[1\]"),
            ("hashtags", "a", "hashtags: .*array.*str"),
            ("screen_name", b"x", "screen_name: .*str.*bytes"),
            ("has_url", 1, "has_url: .*bool.*int"),
        ],
    )
    def test_one_bad_event_does_not_take_the_others_with_it(self, column: str, value: object, reason: str) -> None:
        body = damaged(batch_of(tweet("one"), tweet("two"), tweet("three")), column, value, place=1)
        readable, [dead] = raw.read(body)
        assert texts_of(readable) == ["one", "three"]
        assert re.search(reason, dead.reason), dead.reason
        # What is buried is a batch of that one event, which reads as badly as it did.
        assert raw.read(dead.body) == ([], [dead])
        [buried] = msgpack.unpackb(dead.body)[NAMES.index(column)]
        assert buried == value

    def test_a_text_that_is_not_utf_8_is_one_bad_event(self) -> None:
        body = damaged(batch_of(tweet("one"), tweet("two"), tweet("three")), "text", b"one\xfft\xc3o\xffthree\xff")
        readable, [dead] = raw.read(body)
        assert texts_of(readable) == ["one", "three"]
        assert re.search("text: .*utf-8", dead.reason)
        assert msgpack.unpackb(dead.body)[NAMES.index("text")] == b"t\xc3o\xff"

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("sizes", [1]),
            ("sizes", [1, 2]),
            ("sizes", [-1, 1]),
            ("sizes", [2**64 - 1, 1]),
            ("sizes", [True, 1]),
            ("sizes", None),
            ("documents", b""),
            ("documents", "text"),
            ("documents", [b"\x80", b"\x80"]),
            ("text", b"one\xfftwo"),
            ("text", b"o\xffne\xfftwo\xff"),
            ("text", b""),
            ("text", "one"),
            ("action", ["create"] * 3),
            ("hashtags", []),
            ("lang", None),
            ("has_media", {}),
        ],
    )
    def test_a_batch_whose_columns_do_not_fit_together_is_unreadable_as_a_whole(
        self, column: str, value: object
    ) -> None:
        with pytest.raises(UnreadableError):
            raw.read(damaged(batch_of(tweet("one"), tweet("two")), column, value))

    @pytest.mark.parametrize("columns", [[], [[]] * 8, [[], b"", [], b"", *[[]] * 6], {}, None])
    def test_what_has_not_nine_columns_is_no_batch(self, columns: object) -> None:
        for unreadable in (raw.Batch, raw.read):
            with pytest.raises(UnreadableError):
                unreadable(msgpack.packb(columns))

    def test_a_column_that_nobody_asks_for_is_not_decoded(self) -> None:
        body = damaged(batch_of(tweet("one", lang="de"), tweet("two")), "hashtags", "no column at all")
        batch = raw.Batch(body)
        assert (len(batch), batch.texts) == (2, b"one\xfftwo\xff")
        assert batch.column("lang") == ["de", "en"]
        assert [msgpack.unpackb(batch.document(place))["text"] for place in (0, 1)] == ["one", "two"]
        with pytest.raises(UnreadableError, match="not a batch"):
            batch.column("hashtags")

    def test_documents_that_nobody_asks_for_are_not_looked_at(self) -> None:
        batch = raw.Batch(damaged(batch_of(tweet("one")), "documents", b"too short"))
        assert batch.column("screen_name") == ["somebody"]
        with pytest.raises(UnreadableError, match="sizes"):
            batch.document(0)

    def test_a_column_too_short_is_unreadable_to_who_asks_for_it(self) -> None:
        batch = raw.Batch(damaged(batch_of(tweet("one"), tweet("two")), "lang", ["de"]))
        assert batch.column("has_url") == [False, False]
        with pytest.raises(UnreadableError, match="2 events and 1 element"):
            batch.column("lang")

    def test_texts_that_are_not_as_many_as_the_events_are_found_at_once(self) -> None:
        for texts in (b"one\xff", b"one\xfftwo\xffthree", b"one\xfftwo\xff\xff", b""):
            with pytest.raises(UnreadableError, match="2 events and not as many texts"):
                raw.Batch(damaged(batch_of(tweet("one"), tweet("two")), "text", texts))

    @pytest.mark.parametrize(
        ("body", "number"),
        [
            (batch_of(tweet("one"), tweet("two")), 2),
            (damaged(batch_of(tweet("one"), tweet("two")), "lang", 7, place=0), 2),
            (damaged(batch_of(tweet("one"), tweet("two")), "lang", 7), 1),
            (raw.pack([]), 0),
            (b"no batch", 1),
        ],
    )
    def test_how_many_events_a_batch_has_is_known_if_they_can_be_told_apart(self, body: bytes, number: int) -> None:
        assert raw.number_of(body) == number

    def test_the_headers_of_a_batch_say_its_format_and_its_place_in_the_chain(self) -> None:
        assert raw.headers() == {"v": 2}
        headers = raw.headers(raw.Link("x", 7))
        assert headers == {"v": 2, "source": "x", "after": 7}
        assert raw.link(headers) == raw.Link("x", 7)

    @pytest.mark.parametrize("headers", [{}, {"source": "x"}, {"after": 7}, {"source": b"x", "after": 7}])
    def test_a_batch_may_belong_to_no_chain(self, headers: dict[str, Any]) -> None:
        assert raw.link(headers) is None


def all_of(batch: raw.Batch) -> dict[int, list[str]]:
    """As if everybody wanted everything, and looked at everything."""
    return {place: ["all"] for place, _ in enumerate(batch.entries())}


class TestClassify:
    @settings(deadline=None, max_examples=250)
    @given(st.lists(bodies, max_size=3), st.sampled_from(["texts", "everything", "nothing"]))
    def test_whatever_comes_is_accounted_for(self, bodies: list[bytes], wanted: str) -> None:
        self.all_is_accounted_for(bodies, wanted)

    @pytest.mark.parametrize("wanted", ["texts", "everything", "nothing"])
    def test_so_is_damage_of_rare_kinds(self, wanted: str) -> None:
        self.all_is_accounted_for([*DAMAGE.values(), batch_of(tweet("whole"))], wanted)

    def all_is_accounted_for(self, bodies: list[bytes], wanted: str) -> None:
        def keys_of(batch: raw.Batch) -> dict[int, list[str]]:
            if wanted == "everything":
                return all_of(batch)
            texts = batch.texts.split(b"\xff")[:-1] if wanted == "texts" else []
            return {place: ["term.a"] for place, text in enumerate(texts) if b"a" in text}

        result = classified(bodies, keys_of)
        assert result.events == result.published + result.unmatched + sum(dead.events for dead in result.dead)
        assert result.unmatched >= 0
        for dead in result.dead:
            assert dead.reason
            if dead.body not in bodies:
                assert len(msgpack.unpackb(dead.body, strict_map_key=False)) == len(NAMES)
        assert bool(result.messages) == bool(result.published)
        assert sum(map(number_of_documents, result.messages)) == result.published

    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(st.tuples(tweets, st.sampled_from([(), ("all",), ("term.a", "term.b"), ("term.b",)])), max_size=12),
        st.integers(1, 4),
    )
    def test_everyone_gets_all_that_they_asked_for_and_once(
        self, wanted: list[tuple[Tweet, tuple[str, ...]]], together: int
    ) -> None:
        entries = [raw.entry(event, seq) for seq, (event, _) in enumerate(wanted)]
        bodies = [raw.pack(entries[start : start + together]) for start in range(0, len(entries), together)]
        turns = iter(keys for _, keys in wanted)
        result = classified(
            bodies, lambda batch: {place: list(keys) for place in range(len(batch)) if (keys := next(turns))}
        )
        # Equal labels travel together, also those of several batches.
        assert len(result.messages) == len({keys for _, keys in wanted if keys})
        received = received_by_key(result.messages)
        for key in ("all", "term.a", "term.b"):
            expected = [document_of(event, seq) for seq, (event, keys) in enumerate(wanted) if key in keys]
            assert sorted(received.get(key, []), key=lambda document: document["seq"]) == expected
        assert (result.events, result.dead) == (len(wanted), [])
        assert result.unmatched == sum(not keys for _, keys in wanted)

    def test_in_which_order_a_text_has_its_terms_makes_no_difference(self) -> None:
        matcher = Matcher(max_terms=10)
        for key in ("term.bird", "term.ant", "lang.en"):
            matcher.want(key)
        result = classified(
            [batch_of(tweet("bird, ant")), batch_of(tweet("ant, bird"), tweet("a birdlike ant"))], matcher.keys_of
        )
        [message] = result.messages
        assert set(feed.labels(message.routing_key, message.headers)) == {"term.bird", "term.ant", "lang.en"}
        assert [document["text"] for document in feed.unpack(message.body, message.headers)] == [
            "bird, ant",
            "ant, bird",
            "a birdlike ant",
        ]

    def test_one_bad_event_does_not_take_the_others_with_it(self) -> None:
        body = damaged(batch_of(tweet("one"), tweet("bad"), tweet("two")), "lang", 5, place=1)
        result = classified([batch_of(tweet("zero")), body, batch_of(tweet("three"))], all_of)
        [message] = result.messages
        assert [document["text"] for document in feed.unpack(message.body, message.headers)] == [
            "zero",
            "one",
            "two",
            "three",
        ]
        [dead] = result.dead
        assert dead.reason == "lang: Expected `str`, got `int`"
        assert raw.read(dead.body) == ([], [dead])
        assert (result.events, result.published, result.unmatched) == (5, 4, 0)

    def test_what_nobody_wants_may_be_damaged_without_being_noticed(self) -> None:
        body = damaged(batch_of(tweet("nfl"), tweet("nba")), "lang", 5, place=1)
        matcher = Matcher(max_terms=10)
        matcher.want("term.nfl")
        result = classified([body], matcher.keys_of)
        assert (result.published, result.unmatched, result.dead) == (1, 1, [])
        matcher.want("lang.en")
        result = classified([body], matcher.keys_of)
        assert (result.published, result.unmatched, len(result.dead)) == (1, 0, 1)

    @pytest.mark.parametrize("body", [b"{}", b"", b"\x90", msgpack.packb([[1], b"d", "create", 5])])
    def test_a_batch_that_is_none_is_dead_as_a_whole(self, body: bytes) -> None:
        result = classified([body], all_of)
        [dead] = result.dead
        assert dead.body == body
        assert (result.messages, result.events, result.published, result.unmatched) == ([], 1, 0, 0)

    def test_where_we_are_wrong_all_events_are_dead_and_counted(self) -> None:
        bodies = [batch_of(tweet("one"), tweet("two")), b"no batch", raw.pack([])]

        def mistaken(_: raw.Batch) -> dict[int, list[str]]:
            raise RuntimeError("a mistake " * 1000)

        result = classified(bodies, mistaken)
        assert [dead.body for dead in result.dead] == bodies
        assert all(len(dead.reason) <= 200 for dead in result.dead)
        assert result.dead[0].reason.startswith("could not be classified: RuntimeError: a mistake")
        assert (result.events, result.published, result.unmatched) == (3, 0, 0)
        assert [dead.events for dead in result.dead] == [2, 1, 0]

    def test_nothing_comes_of_nothing(self) -> None:
        for bodies in ([], [raw.pack([])]):
            result = classified(bodies, all_of)
            assert (result.messages, result.dead, result.events, result.unmatched) == ([], [], 0, 0)


def classified(bodies: Iterable[bytes], keys_of: KeysOf) -> Classified:
    """What becomes of batches of a source's chain."""
    return classify([(raw.headers(raw.Link("x", 0)), body) for body in bodies], keys_of)


def test_what_came_by_hand_is_counted() -> None:
    link = raw.headers(raw.Link("x", 0))
    given = [
        (raw.headers(), batch_of(tweet("one"), tweet("two"))),
        (link, batch_of(tweet("three"))),
        ({}, b"no batch"),
    ]
    result = classify(given, all_of)
    assert (result.events, result.by_hand) == (4, 3)


def number_of_documents(message: feed.Message) -> int:
    """How many documents a message says it has: what they are does not matter."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(message.body)
    return int(unpacker.read_array_header())
