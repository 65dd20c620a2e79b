"""The source X where X is away, refuses or talks nonsense: it never ends, never spins, says it once, recovers."""

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.ingest.sources.report import Report
from tests.support.turned_clock import TurnedClock, settled
from tests.support.waiting import eventually
from tests.support.x_server import (
    DISCONNECT,
    TOKEN,
    Misbehaviour,
    XServer,
    answers,
    packs,
    post,
    resets,
    sends,
    trickles,
    x_server,
)
from tests.support.x_source import reading_x, streaming, turned_until, warnings

MINUTE = 60.0


def connects() -> float:
    return REGISTRY.get_sample_value("roost_source_connects_total", {"source": "x"}) or 0.0


def unreadable(reason: str) -> float:
    labels = {"source": "x", "reason": reason}
    return REGISTRY.get_sample_value("roost_source_unreadable_total", labels) or 0.0


async def attempts_per_minute(clock: TurnedClock, minutes: int) -> list[float]:
    """How often it connects in each of the next minutes. What begins with a minute belongs to it."""
    counts = [connects()]
    for minute in range(minutes):
        await clock.turn(MINUTE if minute else MINUTE - 0.001)
        counts.append(connects())
    return [after - before for before, after in pairwise(counts)]


# On each connection


FAULTS: list[tuple[str, Misbehaviour, str, list[float]]] = [
    # name, what X does, what is said of it, attempts in each of four minutes as X asks for them
    ("429", answers(429), "too many requests", [1, 1, 0, 1]),
    ("429 with a time to wait", answers(429, headers={"Retry-After": "100"}), "too many requests", [1, 1, 0, 1]),
    ("503", answers(503), "X answers 503: trouble", [4, 1, 1, 0]),
    ("503 with a time to wait", answers(503, headers={"Retry-After": "100"}), "X answers 503", [1, 1, 0, 1]),
    ("500 in HTML", answers(500, text="<html>"), "X answers 500", [4, 1, 1, 0]),
    ("a redirection", answers(302, headers={"Location": "http://127.0.0.1:1/"}), "X answers 302", [4, 1, 1, 0]),
    ("401", answers(401), "bearer token", [1, 0, 0, 0]),
    ("403", answers(403), "denies access", [1, 0, 0, 0]),
    ("an end at once", sends(), "has ended the stream", [4, 1, 1, 0]),
    ("an end after a sign of life", sends(b"\r\n"), "has ended the stream", [4, 1, 1, 0]),
    ("operational-disconnect", sends(DISCONNECT + b"\r\n"), "operational-disconnect", [4, 1, 1, 0]),
    ("a reset", resets(), "the connection was cut", [10, 10, 10, 10]),
    ("a cut in mid-line", sends(b'{"data": {"id": "18', then="cut"), "the connection was cut", [10, 10, 10, 10]),
    ("silence", sends(then="hold"), "fallen silent", [2, 2, 2, 2]),
    ("silence before an answer", lambda *_: asyncio.Event().wait(), "fallen silent", [2, 2, 2, 2]),  # type: ignore[list-item]
    ("a trickle", trickles(), "fallen silent", [2, 2, 2, 2]),
    ("a packed stream", packs(b"\r\n" * 5_000_000), "encoding that was not asked for", [4, 1, 1, 0]),
]


@pytest.mark.parametrize(("fault", "words", "attempts"), [fault[1:] for fault in FAULTS], ids=[f[0] for f in FAULTS])
async def test_it_goes_on_trying_as_x_asks_says_so_once_and_recovers(
    fault: Misbehaviour, words: str, attempts: list[float]
) -> None:
    clock = TurnedClock()
    async with x_server() as server:
        server.stream_fault = fault
        async with reading_x(server, clock) as reader:
            with capture_logs() as logs:
                found = await attempts_per_minute(clock, 4)
            # What is late comes later, and never sooner.
            for some, most in zip(accumulate(found), accumulate(attempts), strict=True):
                assert some <= most, found
            assert sum(found) >= min(2, sum(attempts))
            told = warnings(logs)
            # A sign of life is one: then each new failure is news.
            assert len(told) == (1 if fault is not FAULTS[9][1] else sum(found))
            assert all(words in line["reason"] for line in told)
            assert words in reader.source.report.status().detail
            assert TOKEN not in str(logs)

            server.stream_fault = None
            await turned_until(clock, lambda: server.streaming)
            await server.push(post("nfl again"))
            await eventually(lambda: reader.texts == ["nfl again"])
            assert reader.source.report.status().state == "live"


async def test_a_server_that_is_not_there() -> None:
    clock = TurnedClock()
    async with x_server() as server:
        await server.refuse()
        async with reading_x(server, clock) as reader:
            with capture_logs() as logs:
                found = await attempts_per_minute(clock, 15)
            assert max(found) <= 10
            assert sum(found) <= 45
            (told,) = warnings(logs)
            assert "it refuses the connection" in told["reason"]
            await server.listen()
            await turned_until(clock, lambda: server.streaming)
            await server.push(post("nfl again"))
            await eventually(lambda: reader.texts)


async def test_a_cut_while_posts_flow_costs_a_moment() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock) as reader:
        for number in range(5):
            await streaming(server)
            await server.push(post(f"nfl {number}"))
            await eventually(lambda: reader.texts[-1:] == [f"nfl {server.connects - 1}"])
            await clock.turn(20)
            server.push_raw(b"\r\n")
            await clock.turn(41)  # a good run
            server.cut()
            await eventually(lambda: not server.streaming)
            await clock.turn(0.4)
            await streaming(server)
            assert server.connects == number + 2


async def test_a_proper_end_after_a_good_run_is_nothing() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock):
        await streaming(server)
        for _ in range(3):
            await clock.turn(30)
            server.push_raw(b"\r\n")
        server.end()
        await clock.turn(0.4)
        await streaming(server)
        assert server.connects == 2


# Within a connection


@asynccontextmanager
async def flowing() -> AsyncIterator[tuple[XServer, Any]]:
    """A stream on which a first post has come."""
    async with x_server() as server, reading_x(server, TurnedClock()) as reader:
        await streaming(server)
        await server.push(post("nfl first"))
        await eventually(lambda: reader.texts == ["nfl first"])
        yield server, reader
        await server.push(post("nfl last"))
        await eventually(lambda: reader.texts[-1] == "nfl last")
        assert server.connects == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"data": {"id": "18500000', "not_json"),
        (b"\x00\xff\xfe", "not_json"),
        (b"[]", "not_an_object"),
        (b'{"data": {"id": 18500000000, "text": ["nfl"]}}', "bad_post"),
        (b'{"data": []}', "bad_post"),
        (b'{"data": {"id": "1", "text": "x", "created_at": "9999-12-31T23:59:59-23:59"}}', "bad_post"),
        (b'{"tomorrow": "something new"}', "unknown_kind"),
        (b'{"data": "' + b"x" * 3_000_000 + b'"}', "too_large"),
    ],
)
async def test_nonsense_is_skipped_counted_and_told_once(line: bytes, reason: str) -> None:
    before = unreadable(reason)
    async with flowing() as (server, _):
        with capture_logs() as logs:
            for _ in range(3):
                server.push_raw(line + b"\r\n")
            await eventually(lambda: unreadable(reason) == before + 3)
        (told,) = warnings(logs)
        assert told["reason"] == reason


async def test_fields_that_nobody_knows_change_nothing() -> None:
    async with flowing() as (server, reader):
        payload = post("nfl tomorrow", sticker={"id": 5}, entities={"moods": [1], "urls": None})
        server.push_raw(
            json.dumps(payload | {"brand": "new", "matching_rules": [{"id": 1, "tag": None}]}).encode() + b"\n"
        )
        await eventually(lambda: reader.texts[-1] == "nfl tomorrow")


async def test_x_may_send_a_post_twice() -> None:
    async with flowing() as (server, reader):
        twice = post("nfl twice")
        await server.push(twice)
        await server.push(twice)
        await eventually(lambda: reader.texts[1:] == ["nfl twice"] * 2)
        assert REGISTRY.get_sample_value("roost_x_posts_today") == 3


async def ticking() -> float:
    """The longest that others had to wait, until cancelled."""
    loop = asyncio.get_running_loop()
    longest = 0.0
    try:
        while True:
            began = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - began)
    except asyncio.CancelledError:
        return longest


def gigantic(megabytes: int) -> Iterable[bytes]:
    """One line, in pieces."""
    yield b'{"data": {"id": "1", "text": "'
    yield from (b"x.yz " * 13_000 for _ in range(megabytes * 16))
    yield b'"}}\r\n'


async def test_a_gigantic_line_holds_up_nobody() -> None:
    before = unreadable("too_large")
    async with flowing() as (server, _):
        ticker = asyncio.create_task(ticking())
        for piece in gigantic(20):
            server.push_raw(piece)
            await asyncio.sleep(0)
        await eventually(lambda: unreadable("too_large") == before + 1)
        ticker.cancel()
        assert await ticker < 0.25


async def test_the_longest_post_full_of_links_comes_in_its_turn() -> None:
    async with flowing() as (server, reader):
        server.push_raw(json.dumps(post("a.com " * 4_000)).encode() + b"\r\n")
        await server.push(post("nfl after it"))
        await eventually(lambda: reader.texts[2:] == ["nfl after it"])
        assert len(reader.tweets[1].urls) == 4_000


async def test_thousands_of_posts_at_once_hold_up_nobody() -> None:
    async with flowing() as (server, reader):
        ticker = asyncio.create_task(ticking())
        server.push_raw(b"".join(json.dumps(post(f"nfl {n}")).encode() + b"\r\n" for n in range(5000)))
        await eventually(lambda: len(reader.texts) == 5001)
        ticker.cancel()
        assert await ticker < 0.25


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\n\r\n", b"{}\n"])
async def test_a_flood_of_short_lines_holds_up_nobody(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    told = 0
    live = Report.live

    def count(report: Report) -> None:
        nonlocal told
        told += 1
        live(report)

    monkeypatch.setattr(Report, "live", count)
    before = unreadable("unknown_kind")
    flood = line * 300_000 if not line.strip() else line * 5_000
    async with flowing() as (server, _):
        ticker = asyncio.create_task(ticking())
        server.push_raw(flood)
        server.push_raw(b'{"the end": 1}\n')
        await eventually(lambda: unreadable("unknown_kind") == before + 1 + flood.count(b"{}"))
        ticker.cancel()
        assert await ticker < 0.25
        # Once for each piece that the socket gave.
        assert told < 500


# TLS


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=127.0.0.1"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("openssl is not here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_is_not_to_be_trusted(untrusted: ssl.SSLContext) -> None:
    clock = TurnedClock()
    async with x_server(tls=untrusted) as server, reading_x(server, clock) as reader:
        with capture_logs() as logs:
            found = await attempts_per_minute(clock, 2)
        assert max(found) <= 10
        (told,) = warnings(logs)
        assert "certificate is not to be trusted" in told["reason"]
        assert server.connects == 0  # the token was never sent
        assert reader.source.report.status().state == "away"


# Leaving


@pytest.mark.parametrize("fault", [None, answers(503), sends(then="hold"), trickles(), resets()])
async def test_it_can_be_closed_at_any_moment(fault: Misbehaviour | None) -> None:
    before = asyncio.all_tasks()
    for moment in range(0, 40, 3):
        clock = TurnedClock()
        async with x_server() as server:
            server.stream_fault = fault
            async with reading_x(server, clock):
                for _ in range(moment):
                    await asyncio.sleep(0)
                if moment > 30:
                    await clock.turn(1)
            await settled()
            assert not server.streaming
    await eventually(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})
