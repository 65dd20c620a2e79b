import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.ingest.sources import SourceError, replay
from services.ingest.sources.records import Unreadable, read_line
from services.ingest.sources.replay import ReplaySource
from shared.events import Action, Destroy, Event, Media, Tweet, User, to_document
from tests.support.captures import CAPTURES, needs_captures
from tests.support.sources import event_of, reading
from tests.unit.clocks import ManualClock

START = 1_700_000_000_000


def tweet(number: int, *, after_ms: int = 0, **fields: Any) -> Tweet:
    values: dict[str, Any] = {
        "id": f"t:{number}",
        "mtime": START + after_ms,
        "source": "test",
        "url": "https://example.com/1",
        "text": f"tweet {number}",
        "lang": "en",
        "created_at": "2023-11-14T22:13:20.000Z",
        "user": User(id="1", screen_name="ada", name="Ada"),
    }
    return Tweet(**values | fields)


def line(event: Event) -> bytes:
    return json.dumps(to_document(event, 5)).encode() + b"\n"


def recording(path: Path, *events: Event | bytes) -> Path:
    path.write_bytes(b"".join(event if isinstance(event, bytes) else line(event) for event in events))
    return path


async def read(path: Path, *, speed: float = 0, clock: ManualClock | None = None) -> list[Event]:
    source = ReplaySource(path=path, speed=speed, loop=False, clock=clock)
    return [item.event async for item in reading(source) if item.event]


def unreadable(reason: str) -> float:
    labels = {"source": "replay", "reason": reason}
    return REGISTRY.get_sample_value("roost_source_unreadable_total", labels) or 0.0


# What a line can be


def test_our_own_events_come_back_whole() -> None:
    full = tweet(
        1,
        action=Action.UPDATE,
        urls=("https://a.example",),
        hashtags=("nfl",),
        media=(Media(type="photo", url="https://example.com/1.jpg", alt="a cat"),),
        user=User(id="1", screen_name="ada", name="Ada", avatar="/_/static/avatars/1.svg"),
    )
    gone = Destroy(id="t:1", mtime=START + 9)
    assert list(read_line(line(full))) == [full]
    assert list(read_line(line(gone))) == [gone]


def test_every_shape_of_x() -> None:
    post = {"id": "1377650090978992134", "text": "hello"}
    for payload in (post, {"data": post, "matching_rules": [{"id": 1, "tag": None}]}, {"data": [post], "meta": {}}):
        (event,) = read_line(json.dumps(payload).encode())
        assert isinstance(event, Tweet)
        assert event.id == "x:1377650090978992134"
    (gone,) = read_line(b'{"id": "1377650090978992134", "action": "delete"}')
    assert isinstance(gone, Destroy)


@pytest.mark.parametrize("nothing", [b"", b"\r\n", b"  \n", b"\xef\xbb\xbf\n", b'{"meta": {"result_count": 0}}'])
def test_keep_alives_and_empty_pages_hold_nothing(nothing: bytes) -> None:
    assert list(read_line(nothing)) == []


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"data": {"id"', "not_json"),
        (b'"\xff"', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"data": "\\ud800"}', "not_json"),
        (b"[1]", "not_an_object"),
        (b'{"hello": 1}', "unknown_kind"),
        (b'{"errors": [{"title": "operational-disconnect"}]}', "error_report"),
        (b'{"data": null}', "bad_post"),
        (b'{"collection": "user", "id": "1"}', "bad_event"),
        (b'{"action": "destroy", "id": "t:1", "mtime": "now"}', "bad_event"),
        (b'{"action": "destroy", "id": "t:1", "mtime": 99999999999999999999}', "bad_event"),
        (b'{"action": "create", "id": "t:1", "mtime": 5}', "bad_event"),
        (b'{"action": "protect", "id": "12"}', "bad_compliance_record"),
    ],
)
def test_what_cannot_be_read_says_why(broken: bytes, reason: str) -> None:
    (item,) = read_line(broken)
    assert isinstance(item, Unreadable)
    assert item.reason == reason
    assert item.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "id",
                    "text",
                    "includes",
                    "users",
                    "media",
                    "entities",
                    "urls",
                    "action",
                    "collection",
                    "mtime",
                ]
            )
            | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)


@given(json_values.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_no_line_is_too_strange(content: bytes) -> None:
    for item in read_line(content):
        assert isinstance(item, Tweet | Destroy | Unreadable)


# Files


async def test_a_gzipped_file_is_known_by_its_content(tmp_path: Path) -> None:
    events = [tweet(n) for n in range(3)]
    path = tmp_path / "posts.jsonl"
    path.write_bytes(gzip.compress(b"".join(map(line, events))))
    assert await read(path) == events


async def test_a_file_of_many_batches_comes_in_order_and_whole(tmp_path: Path) -> None:
    events = [tweet(n, text="x" * 500) for n in range(2000)]
    assert await read(recording(tmp_path / "posts.jsonl", *events)) == events


async def test_a_last_line_without_its_end_is_read(tmp_path: Path) -> None:
    assert await read(recording(tmp_path / "posts.jsonl", tweet(1), line(tweet(2)).rstrip())) == [tweet(1), tweet(2)]


async def test_bad_lines_are_counted_each_and_told_once(tmp_path: Path) -> None:
    before = unreadable("not_json")
    path = recording(tmp_path / "posts.jsonl", tweet(1), b"{\n", b"{{\n", tweet(2), b"nonsense\n", b"[]\n")
    with structlog.testing.capture_logs() as logs:
        assert await read(path) == [tweet(1), tweet(2)]
    assert unreadable("not_json") == before + 3
    assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"] == ["not_json", "not_an_object"]


async def test_a_cut_off_gzip_gives_what_it_has(tmp_path: Path) -> None:
    before = unreadable("damaged_file")
    path = tmp_path / "posts.jsonl.gz"
    events = [tweet(n, text=sha256(b"%d" % n).hexdigest()) for n in range(5000)]
    path.write_bytes(gzip.compress(b"".join(map(line, events)))[:-20])
    read_events = await read(path)
    assert read_events == events[: len(read_events)]
    assert len(read_events) > 1000
    assert unreadable("damaged_file") == before + 1


async def test_a_line_too_long_to_hold_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_LINE_BYTES", 1000)
    before = unreadable("line_too_long")
    path = recording(tmp_path / "posts.jsonl", tweet(1), tweet(2, text="x" * 5000), tweet(3))
    assert await read(path) == [tweet(1), tweet(3)]
    assert unreadable("line_too_long") == before + 1


def test_what_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    empty = recording(tmp_path / "empty.jsonl")
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (empty, "is empty")):
        with pytest.raises(SourceError, match=f"ROOST_INGEST_REPLAY_PATH.*{reason}"):
            ReplaySource(path=path, speed=1, loop=False)


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(SourceError, match="ROOST_INGEST_REPLAY_SPEED"):
        ReplaySource(path=recording(tmp_path / "posts.jsonl", tweet(1)), speed=speed, loop=False)


# Pace


async def moments(path: Path, speed: float) -> list[float]:
    clock = ManualClock()
    source = ReplaySource(path=path, speed=speed, loop=False, clock=clock)
    return [clock.seconds async for _ in reading(source)]


@pytest.mark.parametrize(("speed", "expected"), [(1, [0, 2, 2.5, 12.5]), (2, [0, 1, 1.25, 6.25]), (0, [0, 0, 0, 0])])
async def test_the_pace_is_the_original_one_times_speed(tmp_path: Path, speed: float, expected: list[float]) -> None:
    path = recording(tmp_path / "p", *(tweet(n, after_ms=ms) for n, ms in enumerate((0, 2000, 2500, 12_500))))
    assert await moments(path, speed) == pytest.approx(expected)


async def test_a_page_newest_first_is_read_oldest_first(tmp_path: Path) -> None:
    first = 1377650090978992134
    page = {"data": [{"id": str(first + (n << 22) * 1000), "text": f"{n}"} for n in (2, 1, 0)]}
    path = recording(tmp_path / "p", json.dumps(page).encode())
    assert [event.text for event in await read(path) if isinstance(event, Tweet)] == ["0", "1", "2"]
    assert await moments(path, 1) == pytest.approx([0, 1, 2], abs=0.01)


async def test_an_older_page_does_not_wait_and_goes_on_from_there(tmp_path: Path) -> None:
    path = recording(tmp_path / "p", *(tweet(n, after_ms=ms) for n, ms in enumerate((9000, 10_000, 0, 3000))))
    assert await moments(path, 1) == pytest.approx([0, 1, 1, 4])


async def test_a_pause_of_the_recording_is_passed_over(tmp_path: Path) -> None:
    year = 365 * 24 * 3600 * 1000
    path = recording(tmp_path / "p", *(tweet(n, after_ms=ms) for n, ms in enumerate((0, year, year + 2000))))
    assert await moments(path, 1) == pytest.approx([0, 1, 3])


async def test_held_up_it_goes_on_at_its_pace_and_not_in_a_burst(tmp_path: Path) -> None:
    path = recording(tmp_path / "p", *(tweet(n, after_ms=n * 1000) for n in range(10)))
    clock = ManualClock()
    seen = []
    async for item in reading(ReplaySource(path=path, speed=1, loop=False, clock=clock)):
        seen.append(clock.seconds)
        if item.event and item.event.id == "t:0":
            clock.seconds += 100  # the broker refuses for a while
    assert seen[1:3] == [100, 100]
    assert seen[3:] == pytest.approx([101 + n for n in range(7)])


# Again and again


async def test_looping_gives_each_pass_new_ids_that_hold_together(tmp_path: Path) -> None:
    gone = Destroy(id="t:1", mtime=START + 50)
    path = recording(tmp_path / "p", tweet(1), tweet(1, after_ms=10, action=Action.UPDATE), gone)
    stream = reading(ReplaySource(path=path, speed=0, loop=True, clock=ManualClock()))
    events = [await event_of(stream) for _ in range(9)]
    passes = [events[:3], events[3:6], events[6:]]
    assert [event.mtime for event in events] == [START, START + 10, START + 50] * 3
    assert {event.id for event in passes[0]} == {"t:1"}
    assert len({frozenset(event.id for event in one) for one in passes}) == 3
    assert all(len({event.id for event in one}) == 1 for one in passes)
    await stream.aclose()


async def test_looping_over_nothing_readable_ends(tmp_path: Path) -> None:
    path = recording(tmp_path / "p", b"nonsense\n")
    assert [item async for item in reading(ReplaySource(path=path, speed=0, loop=True))] == []


def test_a_replay_can_wait() -> None:
    assert ReplaySource.can_wait


@needs_captures
async def test_captured_files_replay_to_their_end() -> None:
    counts = {path.name: len(await read(path)) for path in sorted(CAPTURES.glob("*.jsonl"))}
    assert counts == {
        "brexit.jsonl": 100,
        "edited_after.jsonl": 1,
        "edited_before.jsonl": 1,
        "kpop.jsonl": 100,
        "streaming_output_with_error.jsonl": 7,
        "tweets_compliance.jsonl": 2,
    }
