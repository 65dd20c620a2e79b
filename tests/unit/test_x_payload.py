import json
from typing import Any

import pytest

from services.ingest.sources.records import Unreadable, read_line
from services.ingest.sources.x_api.payload import Includes, read_compliance, read_post
from shared.events import Action, Destroy, Tweet, UnreadableError
from tests.support.captures import CAPTURES, needs_captures

ID = "1377650090978992134"


def post(**fields: Any) -> dict[str, Any]:
    return {"id": ID, "text": "hello", "author_id": "7", "created_at": "2021-04-01T15:52:31.000Z"} | fields


USER = {"id": "7", "username": "ada", "name": "Ada", "profile_image_url": "https://example.com/a.jpg"}


def test_a_post_with_its_author() -> None:
    tweet = read_post(post(lang="en"), Includes({"users": [USER]}))
    assert tweet.id == f"x:{ID}"
    assert tweet.action is Action.CREATE
    assert tweet.source == "x"
    assert tweet.url == f"https://x.com/ada/status/{ID}"
    assert tweet.created_at.startswith("2021-04-01T15:52:31.")
    assert (tweet.user.screen_name, tweet.user.name) == ("ada", "Ada")
    assert tweet.user.avatar == "https://example.com/a.jpg"
    assert tweet.lang == "en"


def test_the_time_is_in_the_id_so_that_a_version_is_the_same_wherever_it_is_read() -> None:
    without = read_post({"id": ID, "text": "hello"}, Includes())
    with_it = read_post(post(), Includes())
    assert without.mtime == with_it.mtime == 1617292351847
    assert without.created_at == with_it.created_at


def test_an_unknown_author_has_no_screen_name_and_the_post_still_a_link() -> None:
    tweet = read_post(post(), Includes({"users": [{"id": 7}, "nonsense"], "media": 5}))
    assert tweet.user.screen_name == ""
    assert tweet.user.name == "7"
    assert tweet.url == f"https://x.com/i/status/{ID}"


def test_ids_older_than_snowflakes_take_their_time_from_created_at() -> None:
    assert read_post(post(id="20", created_at="2006-03-21T20:50:14Z"), Includes()).mtime == 1142974214000
    with pytest.raises(UnreadableError, match="no created_at"):
        read_post({"id": "20", "text": "just setting up"}, Includes())


def test_an_edit_is_a_new_version_of_the_first_post() -> None:
    first, second = "1576994746135764992", "1576994789110992896"
    history = {"edit_history_tweet_ids": [first, second]}
    before = read_post(post(id=first, **history), Includes())
    after = read_post(post(id=second, **history), Includes({"users": [USER]}))
    assert before.id == after.id == f"x:{first}"
    assert (before.action, after.action) == (Action.CREATE, Action.UPDATE)
    assert before.mtime < after.mtime
    assert before.created_at == after.created_at
    assert after.url.endswith(second)


def test_has_url_is_what_x_says() -> None:
    links = [
        {
            "start": 20,
            "url": "https://t.co/b",
            "expanded_url": "http://b.example",
            "unwound_url": "https://b.example/",
        },
        {"start": 5, "url": "https://t.co/a", "expanded_url": "https://a.example"},
        {"start": 40, "url": "https://t.co/c"},
    ]
    tweet = read_post(post(entities={"urls": links}), Includes())
    assert tweet.urls == ("https://a.example", "https://b.example/", "https://t.co/c")
    # The text looks like a link, but X, who knows better, says that there is none.
    assert read_post(post(text="see example.com", entities={"hashtags": []}), Includes()).urls == ()


def test_without_entities_the_text_is_searched() -> None:
    tweet = read_post(post(text="see example.com/x #NFL"), Includes())
    assert tweet.urls == ("http://example.com/x",)
    assert tweet.hashtags == ("NFL",)
    assert read_post(post(text="mail a@b.com"), Includes()).urls == ()


def test_four_pictures_are_one_link() -> None:
    place = {"start": 5, "end": 28, "url": "https://t.co/p", "expanded_url": "https://x.com/a/status/1/photo/1"}
    entities = {"urls": [place | {"media_key": f"3_{n}"} for n in range(4)]}
    tweet = read_post(post(entities=entities, attachments={"media_keys": ["3_0", "3_1"]}), Includes())
    assert tweet.urls == ("https://x.com/a/status/1/photo/1",)


def test_a_long_post_is_whole_and_has_the_links_of_all_its_text_and_its_media() -> None:
    tweet = read_post(
        post(
            text="It began… https://t.co/m",
            entities={
                "urls": [
                    {"start": 2, "url": "https://t.co/a", "expanded_url": "https://a.example"},
                    {"start": 10, "url": "https://t.co/m", "expanded_url": "https://x.com/i/photo/1"},
                ],
                "hashtags": [{"tag": "short"}],
            },
            note_tweet={
                "text": "It began long ago and had no end " * 20,
                "entities": {
                    "urls": [
                        {"start": 2, "url": "https://t.co/a", "expanded_url": "https://a.example"},
                        {"start": 400, "url": "https://t.co/z", "expanded_url": "https://z.example"},
                    ],
                    "hashtags": [{"tag": "short"}, {"tag": "long"}],
                },
            },
        ),
        Includes(),
    )
    assert len(tweet.text) > 600
    assert tweet.urls == ("https://a.example", "https://z.example", "https://x.com/i/photo/1")
    assert tweet.hashtags == ("short", "long")


def test_the_three_characters_that_x_escapes_are_restored_once() -> None:
    assert read_post(post(text="R&amp;B &lt;3 &amp;lt; &copy;"), Includes()).text == "R&B <3 &lt; &copy;"


def test_media_with_their_descriptions_and_those_that_are_not_included() -> None:
    included = [
        {"media_key": "3_1", "type": "photo", "url": "https://example.com/1.jpg", "alt_text": "a cat"},
        {"media_key": "7_2", "type": "video", "preview_image_url": "https://example.com/2.jpg"},
    ]
    keys = {"media_keys": ["7_2", "3_1", "16_3"]}
    tweet = read_post(post(attachments=keys), Includes({"media": included}))
    assert [(item.type, item.url, item.alt) for item in tweet.media] == [
        ("video", "https://example.com/2.jpg", None),
        ("photo", "https://example.com/1.jpg", "a cat"),
        ("animated_gif", None, None),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"id": 5},
        {"id": "५"},
        {"id": "x"},
        {"id": "9" * 30},
        {"text": None},
        {"entities": []},
        {"id": "5", "created_at": "?"},
    ],
)
def test_a_post_of_another_shape_is_unreadable(broken: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        read_post(post(**broken), Includes())


def test_a_bad_post_on_a_page_spoils_no_other() -> None:
    page = {"data": [post(), post(text=7), 3], "includes": {"users": [USER]}}
    read = list(read_line(json.dumps(page).encode()))
    assert [item.reason for item in read if isinstance(item, Unreadable)] == ["bad_post", "bad_post"]
    assert len([item for item in read if isinstance(item, Tweet)]) == 1


def test_a_deletion_outranks_every_version_of_its_post() -> None:
    record = {"id": "1170025343920402432", "action": "delete", "created_at": "2019-09-06T17:25:54.667Z"}
    known = read_compliance(record | {"redacted_at": "2021-08-17T17:26:15.788Z"})
    assert known == Destroy(id="x:1170025343920402432", mtime=1629221175788)
    assert read_compliance(record).mtime == 1567790754667 + 3_600_000
    with pytest.raises(UnreadableError):
        read_compliance(record | {"action": "scrub_geo"})


def captured(name: str) -> list[Any]:
    with (CAPTURES / name).open("rb") as file:
        return [item for line in file for item in read_line(line)]


@needs_captures
def test_a_captured_stream_and_its_damaged_end() -> None:
    *tweets, error = captured("streaming_output_with_error.jsonl")
    assert len(tweets) == 7
    assert all(isinstance(tweet, Tweet) and tweet.user.screen_name for tweet in tweets)
    assert tweets[0].urls[1] == "https://twitter.com/Manie_DS/status/1377640162566496258"
    assert tweets[0].media[0].type == "photo"
    assert error.reason == "not_json"


@needs_captures
@pytest.mark.parametrize("name", ["brexit.jsonl", "kpop.jsonl"])
def test_captured_search_pages(name: str) -> None:
    tweets = captured(name)
    assert len(tweets) == 100
    assert len({tweet.id for tweet in tweets}) == 100
    assert [tweet.mtime for tweet in tweets] == sorted(tweet.mtime for tweet in tweets)
    posts = {f"x:{item['id']}": item for item in json.loads((CAPTURES / name).read_bytes())["data"]}
    for tweet in tweets:
        assert bool(tweet.urls) == bool(posts[tweet.id]["entities"].get("urls"))
        assert bool(tweet.media) == ("media_keys" in posts[tweet.id].get("attachments", {}))
        assert tweet.user.screen_name
        assert "&amp;" not in tweet.text


@needs_captures
def test_a_captured_edit() -> None:
    (before,), (after,) = captured("edited_before.jsonl"), captured("edited_after.jsonl")
    assert before.id == after.id
    assert (before.action, after.action) == (Action.CREATE, Action.UPDATE)
    assert before.mtime < after.mtime
    assert before.media[0].alt == "selfie of me with memoji"
    assert after.text.startswith("hey :)")


@needs_captures
def test_captured_compliance_records() -> None:
    first, second = captured("tweets_compliance.jsonl")
    assert isinstance(first, Destroy)
    assert second == Destroy(id="x:1170147183095664640", mtime=1629221175788)
