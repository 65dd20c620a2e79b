"""How the authors of Bluesky's posts are looked up: politely, once, and without holding up the stream."""

import json
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import structlog
from prometheus_client import REGISTRY

from services.ingest.sources import bluesky_api
from services.ingest.sources.bluesky_api.failures import Failure
from services.ingest.sources.bluesky_api.handles import read_profiles
from services.ingest.sources.bluesky_api.payload import Author
from services.ingest.sources.network import retry_after_s
from shared.events import Destroy
from tests.support.bluesky_reader import Reader, clock, reading, server, source_of
from tests.support.jetstream_server import JetstreamServer, did, jetstream_server
from tests.support.turned_clock import TurnedClock

S = 1_000_000

__all__ = ["clock", "server"]


@pytest.fixture
async def reader(server: JetstreamServer, clock: TurnedClock) -> AsyncIterator[Reader]:
    async with reading(source_of(server, clock=clock)) as reader:
        await clock.until(lambda: server.clients)
        yield reader


def handles(reader: Reader) -> list[str]:
    return [tweet.user.screen_name for tweet in reader.tweets]


def outcome(name: str) -> float:
    return REGISTRY.get_sample_value("roost_bluesky_handles_total", {"outcome": name}) or 0.0


async def test_an_author_is_looked_up_once_a_day(server: JetstreamServer, reader: Reader, clock: TurnedClock) -> None:
    for n in range(4):
        server.post(f"{n}")
        await clock.until(lambda n=n: len(reader.events) == n + 1)
    assert server.lookups == [[did("ada")]]
    assert handles(reader) == ["ada.test"] * 4
    assert reader.tweets[0].user.name == "ada.test", "who has no name is called by the handle"
    await clock.turn(86_401, step_s=200)
    await clock.until(lambda: server.clients)
    server.post("next day")
    await clock.until(lambda: len(reader.events) == 5)
    assert len(server.lookups) == 2


async def test_many_are_looked_up_together_one_request_after_the_other_and_not_too_often(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    before = outcome("found"), outcome("hit")
    for n in range(200):
        server.post(f"{n}", author=did(f"a{n % 60}"))
    await clock.until(lambda: len(reader.events) == 200, step_s=0.01)
    await clock.turn(2, step_s=0.05)
    assert max(map(len, server.lookups)) == 25
    assert sum(map(len, server.lookups)) == 60, "none is asked for twice"
    assert server.lookups_at_once == 1
    moments = server.lookup_moments
    # Sent 0.2 s apart; on their way to the server a little of that may be lost.
    assert all(later - earlier >= 0.1 * S for earlier, later in pairwise(moments))
    assert moments[-1] - moments[0] >= (0.2 * (len(moments) - 1) - 0.1) * S
    assert outcome("found") - before[0] + outcome("hit") - before[1] == 200
    assert reader.texts == [f"{n}" for n in range(200)]
    assert not any(handle.startswith("did:") for handle in handles(reader))


async def test_requests_per_second_stay_polite_while_new_authors_keep_coming(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    for n in range(300):
        server.post(f"{n}", author=did(f"b{n}"))
        await clock.turn(0.05, step_s=0.05)
    await clock.until(lambda: len(reader.events) == 300)
    seconds = (server.lookup_moments[-1] - server.lookup_moments[0]) / S
    assert len(server.lookups) / seconds <= 5.1


async def test_a_post_waits_a_second_for_its_author_and_all_wait_together(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    server.api_goes.clear()
    began = clock.seconds
    for n in range(50):
        server.post(f"{n}", author=did(f"c{n}"))
    gone = server.delete(server.post("last", author=did("c1")))
    await clock.until(lambda: reader.events, step_s=0.05)
    assert 0.9 <= clock.seconds - began <= 1.2
    await clock.until(lambda: len(reader.events) == 52, step_s=0.01)
    assert clock.seconds - began <= 1.3
    assert reader.texts == [*(f"{n}" for n in range(50)), "last"], "in their order"
    assert isinstance(reader.events[-1], Destroy), "and a deletion waits its turn"
    assert gone["commit"]["rkey"] in reader.events[-1].id
    assert all(handle.startswith("did:plc:c") for handle in handles(reader))
    assert f"/profile/{did('c0')}/post/" in reader.tweets[0].url


async def test_after_a_failure_nobody_waits_and_requests_get_rare(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    server.api_answer = (503, {})
    before = outcome("failed")
    with structlog.testing.capture_logs() as logs:
        for n in range(240):
            server.post(f"{n}", author=did(f"d{n}"))
            if n == 120:
                began = clock.seconds
            await clock.until(lambda n=n: len(reader.events) == n + 1, step_s=0.01)
            if n >= 120:
                await clock.turn(0.5)
        assert clock.seconds - began < 75
    assert len(server.lookups) <= 8, "1, 2, 4 … seconds"
    assert outcome("failed") - before == 240
    assert len([entry for entry in logs if entry["log_level"] == "warning"]) == 1
    server.api_answer = None
    await clock.turn(61)
    server.post("again", author=did("d7"))
    await clock.until(lambda: len(reader.events) == 241)
    assert handles(reader)[-1] == "d7.test"


async def test_retry_after_is_respected(server: JetstreamServer, reader: Reader, clock: TurnedClock) -> None:
    server.api_answer = (429, {"Retry-After": "120"})
    server.post("1")
    await clock.until(lambda: len(reader.events) == 1)
    for n in range(110):
        server.post(f"x{n}", author=did(f"e{n}"))
        await clock.turn(1)
    assert len(server.lookups) == 1


async def test_an_answer_that_never_comes_is_given_up(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    server.api_goes.clear()
    server.post("1")
    await clock.turn(8, step_s=0.2)
    assert handles(reader) == [did("ada")]
    server.api_goes.set()
    server.post("2")
    await clock.until(lambda: len(reader.events) == 2, step_s=0.1)
    assert handles(reader)[-1] == "ada.test"


async def test_who_has_no_name_is_shown_by_the_id_and_not_asked_for_again_soon(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    server.everybody_has_a_handle = False
    server.people[did("eve")] = {"handle": "handle.invalid"}
    for n in range(6):
        server.post(f"{n}", author=did("eve" if n % 2 else "bob"))
        await clock.turn(2)
    await clock.until(lambda: len(reader.events) == 6)
    assert sum(map(len, server.lookups)) == 2
    assert set(handles(reader)) == {did("eve"), did("bob")}
    await clock.turn(600, step_s=10)
    server.people[did("eve")] = {"handle": "eve.test"}
    await clock.until(lambda: server.clients)
    server.post("6", author=did("eve"))
    await clock.until(lambda: len(reader.events) == 7)
    assert handles(reader)[-1] == "eve.test"


async def test_one_bad_author_does_not_spoil_the_batch(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    server.bad_dids = {did("f3")}
    server.api_goes.clear()
    server.post("first")
    await clock.until(lambda: server.lookups)
    for n in range(20):
        server.post(f"{n}", author=did(f"f{n}"))
    await clock.turn(0.3, step_s=0.1)
    server.api_goes.set()
    await clock.turn(3, step_s=0.1)
    for n in range(20):
        server.post(f"again {n}", author=did(f"f{n}"))
    await clock.until(lambda: len(reader.events) == 41)
    assert [handle for handle in handles(reader)[-20:] if handle.startswith("did:")] == [did("f3")]
    assert len(server.lookups) < 15


async def test_a_new_handle_is_shown_with_the_next_post(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    server.people[did("ada")] = {"handle": "ada.test", "displayName": "Ada"}
    server.post("1")
    await clock.until(lambda: len(reader.events) == 1)
    server.identity(did("ada"), "lovelace.test")
    server.post("2")
    await clock.until(lambda: len(reader.events) == 2)
    assert handles(reader) == ["ada.test", "lovelace.test"]
    assert reader.tweets[1].user.name == "Ada"
    assert server.lookups == [[did("ada")]] * 2
    server.identity(did("ada"), None)
    server.post("3")
    await clock.until(lambda: len(reader.events) == 3)
    assert len(server.lookups) == 3, "one who has lost it is looked up too"


async def test_nobody_appears_under_the_handle_of_another(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    """What an account says of its own handle the host passes on unchecked; Bluesky itself checks it."""
    server.people[did("eve")] = {"handle": "eve.test"}
    server.post("1", author=did("eve"))
    await clock.until(lambda: len(reader.events) == 1)
    server.identity(did("eve"), "president.test", confirmed=False)
    server.post("2", author=did("eve"))
    await clock.until(lambda: len(reader.events) == 2)
    server.people[did("eve")] = {"handle": "handle.invalid"}
    server.identity(did("eve"), "president.test", confirmed=False)
    server.post("3", author=did("eve"))
    await clock.until(lambda: len(reader.events) == 3)
    assert handles(reader) == ["eve.test", "eve.test", did("eve")]
    assert not any("president" in tweet.url for tweet in reader.tweets)


async def test_an_answer_that_was_overtaken_by_a_new_handle_is_not_remembered(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    server.api_goes.clear()
    server.post("1")
    await clock.until(lambda: server.lookups)
    server.identity(did("ada"), "lovelace.test")
    server.post("2", author=did("bob"))
    await clock.until(lambda: len(reader.events) == 2)
    server.api_goes.set()
    server.post("3")
    await clock.until(lambda: len(reader.events) == 3)
    assert handles(reader)[-1] == "lovelace.test"


async def test_a_lookup_is_not_led_to_another_server(
    server: JetstreamServer, reader: Reader, clock: TurnedClock
) -> None:
    async with jetstream_server(now_us=clock.now_us) as other:
        other.people[did("ada")] = {"handle": "somebody.test"}
        address = f"{other.api}/xrpc/app.bsky.actor.getProfiles?actors={did('ada')}"
        server.api_answer = (302, {"Location": address})
        with structlog.testing.capture_logs() as logs:
            server.post("1")
            await clock.until(lambda: len(reader.events) == 1)
        assert handles(reader) == [did("ada")]
        assert other.lookups == []
        assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"] == ["it answers 302"]


async def test_the_memory_is_bounded(
    server: JetstreamServer, reader: Reader, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bluesky_api.handles, "REMEMBERED", 10)
    for n in [*range(30), 29, 0]:
        server.post(f"{n}", author=did(f"g{n}"))
        await clock.turn(0.5, step_s=0.25)
    await clock.until(lambda: len(reader.events) == 32)
    asked = [actor for batch in server.lookups for actor in batch]
    assert asked.count(did("g29")) == 1
    assert asked.count(did("g0")) == 2


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"{}", b'{"profiles": 5}', b"[" * 100_000])
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(Failure):
        read_profiles(body)


def test_of_a_strange_answer_what_can_be_read_is_read() -> None:
    body = (
        b'{"profiles": [5, {"did": 5}, {"did": "did:plc:a/b", "handle": "a.test"}, {"did": "did:plc:a"},'
        b'{"did": "did:plc:b", "handle": "B.test", "displayName": 7, "avatar": "javascript:1"},'
        b'{"did": "did:plc:c", "handle": "c.test", "displayName": "  ", "avatar": "https://a.example/c"}]}'
    )
    assert read_profiles(body) == {
        "did:plc:b": Author("b.test"),
        "did:plc:c": Author("c.test", None, "https://a.example/c"),
    }


def test_names_and_pictures_are_bounded_because_they_are_remembered_and_go_with_each_post() -> None:
    def read(avatar: str) -> Author:
        profile = {"did": did("ada"), "handle": "ada.test", "displayName": "A" * 100_000, "avatar": avatar}
        return read_profiles(json.dumps({"profiles": [profile]}).encode())[did("ada")]

    fitting = "https://cdn.bsky.app/".ljust(2000, "a")
    assert read(fitting) == Author("ada.test", "A" * 640, fitting)
    assert read(fitting + "a").avatar is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 5 ", 5),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60),
        ("soon", 0),
        ("", 0),
        ("-5", 0),
        ("9" * 40, 3600),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float) -> None:
    assert retry_after_s(text, 1_445_412_420_000) == seconds
