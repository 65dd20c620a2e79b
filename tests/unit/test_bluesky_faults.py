"""What hosts of Bluesky's Jetstream do wrong, and that the source goes on: politely, in few words, losing nothing."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from services.ingest.sources.bluesky import BlueskySource
from services.ingest.sources.bluesky_api import stream
from services.ingest.sources.bluesky_api.payload import read_message
from tests.support.bluesky_reader import clock, reading, server, source_of
from tests.support.jetstream_server import JetstreamServer, commit, did, frame, jetstream_server, tid
from tests.support.turned_clock import TurnedClock

S = 1_000_000
AS_OFTEN_AS_POSSIBLE = 10
"""Attempts a minute at most, whatever happens."""

__all__ = ["clock", "server"]


def state(source: BlueskySource) -> str:
    return source.report.state


def connects() -> float:
    return REGISTRY.get_sample_value("roost_source_connects_total", {"source": "bsky"}) or 0.0


def unreadable(reason: str) -> float:
    labels = {"source": "bsky", "reason": reason}
    return REGISTRY.get_sample_value("roost_source_unreadable_total", labels) or 0.0


def warnings(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["log_level"] in ("warning", "error")]


async def attempts_by_minute(clock: TurnedClock, minutes: int) -> list[int]:
    counts = []
    for _ in range(minutes):
        before = connects()
        await clock.turn(60, step_s=1.0)
        counts.append(int(connects() - before))
    return counts


async def suffer(
    server: JetstreamServer,
    clock: TurnedClock,
    begin: Callable[[], Any],
    end: Callable[[], Any],
    *,
    reason: str,
    minutes: int = 2,
    lines: int = 2,
) -> list[int]:
    """Read; something goes wrong for some minutes and then no longer. Returns attempts to connect, by minute.

    One line says that the connection was cut, and one what is wrong since.
    """
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        server.post("before")
        await clock.until(lambda: reader.texts == ["before"])
        with structlog.testing.capture_logs() as logs:
            await _maybe(begin())
            server.post("while it was away")
            counts = await attempts_by_minute(clock, minutes)
            assert state(source) == "away"
            assert reason in source.report.status().detail
        assert len(warnings(logs)) == lines, [entry.get("reason") for entry in warnings(logs)]
        await _maybe(end())
        await clock.until(lambda: "while it was away" in reader.texts, what="it recovers")
        server.post("after")
        await clock.until(lambda: reader.texts == ["before", "while it was away", "after"])
        await clock.until(lambda: state(source) == "live")
        assert source.report.status().detail == ""
    assert max(counts) <= AS_OFTEN_AS_POSSIBLE
    return counts


async def _maybe(outcome: Any) -> None:
    if asyncio.iscoroutine(outcome):
        await outcome


async def test_refused(server: JetstreamServer, clock: TurnedClock) -> None:
    counts = await suffer(server, clock, server.refuse, server.listen, reason="refuses the connection")
    assert counts[-1] <= 2, "pauses have grown to a minute"


@pytest.mark.parametrize(
    ("status", "headers", "most"), [(503, {}, 7), (429, {}, 7), (429, {"Retry-After": "100"}, 1)]
)
async def test_refused_in_words(
    status: int, headers: dict[str, str], most: int, server: JetstreamServer, clock: TurnedClock
) -> None:
    def begin() -> None:
        server.answer = (status, headers)
        server.hang_up()

    counts = await suffer(
        server, clock, begin, lambda: setattr(server, "answer", None), reason=f"it answers {status}"
    )
    assert max(counts) <= most
    if headers:
        assert sum(counts) <= 4, "every 100 seconds"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_led_to_another_server(status: int, server: JetstreamServer, clock: TurnedClock) -> None:
    """It might be one that only this machine can reach."""
    async with jetstream_server(now_us=clock.now_us) as other:

        def begin() -> None:
            server.answer = (status, {"Location": f"{other.api}/subscribe"})
            server.hang_up()

        counts = await suffer(server, clock, begin, lambda: setattr(server, "answer", None), reason="it redirects")
        assert other.connects == 0
    assert max(counts) <= 7


async def test_silence(server: JetstreamServer, clock: TurnedClock) -> None:
    def begin() -> None:
        server.silent = True
        server.hang_up()

    def end() -> None:
        server.silent = False
        server.hang_up()

    counts = await suffer(server, clock, begin, end, reason="nothing came for 30 s")
    assert max(counts) <= 3


async def test_a_trickle_is_silence(server: JetstreamServer, clock: TurnedClock) -> None:
    def begin() -> None:
        server.trickles = True
        server.hang_up()

    def end() -> None:
        server.trickles = False
        server.hang_up()

    counts = await suffer(server, clock, begin, end, reason="nothing came for 30 s")
    assert max(counts) <= 4


async def test_garbage_alone_is_silence(server: JetstreamServer, clock: TurnedClock) -> None:
    before = unreadable("bad_message"), unreadable("binary")
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        with structlog.testing.capture_logs() as logs:
            for _ in range(100):
                server.tell_raw("nonsense")
                server.tell_raw("\0\1\2")
                await clock.turn(0.4)
            await clock.until(lambda: state(source) == "away")
        assert len(warnings(logs)) == 3, "one line a kind, and one that the host was left"
        assert unreadable("bad_message") >= before[0] + 75
        assert unreadable("binary") >= before[1] + 75
        await clock.until(lambda: server.clients)
        server.post("sense")
        await clock.until(lambda: reader.texts == ["sense"])


async def test_garbage_among_posts_changes_nothing(server: JetstreamServer, clock: TurnedClock) -> None:
    before = unreadable("bad_post")
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        for n in range(10):
            server.post(f"{n}")
            server.tell_raw("{")
            server.tell_raw("[]")
            server.tell_raw('{"did": "did:plc:x", "time_us": "now", "kind": "commit"}')
            server.tell({"did": did("ada"), "kind": "weather", "weather": {"fine": True}})
            server.tell(commit(did("ada"), "x", tid(clock.now_us()), "create", {"text": ["wrong"]}))
            server.tell(commit(did("ada"), "x", tid(clock.now_us()), "create", {}, collection="app.bsky.feed.like"))
        await clock.until(lambda: len(reader.events) == 10)
        assert state(source) == "live"
    assert unreadable("bad_post") == before + 10
    assert server.connects == 1


async def test_a_mistake_of_ours_costs_one_message(
    server: JetstreamServer, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(body: bytes) -> Any:
        if b"unlucky" in body:
            raise ZeroDivisionError("a mistake")
        return read_message(body)

    monkeypatch.setattr(stream, "read_message", mistaken)
    async with reading(source_of(server, clock=clock)) as reader:
        await clock.until(lambda: server.clients)
        for text in ("one", "unlucky", "two"):
            server.post(text)
        await clock.until(lambda: reader.texts == ["one", "two"])
    assert server.connects == 1


async def test_hanging_up_after_each_message(server: JetstreamServer, clock: TurnedClock) -> None:
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        server.post("before")
        await clock.until(lambda: reader.texts == ["before"])
        server.closes_after_each = True
        with structlog.testing.capture_logs() as logs:
            counts = []
            for n in range(5):
                server.post(f"{n}")
                counts += await attempts_by_minute(clock, 1)
        assert max(counts) <= AS_OFTEN_AS_POSSIBLE
        assert counts[-1] <= 2
        assert [entry["reason"] for entry in warnings(logs)] == ["127.0.0.1: it closed the connection"]
        assert state(source) == "away", "however often it lets us in"
        server.closes_after_each = False
        await clock.until(lambda: reader.texts == ["before", *(f"{n}" for n in range(5))])
        await clock.until(lambda: state(source) == "live")


@pytest.mark.parametrize("after_bytes", [0, 1, 3, 200])
async def test_cut_in_the_middle_of_a_message(after_bytes: int, server: JetstreamServer, clock: TurnedClock) -> None:
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        server.post("before")
        await clock.until(lambda: reader.texts == ["before"])
        cuts = [after_bytes]
        server.cut = lambda: cuts.pop() if cuts else None
        with structlog.testing.capture_logs() as logs:
            server.post("cut")
            await clock.until(lambda: reader.texts == ["before", "cut"])
        assert len(warnings(logs)) == 1
        await clock.until(lambda: state(source) == "live")
        assert server.connects == 2


async def test_after_a_good_run_the_next_pause_is_short_again(server: JetstreamServer, clock: TurnedClock) -> None:
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        for _ in range(3):
            await server.refuse()
            await clock.turn(100, step_s=2)
            await server.listen()
            await clock.until(lambda: server.clients)
            for n in range(8):
                server.post(f"{n}")
                await clock.turn(5, step_s=1)
            began = clock.seconds
            server.hang_up()
            await clock.until(lambda: server.clients == 0)
            await clock.until(lambda: server.clients)
            assert clock.seconds - began < 3
        assert len(reader.events) == 24


async def test_a_name_that_is_not_found(
    server: JetstreamServer, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_found(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", not_found)
    source = BlueskySource(
        hosts=["ws://nowhere.invalid"], api=server.api, max_catch_up_s=60, clock=clock, jitter=lambda a, _: a
    )
    with structlog.testing.capture_logs() as logs:
        async with reading(source):
            counts = await attempts_by_minute(clock, 3)
            assert source.report.status().detail == "nowhere.invalid: its name is not found"
    assert 1 <= max(counts) <= 7
    assert len(warnings(logs)) == 1


async def test_a_certificate_that_nobody_trusts(clock: TurnedClock) -> None:
    async with jetstream_server(now_us=clock.now_us, tls=True) as server:
        source = source_of(server, clock=clock)
        with structlog.testing.capture_logs() as logs:
            async with reading(source):
                counts = await attempts_by_minute(clock, 3)
                assert source.report.status().detail.startswith("127.0.0.1: its certificate is not to be trusted (")
    assert 1 <= max(counts) <= 7
    assert len(warnings(logs)) == 1
    assert server.connects == 0


async def test_a_server_of_another_kind(clock: TurnedClock) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    source = BlueskySource(
        hosts=[f"ws://127.0.0.1:{port}"],
        api="http://127.0.0.1:9",
        max_catch_up_s=60,
        clock=clock,
        jitter=lambda a, _: a,
    )
    async with other, reading(source):
        counts = await attempts_by_minute(clock, 3)
        assert state(source) == "away"
    assert 1 <= max(counts) <= 7


async def test_broken_frames(server: JetstreamServer, clock: TurnedClock) -> None:
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        for broken in (b"\x83\x00", b"\xff\xff\xff", frame(b"x")[:1] + b"\xfe", b"\x81\x02\xff\xff"):
            for transport in list(server._transports):
                transport.write(broken)
            await clock.until(lambda: server.clients == 0, what=f"{broken!r} ends the connection")
            server.post(repr(broken))
            await clock.until(lambda: server.clients)
            await clock.until(lambda broken=broken: repr(broken) in reader.texts)
        assert len(reader.texts) == 4


# Too large


async def test_a_message_too_large_is_got_past(server: JetstreamServer, clock: TurnedClock) -> None:
    before = unreadable("too_large")
    server.ignores_size = True
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        server.post("before")
        await clock.until(lambda: reader.texts == ["before"])
        with structlog.testing.capture_logs() as logs:
            server.post("x" * 1_200_000)
            for n in range(20):
                await clock.turn(0.5)
                server.post(f"{n}")
            await clock.until(lambda: "19" in reader.texts)
            await clock.turn(60)
        counts = server.connects
        server.post("after")
        await clock.until(lambda: reader.texts[-1] == "after")
        server.hang_up()
        server.post("and after a cut")
        await clock.until(lambda: reader.texts[-1] == "and after a cut")
    assert counts <= 4
    assert unreadable("too_large") - before <= 3
    said = [entry["event"] for entry in warnings(logs)]
    assert sum("left out to get past it" in event for event in said) == 1
    missing = {f"{n}" for n in range(20)} - set(reader.texts)
    assert missing <= {"0", "1"}, "no more than a second is left out"


async def test_a_second_full_of_them_too(server: JetstreamServer, clock: TurnedClock) -> None:
    server.ignores_size = True
    cursor = str(clock.now_us())
    for _ in range(12):
        await clock.turn(0.5)
        server.post("x" * 1_100_000)
    await clock.turn(12)
    server.post("behind them")
    async with reading(source_of(server, clock=clock), cursor) as reader:
        await clock.until(lambda: reader.texts == ["behind them"])
    assert server.connects <= 8


async def test_hosts_that_leave_out_what_is_large_are_asked_to(server: JetstreamServer, clock: TurnedClock) -> None:
    async with reading(source_of(server, clock=clock)) as reader:
        await clock.until(lambda: server.clients)
        server.post("x" * 1_200_000)
        server.post("after")
        await clock.until(lambda: reader.texts == ["after"])
    assert server.connects == 1


async def test_the_next_host_is_asked_when_one_fails(clock: TurnedClock) -> None:
    async with (
        jetstream_server(now_us=clock.now_us) as first,
        jetstream_server(now_us=clock.now_us) as second,
    ):
        source = source_of(first, second, clock=clock)
        async with reading(source) as reader:
            await clock.until(lambda: first.clients)
            first.answer = (429, {"Retry-After": "600"})
            first.hang_up()
            await clock.until(lambda: second.clients)
            second.post("second")
            await clock.until(lambda: reader.texts == ["second"])
            await clock.until(lambda: state(source) == "live")
            second.hang_up()
            await clock.until(lambda: first.connects == 2)
            await clock.until(lambda: second.clients)
            second.hang_up()
            began = clock.seconds
            first.answer = None
            await clock.until(lambda: first.clients, step_s=5)
            assert clock.seconds - began > 500, "who asked to be left alone for ten minutes is"
