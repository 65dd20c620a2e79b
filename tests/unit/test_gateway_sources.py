"""What sources say of themselves: what of it is news, to whom, and what `make status` makes of it."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.sources import lines
from services.gateway.sources import GROWN_S, MOST_NAMED, MOST_SOURCES, News, Seconds, Sources
from shared.events import UnreadableError
from shared.sources import FORGOTTEN_AFTER_S, INTERVAL_S, SourceStatus, State, pack, unpack

BUDGET = "the daily budget of 10,000 posts is used up; it goes on at 00:00 UTC"


def status(state: State = "live", detail: str = "", *, source: str = "x", **fields: object) -> SourceStatus:
    return SourceStatus(source=source, state=state, detail=detail, **fields)  # type: ignore[arg-type]


def nothing(news: News) -> bool:
    return news.source is None and news.rooms == {}


def of_room(sources: Sources, label: str, now: float) -> dict[str, Seconds]:
    return dict(sources.of_room(label, now))


def test_everybody_is_told_when_a_source_changes_and_who_comes_later_if_it_is_not_live() -> None:
    sources = Sources()
    assert sources.hear(status("live"), 0).source == {
        "source": "x",
        "state": "live",
        "detail": "",
        "resumes_in_s": None,
    }
    assert sources.not_live(1) == []
    spent = status("spent", BUDGET, resumes_in_s=3600)
    assert sources.hear(spent, 10).source == {
        "source": "x",
        "state": "spent",
        "detail": BUDGET,
        "resumes_in_s": 3600,
    }
    assert sources.not_live(70) == [{"source": "x", "state": "spent", "detail": BUDGET, "resumes_in_s": 3540}]
    assert nothing(sources.hear(status("spent", BUDGET, resumes_in_s=3530), 80))
    other_words = sources.hear(status("spent", "the monthly budget is used up"), 90).source
    assert other_words is not None
    assert other_words["detail"] == "the monthly budget is used up"
    assert sources.hear(status("live"), 100).source is not None
    assert sources.not_live(100) == []


def test_a_source_that_falls_silent_is_gone_and_what_was_said_of_rooms_with_it() -> None:
    sources = Sources()
    sources.hear(status("away", "no answer", asking={"term.nfl": 40}, not_asked=("term.inf",)), 100)
    sources.hear(status(source="bsky"), 100 + FORGOTTEN_AFTER_S / 2)
    assert sources.forget(99 + FORGOTTEN_AFTER_S) == []
    [gone] = sources.forget(100 + FORGOTTEN_AFTER_S)
    assert gone.source == {"source": "x", "state": "gone", "detail": "", "resumes_in_s": None}
    assert gone.rooms == {"term.nfl": 0, "term.inf": 0}
    assert sources.not_live(120) == []
    assert [row["source"] for row in sources.rows(120)] == ["bsky"]
    assert sources.hear(status("live"), 121).source is not None, "it is back"


def test_a_room_is_told_when_asking_starts_ends_and_takes_longer() -> None:
    sources = Sources()
    assert sources.hear(status(asking={"term.nfl": 39.2}), 0).rooms == {"term.nfl": 40}
    assert of_room(sources, "term.nfl", 10) == {"x": 30}
    assert of_room(sources, "term.nyc", 10) == {}
    assert nothing(sources.hear(status(asking={"term.nfl": 29.2}), 10))
    assert sources.hear(status(asking={"term.nfl": 60}), 20).rooms == {"term.nfl": 60}
    assert sources.hear(status(asking={"term.nyc": 5, "term.nfl": 50}), 30).rooms == {"term.nyc": 5}
    assert sources.hear(status(asking={"term.nfl": 45}), 35).rooms == {"term.nyc": 0}
    assert sources.hear(status(), 40).rooms == {"term.nfl": 0}
    assert of_room(sources, "term.nfl", 40) == {}
    assert nothing(sources.hear(status(asking={"term.nfl": 0, "term.nyc": -1}), 41))


def test_a_countdown_that_has_run_out_is_told_to_nobody_who_comes() -> None:
    sources = Sources()
    sources.hear(status(asking={"term.nfl": 3}), 0)
    assert of_room(sources, "term.nfl", 2.5) == {"x": 1}
    assert of_room(sources, "term.nfl", 3) == {}
    assert sources.rows(3)[0]["asking"] == 0
    assert sources.hear(status(), 5).rooms == {"term.nfl": 0}


def test_a_room_that_a_source_is_not_asked_for_is_told_so() -> None:
    sources = Sources()
    assert sources.hear(status(not_asked=("term.inf",), not_asked_count=1), 0).rooms == {"term.inf": None}
    assert of_room(sources, "term.inf", 1) == {"x": None}
    assert nothing(sources.hear(status(not_asked=("term.inf",), not_asked_count=1), 5))
    assert sources.hear(status(asking={"term.inf": 20}), 10).rooms == {"term.inf": 20}
    assert sources.hear(status(not_asked=("term.inf",)), 15).rooms == {"term.inf": None}
    assert sources.hear(status(), 20).rooms == {"term.inf": 0}
    assert sources.hear(status(asking={"term.inf": 9}, not_asked=("term.inf",)), 25).rooms == {"term.inf": 9}


def test_two_sources_speak_of_one_room() -> None:
    sources = Sources()
    sources.hear(status(source="x", asking={"term.nfl": 40}), 0)
    sources.hear(status(source="y", not_asked=("term.nfl",)), 0)
    assert of_room(sources, "term.nfl", 0) == {"x": 40, "y": None}
    assert sources.hear(status(source="y"), 1).rooms == {"term.nfl": 0}
    assert of_room(sources, "term.nfl", 1) == {"x": 39}


LABELS = st.sampled_from(["all", "term.nfl", "term.nyc", "tag.ai", "has_url"])
STATUSES = st.builds(
    SourceStatus,
    source=st.sampled_from(["x", "bsky"]),
    state=st.sampled_from(["connecting", "live", "away", "spent"]),
    detail=st.sampled_from(["", "no answer", BUDGET, "two\nlines", "y" * 1000]),
    resumes_in_s=st.none() | st.floats(0, 1e6),
    asking=st.dictionaries(LABELS, st.floats(-5, 100)),
    not_asked=st.lists(LABELS, unique=True).map(tuple),
    not_asked_count=st.integers(0, 1000),
)
JITTER = st.lists(st.floats(0, GROWN_S * 0.9), min_size=1, max_size=20)


@given(STATUSES, JITTER)
def test_a_status_that_is_only_repeated_tells_nobody_anything(first: SourceStatus, lateness: list[float]) -> None:
    sources = Sources()
    sources.hear(first, 0)
    ended: set[str] = set()
    for turn, late in enumerate(lateness, 1):
        gone = turn * INTERVAL_S
        # As ingest says it: what has run out is not repeated.
        left = {label: seconds - gone for label, seconds in first.asking.items() if seconds > gone}
        again = SourceStatus(
            source=first.source,
            state=first.state,
            detail=first.detail,
            resumes_in_s=None if first.resumes_in_s is None else max(0, first.resumes_in_s - gone),
            asking=left,
            not_asked=tuple(label for label in first.not_asked if first.asking.get(label, 0) <= 0),
            not_asked_count=first.not_asked_count,
        )
        news = sources.hear(again, gone + late)
        assert news.source is None
        assert set(news.rooms.values()) <= {0}, "the one thing to tell is an end"
        assert not ended & news.rooms.keys(), "and that once"
        ended |= news.rooms.keys()


@given(st.lists(STATUSES, max_size=12))
def test_a_page_that_was_there_all_along_knows_what_one_that_comes_now_is_told(heard: list[SourceStatus]) -> None:
    sources = Sources()
    states: dict[str, tuple[str, str]] = {}
    rooms: dict[tuple[str, str], Seconds] = {}
    for now, one in enumerate(heard):
        news = sources.hear(unpack(pack(one)), now)
        if news.source is not None:
            states[news.name] = news.source["state"], news.source["detail"]
        for label, seconds in news.rooms.items():
            rooms[news.name, label] = None if seconds is None else now + seconds
    now = len(heard) - 1
    told = {one["source"]: (one["state"], one["detail"]) for one in sources.not_live(now)}
    assert {name: state for name, state in states.items() if state[0] != "live"} == told
    for (name, label), until in rooms.items():
        entering = of_room(sources, label, now).get(name, 0)
        if until is None or entering is None:
            assert until is None
            assert entering is None
        elif until > now:
            assert abs(until - now - entering) <= 1, "both count down to about the same moment"
        else:
            assert entering == 0


def test_what_people_are_told_is_one_line_of_bearable_length() -> None:
    sources = Sources()
    news = sources.hear(status("away", "  first\r\n\tsecond" + "x" * 10_000), 0)
    assert news.source is not None
    assert news.source["detail"].startswith("first second")
    assert len(news.source["detail"]) == 300


@pytest.mark.parametrize(
    "mad",
    [
        {"source": ""},
        {"source": "x" * 51},
        {"asking": {"term.nfl": math.nan}},
        {"asking": {"term.nfl": math.inf}},
        {"resumes_in_s": -math.inf},
    ],
)
def test_what_can_not_be_meant_is_unreadable_and_changes_nothing(mad: dict[str, object]) -> None:
    sources = Sources()
    with pytest.raises(UnreadableError):
        sources.hear(status(**({"source": "x"} | mad)), 0)  # type: ignore[arg-type]
    assert len(sources) == 0


def test_so_many_sources_and_no_more() -> None:
    sources = Sources()
    for number in range(MOST_SOURCES):
        sources.hear(status(source=f"source {number}"), 0)
    with pytest.raises(UnreadableError):
        sources.hear(status(source="one too many"), 1)
    sources.hear(status(source="source 7"), 2)
    sources.forget(FORGOTTEN_AFTER_S + 1)
    assert len(sources) == 1
    sources.hear(status(source="one too many"), FORGOTTEN_AFTER_S + 2)


def test_thousands_of_labels_are_cheap() -> None:
    sources = Sources()
    labels = [f"term.label {number}" for number in range(10_000)]
    bodies = [pack(status(asking=dict.fromkeys(labels, 40.0 - turn))) for turn in range(20)]
    sources.hear(unpack(bodies[0]), 0)
    began = time.process_time()
    for turn, body in enumerate(bodies):
        assert sources.hear(unpack(body), turn).rooms == {}
    assert (time.process_time() - began) / len(bodies) < 0.1
    assert of_room(sources, labels[-1], 20) == {"x": 20}


def test_the_list_of_sources_counts_and_names() -> None:
    sources = Sources()
    labels = tuple(f"term.{number}" for number in range(60))
    sources.hear(status(asking={"term.nfl": 40, "term.nyc": 3}, not_asked=labels, not_asked_count=70), 0)
    sources.hear(status("connecting", source="bsky"), 0)
    assert sources.rows(5) == [
        {
            "source": "bsky",
            "state": "connecting",
            "detail": "",
            "resumes_in_s": None,
            "asking": 0,
            "not_asked": 0,
            "not_asked_labels": [],
        },
        {
            "source": "x",
            "state": "live",
            "detail": "",
            "resumes_in_s": None,
            "asking": 1,
            "not_asked": 70,
            "not_asked_labels": list(labels[:MOST_NAMED]),
        },
    ]


def test_make_status_has_a_line_for_each_source() -> None:
    sources = Sources()
    sources.hear(status(source="bsky"), 0)
    many = tuple(f"term.in{number}" for number in range(12))
    sources.hear(status("spent", BUDGET, asking={"a": 9}, not_asked=many, not_asked_count=12), 0)
    sources.hear(status("away", "\x1b[2Jno\u202e answer", source="y", not_asked=("term.inf",)), 0)
    assert lines({"sources": sources.rows(0)}) == [
        "source   bsky: live",
        f"source   x: spent – {BUDGET}; asking for 1 label; "
        "not asked for 12 labels: term.in0, term.in1, term.in2, term.in3, term.in4, …",
        "source   y: away –  [2Jno  answer; not asked for 1 label: term.inf",
    ]


@pytest.mark.parametrize("answer", [None, [], {}, {"sources": None}, {"sources": [None, 5]}, "x"])
def test_make_status_says_nothing_of_what_is_no_answer(answer: object) -> None:
    assert lines(answer) == []
