"""The source X where all is well: what posts become, who reads them, and that nobody learns the token."""

import json
import logging
import traceback
from typing import Any

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from services.ingest.sources import SourceError
from services.ingest.sources.x import XSource
from services.ingest.sources.x_api.failures import Failure
from services.ingest.sources.x_api.payload import Includes, read_post
from shared.events import Action
from tests.support.captures import CAPTURES, needs_captures
from tests.support.turned_clock import TurnedClock
from tests.support.waiting import eventually
from tests.support.x_server import TOKEN, answers, post, resets, sends, x_server
from tests.support.x_source import reading_x, streaming, warnings

HOUR = 3600.0


# Real posts


def captured(name: str) -> list[Any]:
    """Each post of a file with what belongs to it; a line that is none as it is."""
    found: list[Any] = []
    for line in (CAPTURES / name).read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            found.append(line)
            continue
        posts = record["data"] if isinstance(record["data"], list) else [record["data"]]
        found += [{"data": one, "includes": record["includes"]} for one in posts]
    return found


@needs_captures
@pytest.mark.parametrize("name", ["streaming_output_with_error", "brexit", "kpop", "edited_before", "edited_after"])
async def test_captured_posts_come_whole_although_little_is_asked_for(name: str) -> None:
    records = captured(f"{name}.jsonl")
    posts = [record for record in records if isinstance(record, dict)]
    async with x_server() as server, reading_x(server, TurnedClock()) as reader:
        await streaming(server)
        for record in records:
            if isinstance(record, dict):
                await server.push(record, whatever_the_rules=True)
            else:
                server.push_raw(record + b"\r\n")
        await server.push(post("nfl at the end"))
        await eventually(lambda: reader.texts[-1:] == ["nfl at the end"])
        assert server.connects == 1
    # Exactly what the whole payload, with all its fields and all that it includes, would have made.
    assert reader.tweets[:-1] == [read_post(one["data"], Includes(one["includes"])) for one in posts]
    assert all(tweet.user.screen_name for tweet in reader.tweets)


@needs_captures
async def test_a_captured_quote_keeps_its_author_and_its_link() -> None:
    async with x_server() as server, reading_x(server, TurnedClock()) as reader:
        await streaming(server)
        await server.push(captured("streaming_output_with_error.jsonl")[0], whatever_the_rules=True)
        await eventually(lambda: reader.tweets)
    (tweet,) = reader.tweets
    assert tweet.user.id == "4602771083"
    assert tweet.urls[1] == "https://twitter.com/Manie_DS/status/1377640162566496258"
    assert tweet.user.screen_name != "Manie_DS"
    assert tweet.media[0].type == "photo"


@needs_captures
async def test_a_captured_edit_is_a_version_of_the_same_tweet() -> None:
    async with x_server() as server, reading_x(server, TurnedClock()) as reader:
        await streaming(server)
        for name in ("edited_before", "edited_after"):
            await server.push(captured(f"{name}.jsonl")[0], whatever_the_rules=True)
        await eventually(lambda: len(reader.tweets) == 2)
    before, after = reader.tweets
    assert before.id == after.id
    assert (before.action, after.action) == (Action.CREATE, Action.UPDATE)
    assert before.mtime < after.mtime


# Nobody reads


async def test_who_reads_no_more_is_live_no_more() -> None:
    async with x_server(keep_alive_s=0.05) as server:
        async with reading_x(server, TurnedClock()) as reader:
            await eventually(lambda: reader.source.report.state == "live")
        assert reader.source.report.state == "connecting"
        # The source lets in one reader at a time.
        assert reader.source.one_reader


async def test_who_takes_nothing_is_disconnected_and_reconnected_when_it_reads() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock) as reader:
        await streaming(server)
        reader.reading.clear()
        for number in range(3):
            await server.push(post(f"nfl {number}"))
        with capture_logs() as logs:
            await clock.turn(12)
            await eventually(lambda: not server.streaming)
            await clock.turn(HOUR)
        assert server.connects == 1
        (told,) = warnings(logs)
        assert told["reason"] == "the broker takes nothing, so nothing is bought"
        reader.reading.set()
        await eventually(lambda: reader.texts == ["nfl 0", "nfl 1", "nfl 2"])
        await clock.turn(10)
        await streaming(server)
        await server.push(post("nfl again"))
        await eventually(lambda: reader.texts[-1] == "nfl again")


async def test_a_quiet_stream_that_nobody_reads_costs_nothing_and_stays() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock):
        await streaming(server)
        for _ in range(10):
            await clock.turn(20)
            server.push_raw(b"\r\n")
        assert server.connects == 1


# On the system's own clock


async def test_a_first_connection_is_live_after_a_moment_though_nothing_comes() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock) as reader:
        await streaming(server)
        assert reader.source.report.status().state == "connecting"
        await clock.turn(4)
        assert reader.source.report.status().state == "live"


async def test_silence_on_the_clock_of_this_machine() -> None:
    async with x_server(keep_alive_s=0.05) as server, reading_x(server, None, silence_s=0.5) as reader:
        await eventually(lambda: reader.source.report.state == "live")
        server.stream_fault = sends(then="hold")
        server.cut()
        await eventually(lambda: server.connects >= 3)
        server.stream_fault = None
        await streaming(server)
        await eventually(lambda: reader.source.report.state == "live")


# The token


@pytest.mark.parametrize("token", ["", "  ", "two words", "naïve", "line\nbreak"])
def test_what_is_no_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(SourceError) as refusal:
        XSource(bearer_token=token, rules=["nfl"], wishes=None, budget=5, api="http://127.0.0.1:1")
    assert not token.strip() or token not in str(refusal.value)


async def test_the_token_is_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("tweepy", "tweepy.asynchronous.client", "aiohttp.client", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    seen: list[str] = []
    clock = TurnedClock()
    echo = json.dumps({"detail": f"you said Bearer {TOKEN}", "errors": [{"message": TOKEN, "title": TOKEN}]})
    escaped = echo.replace(TOKEN, "".join(f"\\u{ord(character):04x}" for character in TOKEN))
    long = json.dumps({"detail": "x" * 180 + TOKEN})
    faults = [answers(401), answers(403), answers(500, text=echo), answers(400, text=echo), resets()]
    faults += [answers(500, text=escaped), answers(400, text=escaped), answers(500, text=long)]
    faults += [sends(f'{{"errors": [{long}]}}\r\n'.encode())]
    with capture_logs() as logs:
        for fault in [*faults, sends(f'{{"{TOKEN}": 1}}\r\n{{"errors": ["{TOKEN}"]}}\r\n'.encode())]:
            async with x_server() as server:
                server.stream_fault = server.rules_fault = fault
                async with reading_x(server, clock) as reader:
                    await clock.turn(20)
                    source = reader.source
                    seen += [repr(source), repr(source._client), str(source.report.status())]
                    try:
                        await source._client.rules()
                    except Failure as failure:
                        seen += traceback.format_exception(failure)
                        seen += [repr(failure.__context__), repr(failure.__cause__)]
    seen += [str(logs), caplog.text, generate_latest().decode()]
    assert len(logs) > 3
    assert [text for text in seen if TOKEN[:8] in text] == []
