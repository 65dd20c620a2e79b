import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.sources.bluesky_api.payload import (
    Author,
    BadRecordError,
    Message,
    read_message,
    signed,
    tid_us,
    valid_handle,
)
from services.ingest.sources.bluesky_api.record import read_record
from shared import raw
from shared.events import Action, Destroy, Tweet, UnreadableError
from tests.support.jetstream_server import commit, did, record, tid

AT_US = 1_725_911_162_329_308
ADA = did("ada")
RKEY = tid(AT_US)


def message(body: dict[str, Any] | None = None, **fields: Any) -> bytes:
    body = body or commit(ADA, RKEY, tid(AT_US), "create", record("hello", AT_US) | fields)
    return json.dumps({"time_us": AT_US + 700_000} | body).encode()


def read(**fields: Any) -> Tweet:
    event = read_message(message(**fields)).event
    assert isinstance(event, Tweet)
    return event


def facet(text: str, part: str, *features: dict[str, Any]) -> dict[str, Any]:
    start = len(text[: text.index(part)].encode())
    return {"index": {"byteStart": start, "byteEnd": start + len(part.encode())}, "features": list(features)}


def link(uri: object) -> dict[str, Any]:
    return {"$type": "app.bsky.richtext.facet#link", "uri": uri}


def tag(name: object) -> dict[str, Any]:
    return {"$type": "app.bsky.richtext.facet#tag", "tag": name}


MENTION = {"$type": "app.bsky.richtext.facet#mention", "did": ADA}
BLOB = {"$type": "blob", "ref": {"$link": "bafkreiabc"}, "mimeType": "image/jpeg", "size": 5}


def test_a_post() -> None:
    read = read_message(message())
    tweet = read.event
    assert isinstance(tweet, Tweet)
    assert (read.time_us, read.rev_us) == (AT_US + 700_000, AT_US)
    assert tweet.id == f"bsky:{ADA}/{RKEY}"
    assert (tweet.action, tweet.source, tweet.lang, tweet.text) == (Action.CREATE, "bsky", "en", "hello")
    assert tweet.mtime == AT_US // 1000
    assert tweet.created_at == "2024-09-09T19:46:02.329Z"
    assert tweet.url == f"https://bsky.app/profile/{ADA}/post/{RKEY}"
    assert (tweet.user.id, tweet.user.screen_name, tweet.user.name, tweet.user.avatar) == (ADA, ADA, ADA, None)


def test_a_post_that_bluesky_documents() -> None:
    body = (
        b'{"did":"did:plc:eygmaihciaxprqvxpfvl6flk","time_us":1725911162329308,"kind":"commit","commit":{'
        b'"rev":"3l3qo2vutsw2b","operation":"create","collection":"app.bsky.feed.like","rkey":"3l3qo2vuowo2b",'
        b'"record":{"$type":"app.bsky.feed.like"},"cid":"bafyreidc6sydkkbchcyg62v77wbhzvb2mvytlmsychqgwf2xojjtirmzj4"}}'
    )
    assert read_message(body) == Message(time_us=1725911162329308, did="did:plc:eygmaihciaxprqvxpfvl6flk")
    post = read_message(body.replace(b"feed.like", b"feed.post").replace(b'post"},', b'post","text":"hi"},'))
    assert isinstance(post.event, Tweet)
    assert abs(post.event.mtime - 1725911162329) < 2000, "the moment in `rev` is that of the commit"


def test_an_author_signs() -> None:
    tweet = signed(read(), Author("ada.test", "Ada", "https://cdn.bsky.app/a.jpg"))
    assert tweet.url == f"https://bsky.app/profile/ada.test/post/{RKEY}"
    assert (tweet.user.id, tweet.user.screen_name, tweet.user.name) == (ADA, "ada.test", "Ada")
    assert tweet.user.avatar == "https://cdn.bsky.app/a.jpg"
    assert signed(read(), Author("ada.test")).user.name == "ada.test"
    assert signed(read(), None) == read()


def test_an_edit_and_a_deletion_are_later_versions_of_the_post() -> None:
    edit = read_message(message(commit(ADA, RKEY, tid(AT_US + 5000), "update", record("hallo", AT_US)))).event
    gone = read_message(message(commit(ADA, RKEY, tid(AT_US + 9000), "delete"))).event
    assert isinstance(edit, Tweet)
    assert (edit.id, edit.action, edit.mtime) == (read().id, Action.UPDATE, AT_US // 1000 + 5)
    assert gone == Destroy(id=read().id, mtime=AT_US // 1000 + 9)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("2012-05-01T12:00:00+02:00", "2012-05-01T10:00:00.000Z"),
        ("2024-09-09T19:46:03Z", "2024-09-09T19:46:02.329Z"),  # after the commit
        ("2999-01-01T00:00:00Z", "2024-09-09T19:46:02.329Z"),
        ("yesterday", "2024-09-09T19:46:02.329Z"),
        ("0001-01-01T00:00:00+23:59", "2024-09-09T19:46:02.329Z"),
        (5, "2024-09-09T19:46:02.329Z"),
        (None, "2024-09-09T19:46:02.329Z"),
    ],
)
def test_created_at_is_what_the_author_says_if_that_can_be(said: object, shown: str) -> None:
    assert read(createdAt=said).created_at == shown


@pytest.mark.parametrize(
    ("langs", "lang"),
    [(["pt-BR", "en"], "pt"), (["EN"], "en"), ([], "und"), (None, "und"), ("en", "und"), ([5], "und"), ([""], "und")],
)
def test_the_language_is_the_first_ones_primary_subtag(langs: object, lang: str) -> None:
    assert read(langs=langs).lang == lang


# Facets


def test_facets_count_bytes() -> None:
    text = "🏈👩🏽‍🚀 é東京 example.com/long… und #Fußball"
    tweet = read(
        text=text,
        facets=[
            facet(text, "#Fußball", tag("Fußball")),
            facet(text, "example.com/long…", link("https://example.com/long/path")),
            facet(text, "東京", MENTION),
        ],
    )
    assert tweet.urls == ("https://example.com/long/path",)
    assert tweet.hashtags == ("Fußball",)


def test_links_come_in_the_order_of_the_text_and_each_once() -> None:
    text = "a.example b.example a.example"
    second = {"index": {"byteStart": 20, "byteEnd": 29}, "features": [link("https://a.example")]}
    facets = [
        facet(text, "b.example", link("https://b.example")),
        facet(text, "a.example", link("https://a.example")),
    ]
    embed = {"$type": "app.bsky.embed.external", "external": {"uri": "https://b.example", "title": "B"}}
    assert read(text=text, facets=[second, *facets], embed=embed).urls == ("https://a.example", "https://b.example")


def test_a_text_is_not_searched_for_what_bluesky_does_not_show_as_a_link() -> None:
    tweet = read(text="see https://example.com #nfl")
    assert (tweet.urls, tweet.hashtags) == ((), ())


def test_tags_outside_the_text_count_too() -> None:
    text = "#nfl"
    assert read(text=text, facets=[facet(text, "#nfl", tag("nfl"))], tags=["NYC", "nfl", "", 5]).hashtags == (
        "nfl",
        "NYC",
    )


@pytest.mark.parametrize(
    ("start", "end"),
    [(-1, 3), (0, 99), (3, 3), (4, 2), (1, 4), (0, 1), (True, 4), ("0", 4), (None, 4), (0.0, 4), (10**30, 10**31)],
)
def test_a_facet_that_marks_nothing_whole_is_left_out_and_the_post_kept(start: object, end: object) -> None:
    text = "🏈 nfl"
    broken = {"index": {"byteStart": start, "byteEnd": end}, "features": [link("https://bad.example")]}
    tweet = read(text=text, facets=[broken, facet(text, "nfl", link("https://good.example"))])
    assert tweet.urls == ("https://good.example",)


def test_of_overlapping_facets_the_first_counts() -> None:
    text = "one two three"
    facets = [facet(text, "two three", link("https://b.example")), facet(text, "one two", link("https://a.example"))]
    assert read(text=text, facets=facets).urls == ("https://a.example",)


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "at://did:plc:x/app.bsky.feed.post/1",
        "https://",
        "https://a b",
        "",
        5,
        None,
        "x" * 9000,
    ],
)
def test_only_links_of_the_web_are_links(uri: object) -> None:
    embed = {"$type": "app.bsky.embed.external", "external": {"uri": uri}}
    assert read(facets=[facet("hello", "hello", link(uri))], embed=embed).urls == ()


# Embeds


def test_pictures_videos_and_gifs_with_their_descriptions() -> None:
    images = {
        "$type": "app.bsky.embed.images",
        "images": [{"image": BLOB, "alt": "a cat"}, {"image": BLOB, "alt": ""}],
    }
    gallery = {"$type": "app.bsky.embed.gallery", "items": [{"$type": "app.bsky.embed.gallery#image", "image": BLOB}]}
    video = {"$type": "app.bsky.embed.video", "video": BLOB, "alt": "a film"}
    picture = f"https://cdn.bsky.app/img/feed_thumbnail/plain/{ADA}/bafkreiabc@jpeg"
    film = f"https://video.bsky.app/watch/{ADA.replace(':', '%3A')}/bafkreiabc/thumbnail.jpg"
    assert [(item.type, item.url, item.alt) for item in read(embed=images).media] == [
        ("photo", picture, "a cat"),
        ("photo", picture, None),
    ]
    assert [item.url for item in read(embed=gallery).media] == [picture]
    assert [(item.type, item.url, item.alt) for item in read(embed=video).media] == [("video", film, "a film")]
    assert read(embed=video | {"presentation": "gif"}).media[0].type == "animated_gif"


def test_a_quote_is_no_link_and_its_media_are_the_posts() -> None:
    quote = {"$type": "app.bsky.embed.record", "record": {"uri": "at://did:plc:x/app.bsky.feed.post/1", "cid": "x"}}
    images = {"$type": "app.bsky.embed.images", "images": [{"image": {"cid": "bafyold", "mimeType": "image/png"}}]}
    assert read(embed=quote).urls == ()
    tweet = read(embed={"$type": "app.bsky.embed.recordWithMedia", "record": quote, "media": images})
    assert tweet.media[0].url is not None
    assert tweet.media[0].url.endswith("/bafyold@jpeg")
    card = {"$type": "app.bsky.embed.external", "external": {"uri": "https://a.example"}}
    with_card = read(embed={"$type": "app.bsky.embed.recordWithMedia", "record": quote, "media": card})
    assert with_card.urls == ("https://a.example",)


# Hostile


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (commit("did:plc:a/../b", RKEY, tid(AT_US), "create", {"text": "x"}), "bad_did"),
        (commit("did:PLC:a", RKEY, tid(AT_US), "create", {"text": "x"}), "bad_did"),
        (commit("did:plc:" + "a" * 201, RKEY, tid(AT_US), "create", {"text": "x"}), "bad_did"),
        (commit(ADA, "a/b", tid(AT_US), "create", {"text": "x"}), "bad_post"),
        (commit(ADA, "", tid(AT_US), "delete"), "bad_post"),
        (commit(ADA, "a" * 513, tid(AT_US), "delete"), "bad_post"),
        (commit(ADA, RKEY, "z" * 13, "create", {"text": "x"}), "bad_post"),
        (commit(ADA, RKEY, "3l3qo2vutsw2", "create", {"text": "x"}), "bad_post"),
        (commit(ADA, RKEY, tid(AT_US), "rename", {"text": "x"}), "bad_post"),
        (commit(ADA, RKEY, tid(AT_US), "create", None), "bad_post"),
        (commit(ADA, RKEY, tid(AT_US), "create", {"text": 5}), "bad_post"),
        (commit(ADA, RKEY, tid(AT_US), "create", {}), "bad_post"),
        (commit(ADA, RKEY, tid(AT_US), "create", [[[]]]), "bad_post"),
        ({"did": ADA, "kind": "commit"}, "bad_commit"),
        ({"did": ADA, "kind": "commit", "commit": {"rev": 5}}, "bad_commit"),
        (commit(ADA, RKEY, tid(AT_US), "create", {"text": "x" * 10_001}), "too_large"),
        (commit(ADA, RKEY, tid(AT_US), "create", {"text": "é" * 5_001}), "too_large"),
        ({"did": ADA, "kind": "weather"}, "unknown_kind"),
    ],
)
def test_what_cannot_be_read_says_why_and_still_tells_its_place(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecordError) as caught:
        read_message(message(body))
    assert caught.value.reason == reason
    assert caught.value.message.time_us == AT_US + 700_000
    assert caught.value.message.event is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"did": 5, "time_us": 1, "kind": "commit"}',
        b'{"did": "did:plc:x", "time_us": "1", "kind": "commit"}',
        b'{"did": "did:plc:x", "time_us": -1, "kind": "commit"}',
        b'{"did": "did:plc:x", "time_us": 1e300, "kind": "commit"}',
        b'{"did": "did:plc:x", "time_us": 1}',
    ],
)
def test_what_is_no_message(body: bytes) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_message(body)
    assert not isinstance(caught.value, BadRecordError)


def test_the_longest_text_that_is_read() -> None:
    assert read(text="é" * 5_000).text == "é" * 5_000


def test_half_a_character_is_no_text() -> None:
    body = message().replace(b'"hello"', b'"\\ud83c nfl"')
    with pytest.raises(UnreadableError):
        read_message(body)
    with pytest.raises(UnreadableError):
        read_record({"text": "\ud83c"}, ADA)
    assert read_record({"text": "x", "tags": ["\ud83c"]}, ADA).hashtags == ()


def test_nesting_without_end_is_no_message() -> None:
    body = message().replace(b'"hello"', b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(UnreadableError):
        read_message(body)


def test_huge_arrays_are_read_as_far_as_makes_sense() -> None:
    facets = [facet("hello", "hello", *[tag(f"t{n}") for n in range(100)])] * 100
    images = {"$type": "app.bsky.embed.images", "images": [{"image": BLOB}] * 2000}
    links = [
        {"index": {"byteStart": n, "byteEnd": n + 1}, "features": [link(f"https://a.example/{n}")]}
        for n in range(900)
    ]
    tweet = read(text="x" * 900, facets=[*facets, *links], tags=[f"x{n}" for n in range(2000)], embed=images)
    assert len(tweet.hashtags) == 64
    assert len(tweet.urls) <= 100
    assert len(tweet.media) == 20


@pytest.mark.parametrize(
    ("handle", "shown"),
    [
        ("Ada.Test", "ada.test"),
        ("handle.invalid", None),
        ("ada", None),
        ("a b.test", None),
        ("", None),
        (None, None),
        (5, None),
        ("a." * 200 + "test", None),
    ],
)
def test_handles(handle: object, shown: str | None) -> None:
    assert valid_handle(handle) == shown


@pytest.mark.parametrize("identity", [{"did": ADA, "handle": "New.test"}, {"did": ADA}, {"handle": 5}, None])
def test_an_identity_says_only_that_the_handle_may_be_another(identity: object) -> None:
    renamed = read_message(message({"did": ADA, "kind": "identity", "identity": identity}))
    assert renamed == Message(time_us=AT_US + 700_000, did=ADA, renamed=True)


def test_an_account_says_nothing_of_posts_or_handles() -> None:
    account = read_message(
        message({"did": ADA, "kind": "account", "account": {"active": False, "status": "deleted"}})
    )
    assert (account.renamed, account.event) == (False, None)


@given(st.integers(0, 2**53 - 1), st.integers(0, 1023))
def test_a_timestamp_identifier_holds_its_moment(us: int, clock_id: int) -> None:
    assert tid_us(tid(us, clock_id)) == us


keys = st.sampled_from(
    [
        "$type",
        "text",
        "facets",
        "index",
        "byteStart",
        "byteEnd",
        "features",
        "uri",
        "tag",
        "tags",
        "langs",
        "createdAt",
        "embed",
        "external",
        "images",
        "image",
        "items",
        "video",
        "media",
        "record",
        "ref",
        "$link",
        "alt",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(
        [
            "app.bsky.richtext.facet#link",
            "app.bsky.richtext.facet#tag",
            "app.bsky.embed.images",
            "app.bsky.embed.video",
            "app.bsky.embed.external",
            "app.bsky.embed.recordWithMedia",
            "https://a.example",
        ]
    ),
    lambda inner: st.lists(inner) | st.dictionaries(keys | st.text(), inner),
    max_leaves=30,
)


@settings(max_examples=25)
@given(st.dictionaries(keys, values).map(lambda fields: {"text": "🏈 nfl"} | fields))
def test_no_record_is_too_strange(record: dict[str, Any]) -> None:
    try:
        read_record(record, ADA)
    except UnreadableError:
        return


@settings(max_examples=25)
@given(
    st.binary()
    | st.dictionaries(st.sampled_from(["did", "time_us", "kind", "commit", "identity"]), values).map(
        lambda fields: json.dumps({"did": ADA, "time_us": AT_US, "kind": "commit"} | fields).encode()
    )
    | st.dictionaries(keys, values).map(lambda record: message(commit(ADA, RKEY, tid(AT_US), "create", record)))
)
def test_no_message_is_too_strange(body: bytes) -> None:
    try:
        event = read_message(body).event
    except UnreadableError:
        return
    if event is not None:
        raw.entry(event, 1)


pieces = st.text(min_size=1, max_size=8) | st.sampled_from(["🏈", "👩🏽‍🚀", "é", "東京", "ا", "n̈", "ß"])


@given(st.lists(st.tuples(pieces, st.booleans()), max_size=12))
def test_a_facet_finds_its_piece_in_any_script(parts: list[tuple[str, bool]]) -> None:
    facets, expected, place = [], [], 0
    for number, (piece, is_link) in enumerate(parts):
        end = place + len(piece.encode())
        if is_link:
            expected.append(f"https://a.example/{number}")
            facets.append({"index": {"byteStart": place, "byteEnd": end}, "features": [link(expected[-1])]})
        place = end
    contents = read_record({"text": "".join(piece for piece, _ in parts), "facets": facets[::-1]}, ADA)
    assert contents.urls == tuple(expected)
