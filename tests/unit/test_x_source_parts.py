"""The pure parts of the source X: lines, messages, failures, the fields that are asked for."""

import asyncio
import json
import ssl
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.sources.records import Unreadable, read_line
from services.ingest.sources.times import iso, parse_iso
from services.ingest.sources.x_api import payload
from services.ingest.sources.x_api.failures import (
    HTTP,
    NETWORK,
    REFUSED,
    TOO_MANY,
    Failure,
    asked_s,
    of_network,
    of_status,
)
from services.ingest.sources.x_api.lines import Lines, TooLong
from services.ingest.sources.x_api.messages import Complaint, complaint_of, read_message
from shared.events import Tweet
from tests.support.x_rule_language import RuleError, parse_rule
from tests.support.x_server import DISCONNECT, post

NOW_MS = 1_729_900_800_000  # Sat, 26 Oct 2024 00:00:00 GMT


# Lines


@given(st.lists(st.sampled_from([b"", b"a", b"bcd", b"\r", b"0123456789" * 2]), max_size=20), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"\r\n".join(parts)
    expected = [TooLong(10) if len(part) > 9 else part for part in parts[:-1]]
    # The last one has no end yet, and is only known if it is too long already.
    expected += [TooLong(10) for part in parts[-1:] if len(part) > 10]
    lines = Lines(10)
    found: list[bytes | TooLong] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += lines.feed(stream[:size])
        stream = stream[size:]
    assert without_repeated_signs(found) == without_repeated_signs(expected)


def without_repeated_signs(lines: list[bytes | TooLong]) -> list[bytes | TooLong]:
    """Several empty lines, one after the other, say no more than one."""
    return [line for before, line in pairwise([TooLong(0), *lines]) if line or before]


def test_a_run_of_empty_lines_is_one_sign_of_life() -> None:
    lines = Lines()
    assert list(lines.feed(b"\r\n\n" * 100_000 + b"a\n\n\r\n\nb")) == [b"", b"a", b""]
    assert list(lines.feed(b"\r\n\r\n")) == [b"b", b""]


def test_a_line_that_never_ends_is_not_held() -> None:
    lines = Lines(1000)
    found = [line for _ in range(10_000) for line in lines.feed(b"x" * 100)]
    assert found == [TooLong(1000)]
    assert len(lines._begun) == 0
    assert list(lines.feed(b"the rest of it\nnext\n")) == [b"next"]


# Messages


def test_what_lines_say() -> None:
    line = json.dumps(
        post("hello") | {"matching_rules": [{"id": 5, "tag": None}], "errors": [{"title": "x"}]}
    ).encode()
    tweet = read_message(line)
    assert isinstance(tweet, Tweet)
    assert (tweet.text, tweet.user.screen_name) == ("hello", "ada")
    assert read_message(DISCONNECT) == Complaint(
        "operational-disconnect: This stream has been disconnected for operational reasons."
    )
    bare = json.dumps({"title": "operational-disconnect", "disconnect_type": "X", "detail": "a\n\x1b[1mb"}).encode()
    assert read_message(bare) == Complaint("operational-disconnect: a [1mb")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"data": {"id"', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"\xff", "not_json"),
        (b"[1]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"data": null}', "bad_post"),
        (b'{"data": {"id": 5, "text": []}}', "bad_post"),
        (b'{"data": {"id": "1", "text": "x", "created_at": "9999-12-31T23:59:59-23:59"}}', "bad_post"),
        (b'{"data": {"id": "1850000000000000000", "text": "x"}, "includes": 5}', None),
        (b'{"hello": 1}', "unknown_kind"),
        (b'{"errors": []}', "unknown_kind"),
    ],
)
def test_what_cannot_be_read_says_why(line: bytes, reason: str | None) -> None:
    message = read_message(line)
    assert (message.reason if isinstance(message, Unreadable) else None) == reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["data", "id", "text", "includes", "errors", "title", "detail"]), inner)
    ),
    max_leaves=15,
)


@given(json_values)
def test_no_line_is_too_strange(value: Any) -> None:
    assert isinstance(read_message(json.dumps(value).encode()), Tweet | Unreadable | Complaint)
    assert "\n" not in complaint_of(value)
    assert len(complaint_of(value)) <= 200


def test_a_mistake_of_ours_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("services.ingest.sources.x_api.payload.Includes.author")
    message = read_message(json.dumps(post("nfl")).encode())
    assert isinstance(message, Unreadable)
    assert (message.reason, message.detail) == ("unforeseen", "AttributeError")


SECRET = "sesame-open-yourself/%2B\\"


@pytest.mark.parametrize(
    "record",
    [
        {"errors": [{"title": "trouble", "detail": f"for Bearer {SECRET}"}]},
        {"errors": [{"title": "x" * 190 + SECRET}]},
        {"title": SECRET, "disconnect_type": "x"},
        {"x" * 190 + SECRET: 1},
        {"data": {"id": "x" * 30 + SECRET, "text": ""}},
        {"data": {"id": "1", "text": "", "created_at": SECRET}},
        [SECRET],
    ],
)
def test_what_must_not_be_repeated_is_not_however_it_is_written(record: Any) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in SECRET)
    for text in (json.dumps(record), json.dumps(record).replace(json.dumps(SECRET)[1:-1], escaped)):
        message = read_message(text.encode(), lambda said: said.replace(SECRET, "[hidden]"))
        assert not isinstance(message, Tweet)
        said = message.text if isinstance(message, Complaint) else message.detail
        assert SECRET[:6] not in said


# Moments


@pytest.mark.parametrize(
    "text",
    ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999-00:01", "9999", "never", ""],
)
def test_a_moment_that_cannot_be_written_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_iso(text)
    with pytest.raises(ValueError):
        iso(2**53)


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_each_moment_that_is_read_can_be_written(moment: datetime) -> None:
    try:
        milliseconds = parse_iso(moment.isoformat())
    except ValueError:
        assert moment.year in (1, 9999)
    else:
        assert parse_iso(iso(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    "line",
    [
        b'{"data": {"id": "1", "text": "x", "created_at": "9999-12-31T23:59:59-23:59"}}',
        b'{"id": "1", "text": "x", "created_at": "9999-12-31T23:59:59-23:59"}',
        b'{"id": "1", "action": "delete", "created_at": "0001-01-01T00:00:00+10:00"}',
        b'{"id": "1850000000000000000", "action": "delete", "redacted_at": "9999-12-31T23:59:59-23:59"}',
    ],
)
def test_a_replay_goes_on_past_it(line: bytes) -> None:
    (item,) = read_line(line)
    assert isinstance(item, Unreadable)


# Fields


def test_exactly_the_fields_are_asked_for_that_an_event_is_made_of() -> None:
    def fields(kind: type[msgspec.Struct]) -> set[str]:
        return set(kind.__struct_fields__)

    assert set(payload.TWEET_FIELDS) == fields(payload._Post) - {"id", "text"}
    assert set(payload.USER_FIELDS) == fields(payload._User) - {"id", "username", "name"}
    assert set(payload.MEDIA_FIELDS) == fields(payload._Media) - {"media_key", "type"}
    assert set(payload.EXPANSIONS) == {"author_id", "attachments.media_keys"}


# Failures


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (503, {}, 0),
        (503, {"Retry-After": "120"}, 120),
        (503, {"Retry-After": "Sat, 26 Oct 2024 00:01:30 GMT"}, 90),
        (503, {"Retry-After": "Fri, 25 Oct 2024 00:01:30 GMT"}, 0),
        (503, {"Retry-After": "soon"}, 0),
        (503, {"Retry-After": "-5"}, 0),
        (503, {"Retry-After": "٣"}, 0),
        (503, {"Retry-After": "9" * 400}, 3600),
        (429, {"x-rate-limit-reset": "1729900860"}, 60),
        (429, {"x-rate-limit-reset": "1729900860", "Retry-After": "90"}, 90),
        (429, {"x-rate-limit-reset": "nonsense"}, 0),
        (503, {"x-rate-limit-reset": "1729900860"}, 0),
    ],
)
def test_x_may_ask_to_wait(status: int, headers: dict[str, str], seconds: float) -> None:
    assert asked_s(status, headers, NOW_MS) == seconds
    assert of_status(status, headers, now_ms=NOW_MS).at_least_s == seconds


@given(st.text())
def test_no_header_is_too_strange(text: str) -> None:
    assert 0 <= asked_s(429, {"Retry-After": text, "x-rate-limit-reset": text}, NOW_MS) <= 3600


@pytest.mark.parametrize(
    ("status", "growth", "words"),
    [
        (401, REFUSED, "bearer token"),
        (403, REFUSED, "access"),
        (409, HTTP, "no rules"),
        (429, TOO_MANY, "too many"),
        (500, HTTP, "X answers 500: trouble"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, growth: object, words: str) -> None:
    failure = of_status(status, {}, now_ms=NOW_MS, complaint="trouble")
    assert failure.growth is growth
    assert words in failure.reason


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer"),
        (ConnectionResetError(), "cut"),
        (aiohttp.ServerDisconnectedError(), "cut"),
        (aiohttp.ClientPayloadError("secret"), "cut"),
        (ConnectionRefusedError(), "refuses"),
        (ssl.SSLError("secret"), "TLS"),
        (OSError("secret"), "OSError"),
    ],
)
def test_errors_of_the_network_are_told_in_our_words(error: Exception, words: str) -> None:
    failure = of_network(error)
    assert isinstance(failure, Failure)
    assert failure.growth is NETWORK
    assert words in failure.reason
    assert "secret" not in failure.reason


# The emulator's own rule language, because other tests believe it


@pytest.mark.parametrize(
    ("rule", "text", "matches"),
    [
        ("nfl", "the #NFL draft", True),
        ("nfl", "inflation", False),
        ('"super bowl"', "Super  Bowl!", True),
        ('"super bowl"', "bowl super", False),
        ("nfl OR cat dog", "a dog", False),
        ("nfl OR cat dog", "dog & cat", True),
        ("(nfl OR cat) lang:en", "cat", True),
        ("nfl -cat", "nfl cat", False),
        ("nfl lang:de", "nfl", False),
        ("from:ADA", "whatever", True),
        ("#nfl", "nfl", False),
        ("nfl has:links", "nfl", False),
        ("🏈", "go 🏈 go", True),
    ],
)
def test_the_emulator_matches(rule: str, text: str, matches: bool) -> None:
    assert parse_rule(rule).matches(post(text)["data"], "ada") is matches


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "lang:en",
        "has:links",
        "-nfl",
        "the",
        '"to be',
        "(nfl",
        "nfl)",
        "nfl OR",
        "nfl OR lang:en",
        "foo:bar",
        "x" * 1025,
    ],
)
def test_the_emulator_refuses(rule: str) -> None:
    with pytest.raises(RuleError):
        parse_rule(rule)


async def lag_of(work: Callable[[], Any]) -> float:
    """The longest that others had to wait while `work` was done, in seconds."""
    loop = asyncio.get_running_loop()
    longest, running = 0.0, True

    async def tick() -> None:
        nonlocal longest
        while running:
            began = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - began)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    work()
    await asyncio.sleep(0)
    running = False
    await ticker
    return longest


@pytest.mark.parametrize("word", ["#a ", "a.b ", "(((((", "http://a.com/(((", "＃", "😀"])
async def test_the_longest_line_holds_up_nobody(word: str) -> None:
    text = word * (900_000 // len(json.dumps(word).strip('"')))
    line = json.dumps(post(text)).encode()
    assert len(line) <= 1024 * 1024
    assert await lag_of(lambda: read_message(line)) < 0.25
