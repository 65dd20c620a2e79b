"""The source `bluesky` as its host behaves: what is read, where it goes on, and from how many hosts."""

import asyncio
import gc
import random
import re
import warnings

import pytest
import structlog
from prometheus_client import REGISTRY

from services.ingest.sources import SourceError
from services.ingest.sources.bluesky import BlueskySource
from services.ingest.sources.bluesky_api import window
from services.ingest.sources.bluesky_api.cursor import HostClock, Position
from shared.events import Action, Destroy
from tests.support.bluesky_reader import NoNotes, clock, reading, server, source_of
from tests.support.jetstream_server import JetstreamServer, did, jetstream_server
from tests.support.turned_clock import TurnedClock

S = 1_000_000

__all__ = ["clock", "server"]


def repeated() -> float:
    return REGISTRY.get_sample_value("roost_source_repeated_total", {"source": "bsky"}) or 0.0


async def test_a_post_is_read_with_its_author_and_so_are_its_edit_and_its_end(
    server: JetstreamServer, clock: TurnedClock
) -> None:
    source = source_of(server, clock=clock)
    server.people[did("ada")] = {"handle": "ada.test", "displayName": "Ada", "avatar": "https://cdn.bsky.app/a.jpg"}
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        assert server.cursors == [None], "the first start is live"
        post = server.post("hello")
        await clock.until(lambda: reader.tweets)
        server.edit(post, "hallo")
        server.delete(post)
        await clock.until(lambda: len(reader.events) == 3)
        assert source.report.state == "live"
    tweet, edit, gone = reader.events
    assert [event.action for event in reader.events] == [Action.CREATE, Action.UPDATE, Action.DESTROY]
    assert tweet.id == edit.id == gone.id
    assert isinstance(gone, Destroy)
    assert reader.texts == ["hello", "hallo"]
    assert (reader.tweets[0].user.screen_name, reader.tweets[0].user.name) == ("ada.test", "Ada")
    assert reader.tweets[0].url.startswith("https://bsky.app/profile/ada.test/post/")


async def test_what_it_says_it_is() -> None:
    source = BlueskySource(hosts=["wss://a.example"], api="https://b.example", max_catch_up_s=5)
    assert (source.name, source.can_wait, source.one_reader, source.demand) == ("bsky", True, False, None)
    assert source.report.state == "connecting"


async def test_the_cursor_moves_also_where_nobody_posts(server: JetstreamServer, clock: TurnedClock) -> None:
    async with reading(source_of(server, clock=clock)) as reader:
        await clock.until(lambda: server.clients)
        for _ in range(20):
            server.account(did("ada"), active=False)
            server.identity(did("ada"), "ada.test")
            await clock.turn(0.5)
        await clock.until(lambda: len(reader.items) >= 9)
    assert reader.events == []
    assert len(reader.items) <= 11, "no more than one a second"
    assert int(reader.cursor or 0) > clock.now_us() - 3 * S


async def test_a_restart_goes_on_where_it_was_and_misses_nothing(server: JetstreamServer, clock: TurnedClock) -> None:
    async with reading(source_of(server, clock=clock)) as before:
        await clock.until(lambda: server.clients)
        for n in range(5):
            server.post(f"{n}")
            await clock.turn(3)
        await clock.until(lambda: len(before.events) == 5)
        taken = before.items[2]
    await clock.turn(600, step_s=60)
    for n in range(5, 8):
        server.post(f"{n}")
    async with reading(source_of(server, clock=clock), taken.cursor) as after:
        await clock.until(lambda: "7" in after.texts)
    assert after.texts[-5:] == ["3", "4", "5", "6", "7"]
    assert len(after.texts) <= 7, "a few seconds are read again"
    assert server.cursors[-1] == int(taken.cursor or 0) - 5 * S


async def test_cut_off_it_goes_back_a_little_and_tells_nothing_twice(
    server: JetstreamServer, clock: TurnedClock
) -> None:
    before = repeated()
    async with reading(source_of(server, clock=clock)) as reader:
        await clock.until(lambda: server.clients)
        server.post("one")
        await clock.until(lambda: reader.events)
        server.hang_up()
        server.post("two")
        await clock.until(lambda: len(reader.events) == 2)
        await clock.turn(2)
    assert reader.texts == ["one", "two"]
    assert repeated() == before + 1
    assert server.connects == 2


async def test_before_the_first_message_a_cut_loses_nothing_either(
    server: JetstreamServer, clock: TurnedClock
) -> None:
    async with reading(source_of(server, clock=clock)) as reader:
        await clock.until(lambda: server.clients)
        server.hang_up()
        server.post("meanwhile")
        await clock.until(lambda: reader.texts == ["meanwhile"])


async def test_what_is_too_old_is_left_out_and_said(server: JetstreamServer, clock: TurnedClock) -> None:
    cursor = str(clock.now_us())
    server.post("too old")
    await clock.turn(3600, step_s=600)
    server.post("old enough")
    with structlog.testing.capture_logs() as logs:
        async with reading(source_of(server, clock=clock, max_catch_up_s=60.0), cursor) as reader:
            await clock.until(lambda: reader.events)
    assert reader.texts == ["old enough"]
    (said,) = [entry for entry in logs if "left out" in entry["event"]]
    assert 3530 < said["seconds"] < 3560


@pytest.mark.parametrize("ever", [float("inf"), 1e300])
async def test_without_a_bound_nothing_is_too_old(ever: float, server: JetstreamServer, clock: TurnedClock) -> None:
    cursor = str(clock.now_us())
    server.post("a month old")
    await clock.turn(30 * 86_400, step_s=86_400)
    async with reading(source_of(server, clock=clock, max_catch_up_s=ever), cursor) as reader:
        await clock.until(lambda: reader.texts == ["a month old"])


@pytest.mark.parametrize(
    "address", ["wss://host:99999", "wss://[x", "wss://host:port", "wss://xn--a.example", "wss://", "wss:///path"]
)
def test_a_host_that_is_no_address_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(SourceError, match=f"^ROOST_INGEST_BLUESKY_HOSTS: {re.escape(address)} "):
        BlueskySource(hosts=["wss://a.example", address], api="https://b.example", max_catch_up_s=5)


def test_what_stands_before_the_name_of_a_host_is_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        BlueskySource(hosts=["wss://ada:secret@host:99999"], api="https://b.example", max_catch_up_s=5)
    assert "host:99999" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("cursor", ["nonsense", "", "-5", "9" * 30, "١٢"])
async def test_a_cursor_that_is_none_means_live(cursor: str, server: JetstreamServer, clock: TurnedClock) -> None:
    async with reading(source_of(server, clock=clock), cursor) as reader:
        await clock.until(lambda: server.clients)
        server.post("now")
        await clock.until(lambda: reader.events)
    assert server.cursors == [None]


# Hosts and their clocks


async def test_a_host_in_the_far_future_does_not_move_the_cursor(clock: TurnedClock) -> None:
    async with jetstream_server(now_us=clock.now_us, offset_s=86_400 * 365) as server:
        with structlog.testing.capture_logs() as logs:
            async with reading(source_of(server, clock=clock)) as reader:
                await clock.until(lambda: server.clients)
                began = clock.now_us()
                for n in range(5):
                    server.post(f"{n}")
                    await clock.turn(2)
                await clock.until(lambda: len(reader.events) == 5)
        assert int(reader.cursor or 0) <= began
        assert len([entry for entry in logs if "future" in entry["event"]]) == 1


@pytest.mark.parametrize("offset_s", [-900.0, -30.0, 30.0, 900.0])
async def test_to_a_host_with_another_clock_and_back_nothing_is_lost(offset_s: float, clock: TurnedClock) -> None:
    """A host that is behind takes the other's cursor for one in its future, one that is ahead leaves posts out."""
    async with (
        jetstream_server(now_us=clock.now_us) as right,
        jetstream_server(now_us=clock.now_us, offset_s=offset_s) as wrong,
    ):
        number = 0

        async def world(seconds: float) -> None:
            nonlocal number
            for _ in range(round(seconds * 2)):
                message = right.post(f"{number}", author=did(f"a{number % 7}"))
                number += 1
                wrong.tell(message)
                await clock.turn(0.5)

        cursors: list[int] = []
        async with reading(source_of(right, wrong, clock=clock)) as reader:
            await clock.until(lambda: right.clients)
            for host in (right, wrong, right, wrong):
                await clock.until(lambda host=host: host.clients)
                await world(15)
                soon = clock.seconds + 2
                await clock.until(lambda soon=soon: len(set(reader.texts)) == number or clock.seconds > soon)
                assert len(set(reader.texts)) == number, "no later host has to fill what this one left out"
                host.hang_up()
                await world(3)
            await clock.until(lambda: right.clients)
            await world(5)
            await clock.until(lambda: len(set(reader.texts)) == number, what="every post is read")
            cursors = [int(item.cursor or 0) for item in reader.items]
    assert cursors == sorted(cursors)
    assert cursors[-1] <= clock.now_us() + 5 * S
    assert cursors[-1] > clock.now_us() - 60 * S
    assert len(reader.texts) == number, "and none twice"


@pytest.mark.parametrize("seed", range(4))
async def test_random_cuts_over_two_hosts_and_restarts_lose_nothing(seed: int, clock: TurnedClock) -> None:
    dice = random.Random(seed)
    async with (
        jetstream_server(now_us=clock.now_us, offset_s=dice.uniform(-3, 3)) as first,
        jetstream_server(now_us=clock.now_us, offset_s=dice.uniform(-3, 3)) as second,
    ):
        for host in (first, second):
            host.cut = lambda: dice.randrange(400) if dice.random() < 0.02 else None
        told, cursor = 0, None
        read: set[str] = set()
        for life in range(3):
            async with reading(source_of(first, second, clock=clock), cursor) as reader:
                await clock.until(lambda: first.clients or second.clients or reader.items)
                for _ in range(60):
                    message = first.post(f"{told}", author=did(f"a{dice.randrange(9)}"))
                    second.tell(message)
                    told += 1
                    await clock.turn(dice.choice([0.05, 0.25, 1.0]))
                    if dice.random() < 0.03:
                        (first if dice.random() < 0.5 else second).hang_up()
                if life == 2:
                    missing = {f"{n}" for n in range(told)} - read
                    await clock.until(lambda: missing <= set(reader.texts), what="every post is read")  # noqa: B023
            read |= set(reader.texts)
            cursor = reader.cursor or cursor
            assert len(reader.texts) == len(set(reader.texts)), "none twice in one life"
        assert read == {f"{n}" for n in range(told)}


async def test_a_host_that_goes_further_back_than_asked_does_no_harm(
    server: JetstreamServer, clock: TurnedClock
) -> None:
    server.drops_cursor_into_active_segment = 3600 * S
    for n in range(30):
        server.post(f"{n}")
        await clock.turn(10, step_s=10)
    async with reading(source_of(server, clock=clock), str(clock.now_us())) as reader:
        await clock.until(lambda: server.clients)
        server.post("new")
        await clock.until(lambda: "new" in reader.texts)
    cursors = [int(item.cursor or 0) for item in reader.items]
    assert min(cursors) >= clock.now_us() - 30 * S, "the cursor does not go back with it"
    assert server.connects == 1


def test_the_step_past_what_cannot_be_received_grows_until_there_is_progress() -> None:
    place, right = Position(100 * S), HostClock()
    assert [place.stuck() for _ in range(4)] == [0, 1, 2, 4]
    assert place.request_us(right) == 104 * S
    place.move(106 * S)
    assert place.request_us(right) == 104 * S, "never again before it"
    assert place.stuck() == 0
    place.move(200 * S)
    assert place.request_us(right) == 195 * S


# One who does not read


async def test_who_does_not_read_is_cut_off_and_then_gets_it_all(
    server: JetstreamServer, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "MOST_PENDING", 20)
    server.most_behind = 100
    async with reading(source_of(server, clock=clock)) as reader:
        await clock.until(lambda: server.clients)
        reader.goes.clear()
        for n in range(1500):
            server.post(f"{n}", filling="x" * 20_000)
            if n % 100 == 0:
                await clock.turn(1)
        await clock.until(lambda: server.cut_off)
        assert len(reader.items) == 1
        await clock.turn(120)
        assert server.connects == 1, "nobody connects for what nobody takes"
        server.most_behind = None
        reader.goes.set()
        await clock.until(lambda: len(reader.events) == 1500)
    assert reader.texts == [f"{n}" for n in range(1500)]


async def test_thousands_at_once_leave_others_their_turn(server: JetstreamServer, clock: TurnedClock) -> None:
    for n in range(4000):
        server.post(f"{n}", author=did(f"a{n % 300}"))
    longest = 0.0
    loop = asyncio.get_running_loop()

    async def tick() -> None:
        nonlocal longest
        while True:
            before = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - before)

    ticking = asyncio.create_task(tick())
    async with reading(source_of(server, clock=clock), str(clock.now_us() - 9 * S)) as reader:
        await clock.until(lambda: len(reader.events) == 4000, step_s=0.05)
    ticking.cancel()
    assert reader.texts == [f"{n}" for n in range(4000)]
    assert longest < 0.25


# Closing


@pytest.mark.parametrize(
    "moment", ["before connecting", "connecting", "waiting", "in mid-stream", "pausing", "looking up"]
)
async def test_closed_at_any_moment_it_leaves_nothing_behind(
    moment: str, server: JetstreamServer, clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    others = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if moment == "connecting":
            server.silent = True
        if moment == "pausing":
            await server.refuse()
        if moment == "looking up":
            server.api_goes.clear()
        stream = source_of(server, clock=clock).read(None, NoNotes())
        taking = asyncio.ensure_future(anext(stream))
        if moment in ("waiting", "in mid-stream", "looking up"):
            await clock.until(lambda: server.clients)
        if moment in ("in mid-stream", "looking up"):
            server.post("one")
            await clock.until(lambda: taking.done() if moment == "in mid-stream" else server.lookups)
        if moment in ("connecting", "pausing"):
            await clock.turn(1.5)
        before = asyncio.get_running_loop().time()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await stream.aclose()
        assert asyncio.get_running_loop().time() - before < 1
        server.silent = False
        server.tell({"did": did("x"), "kind": "account", "account": {}})
        await clock.until(lambda: not server.clients)
        server.api_goes.set()
        await clock.until(lambda: len(asyncio.all_tasks() - others) == 0)
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_read_no_more_it_does_not_go_on_saying_how_its_host_is(
    server: JetstreamServer, clock: TurnedClock
) -> None:
    source = source_of(server, clock=clock)
    async with reading(source) as reader:
        await clock.until(lambda: server.clients)
        server.post("one")
        await clock.until(lambda: reader.events and source.report.state == "live")
    assert source.report.status().state == "connecting"
    await server.refuse()
    async with reading(source):
        await clock.until(lambda: source.report.status().state == "away")
    assert (source.report.status().state, source.report.status().detail) == ("connecting", "")
    source.report.away("it was, long ago")
    await server.listen()
    async with reading(source):
        await clock.until(lambda: server.clients)
        assert source.report.status().state == "connecting"


async def test_it_can_be_read_again(server: JetstreamServer, clock: TurnedClock) -> None:
    source = source_of(server, clock=clock)
    for n in range(3):
        async with reading(source) as reader:
            await clock.until(lambda: server.clients)
            server.post(f"{n}")
            await clock.until(lambda n=n, reader=reader: reader.texts == [f"{n}"])
        await clock.until(lambda: not server.clients)
