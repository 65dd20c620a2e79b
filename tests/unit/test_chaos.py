"""The chaos run's own parts: its verdict sees red, its load is what it says, its clients ask as pages do."""

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.sources.bluesky_api.payload import read_message
from shared.events import Tweet
from shared.labels import Facets, parse_path
from tests.chaos.client import BACKFILL, ON_PAGE, Membership
from tests.chaos.clients import memberships, rooms_of
from tests.chaos.level import Wait, windows, worst
from tests.chaos.posts import Change, World, call_number
from tests.chaos.records import Delivery, Fault, Gap, Join, Version, Writer, read
from tests.chaos.report import Report
from tests.chaos.rooms import NUMBER, ROOMS
from tests.chaos.verdict import Verdict, judge
from tests.support.jetstream_server import commit, record, tid

ROOM, OTHER = 3, 4
JOINED = Join(client=1, room=ROOM, at=10.0)
SOON = 0.01


def version(at: float, id: str = "a", *, gone: bool = False, rooms: tuple[int, ...] = (ROOM,)) -> Version:
    """One that is made at a moment; its text is as its moment."""
    rooms, check = ((), 0) if gone else (rooms, round(at * 1000))
    return Version(at, round(at * 1e6), id, round(at * 1000), gone, rooms, check)


def had(of: Version, *, at: float | None = None, connection: int = 1) -> Delivery:
    """Client 1 is sent it, soon if no moment is given."""
    moment = of.at + SOON if at is None else at
    return Delivery(1, connection, ROOM, moment, of.id, of.mtime, of.gone, of.check)


def verdict(
    versions: Iterable[Version],
    deliveries: Iterable[Delivery],
    *,
    gaps: list[Gap] | None = None,
    faults: list[Fault] | None = None,
    history: bool = True,
) -> Verdict:
    return judge(
        versions=versions,
        deliveries=deliveries,
        gaps=gaps or [],
        joins=[JOINED],
        faults=faults or [],
        history=history,
    )


def found(of: Verdict) -> dict[str, int]:
    return {what: number for what, number in of.counts.items() if number}


# What was lost


def test_who_had_everything_lost_nothing() -> None:
    created, changed = version(11), version(13)
    ended = version(15, "b", gone=True)
    born = version(12, "b")
    all_of_it = [created, born, changed, ended]
    result = verdict([*all_of_it, version(14, "elsewhere", rooms=(OTHER,))], map(had, all_of_it))
    assert (found(result), result.ok) == ({}, True)


def test_a_tweet_that_did_not_come_is_lost() -> None:
    tweets = [version(11, "a"), version(12, "b"), version(13, "c")]
    result = verdict(tweets, [had(tweets[0]), had(tweets[2])])
    assert (result.lost, found(result), result.ok) == (1, {"missing": 1}, False)
    assert result.examples[0][1:3] == (1, ROOM)


def test_an_edit_that_did_not_come_is_lost() -> None:
    created, changed = version(11), version(12)
    assert found(verdict([created, changed], [had(created)])) == {"outdated": 1}


def test_an_edit_that_took_the_tweet_out_of_the_room_is_for_those_who_saw_it() -> None:
    created, changed = version(11), version(12, rooms=(OTHER,))
    assert found(verdict([created, changed], [had(created)])) == {"outdated": 1}
    assert verdict([created, changed], [had(created), had(changed)]).ok


def test_an_edit_that_brought_a_tweet_into_the_room_is_new_there() -> None:
    created, changed = version(11, rooms=(OTHER,)), version(12)
    assert found(verdict([created, changed], [])) == {"missing": 1}
    assert verdict([created, changed], [had(changed)]).ok


def test_a_deletion_that_did_not_come_is_lost() -> None:
    created, ended = version(11), version(12, gone=True)
    assert found(verdict([created, ended], [had(created)])) == {"undead": 1}


def test_late_copies_of_older_versions_change_nothing() -> None:
    created, changed, ended = version(11), version(12), version(13, gone=True)
    disorder = [had(ended, at=14), had(changed, at=15), had(created, at=16)]
    assert verdict([created, changed, ended], disorder).ok


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=20), st.data())
def test_whichever_last_word_is_left_out_it_is_missed(ids: list[str], data: st.DataObject) -> None:
    all_of_it = [version(11 + number, id) for number, id in enumerate(ids)]
    all_of_it += [version(40 + number, id, gone=True) for number, id in enumerate(dict.fromkeys(ids)) if number % 2]
    assert verdict(all_of_it, map(had, all_of_it)).ok
    id = data.draw(st.sampled_from(ids))
    last = max(one for one in all_of_it if one.id == id)
    result = verdict(all_of_it, [had(one) for one in all_of_it if one is not last])
    only = sum(one.id == id for one in all_of_it) == 1
    assert found(result) == {"missing" if only else "undead" if last.gone else "outdated": 1}


def test_what_passed_by_while_something_was_down_is_nobodys_loss() -> None:
    born, ended = version(20), version(22, gone=True)
    late = version(19.5, "b")
    fault = Fault("gateway", 19.0)
    down = verdict([born, ended, late], [had(late, at=25)], faults=[fault])
    assert (found(down), down.ok) == ({"passed": 1}, True)
    calm = verdict([born, ended, late], [had(late)], faults=[fault._replace(at=5.0)])
    assert found(calm) == {"missing": 1}


def test_who_comes_is_told_how_things_are_and_not_how_they_were() -> None:
    gone_before, changed_before = version(5, "a"), version(6, "b")
    still_there = version(7, "c")
    versions = [gone_before, changed_before, still_there, version(8, "a", gone=True), version(8, "b", rooms=(OTHER,))]
    history = had(version(4, "d"), at=9.9)
    assert verdict([*versions, version(4, "d")], [history, had(still_there, at=9.9)]).ok
    assert found(verdict([*versions, version(4, "d")], [history])) == {"missing": 1}


# The seam between history and what is live


def test_nothing_is_missing_from_the_first_tweet_of_the_history_on() -> None:
    tweets = [version(number, f"t{number}") for number in range(5, 15)]
    history = [had(one, at=9.9) for one in tweets if 7 <= one.at < 10]
    live = [had(one) for one in tweets if one.at >= 10]
    assert verdict(tweets, history + live).ok
    assert found(verdict(tweets, history[:1] + history[2:] + live)) == {"missing": 1}
    assert found(verdict(tweets, history + live[1:])) == {"missing": 1}


def test_without_a_history_nothing_is_missing_once_the_room_is_known_to_all() -> None:
    tweets = [version(10.5, "early"), version(12, "later")]
    assert verdict(tweets, [had(tweets[1])], history=False).ok
    assert found(verdict(tweets, [had(tweets[0])], history=False)) == {"missing": 1}


# What was doubled, or never was


def test_a_version_comes_once_on_a_connection() -> None:
    tweet = version(11)
    assert found(verdict([tweet], [had(tweet), had(tweet, at=12)])) == {"doubled": 1}
    assert verdict([tweet], [had(tweet), had(tweet, at=12, connection=2)]).ok


@pytest.mark.parametrize(
    "delivery",
    [
        had(version(12, "nobody wrote it")),
        had(version(12, "elsewhere", rooms=(OTHER,))),
        had(version(11))._replace(check=1),
        had(version(11.5)),
    ],
    ids=["unheard of", "of another room", "with another text", "in no such version"],
)
def test_what_never_was_is_strange(delivery: Delivery) -> None:
    there_is = [version(11), version(12, "elsewhere", rooms=(OTHER,))]
    result = verdict(there_is, [had(there_is[0]), delivery])
    assert result.counts["strange"] >= 1
    assert not result.ok


# Gaps


def test_a_gap_has_no_reason_where_there_is_a_history() -> None:
    tweet = version(11)
    gap = Gap(1, ROOM, 12.0, None, None)
    fault = Fault("gateway", 11.9)
    assert found(verdict([tweet], [had(tweet)], gaps=[gap], faults=[fault])) == {"gap": 1}
    assert verdict([tweet], [had(tweet)], gaps=[gap], faults=[fault], history=False).ok
    assert found(verdict([tweet], [had(tweet)], gaps=[gap], history=False)) == {"gap": 1}
    assert judge(
        versions=[tweet], deliveries=[had(tweet)], gaps=[gap], joins=[JOINED], faults=[], overloaded_until=12.5
    ).ok


def test_what_a_gap_has_told_of_is_not_lost_without_a_word() -> None:
    before, within, after = version(30, "a"), version(70, "b"), version(110, "c")
    gap = Gap(1, ROOM, 75.0, 65_000_000, 71_000_000)
    told = verdict([before, within, after], [had(before), had(after)], gaps=[gap], history=False)
    assert found(told) == {"told": 1, "gap": 1}
    not_told = verdict([before, within, after], [], gaps=[gap], history=False)
    assert found(not_told) == {"told": 1, "missing": 2, "gap": 1}


# How long it took


def test_a_fault_is_over_when_nobody_waits_any_more() -> None:
    faults = [Fault("gateway", 100), Fault("router", 110), Fault("gateway", 120)]
    waits = [Wait(99.9, 103.5), Wait(101, 102.5), Wait(111, 111.2), Wait(121, 126)]
    measured = windows(faults, waits)
    assert [round(window.level_s, 3) for window in measured] == [3.5, 0, 6]
    assert worst(measured) == {"gateway": 6.0, "router": 0.0}
    assert worst(windows(faults[:1], [Wait(101, math.inf)])) == {"gateway": None}


def test_the_verdict_measures_how_late_tweets_came() -> None:
    tweets = [version(20, "a"), version(21, "b"), version(30, "c")]
    came = [had(tweets[0], at=24), had(tweets[1], at=24), had(tweets[2])]
    result = verdict(tweets, came, faults=[Fault("broker", 19.5)])
    assert [window.level_s for window in result.windows] == [4.5]
    assert result.ok
    lost = verdict(tweets, came[1:], faults=[Fault("broker", 19.5)])
    assert worst(lost.windows) == {"broker": None}


# The report


def report(of: Verdict) -> Report:
    return Report(
        verdict=of, seconds=60.2, posts=60_000, per_s=1000, clients=200, deliveries=9, ended={}, level_at_the_end=True
    )


def test_the_last_line_says_what_was_lost_and_how_long_it_took() -> None:
    tweets = [version(20, "a"), version(21, "b")]
    result = report(verdict(tweets, [had(tweets[0], at=23)], faults=[Fault("ingest", 19.5)], history=False))
    figures = json.loads(json.dumps(result.figures()))
    assert (figures["lost"], figures["doubled"], figures["gaps"]) == (1, 0, 0)
    assert figures["level_s"] == {"ingest": None}
    assert not result.ok
    text = result.text()
    assert "1 missing" in text
    assert f"/{ROOMS[ROOM].name}" in text


def test_a_service_that_ended_by_itself_is_no_success() -> None:
    good = report(verdict([], []))
    assert good.ok
    assert not replace(good, ended={"router-0": [1]}).ok
    assert not replace(good, level_at_the_end=False).ok


# The load


def message(change: Change, us: int) -> dict[str, Any]:
    body = None if change.operation == "delete" else record(change.content.text, us, **change.content.fields)
    return commit(change.post.author, change.post.rkey, tid(us), change.operation, body) | {"time_us": us}


def test_posts_are_in_the_rooms_that_the_ledger_says() -> None:
    world, begin_us = World(), 1_795_387_660_163_076
    moments = itertools.count()
    changes: list[Change] = []
    for now in range(0, 200):
        changes += [world.create(now, begin_us + next(moments)) for _ in range(10)]
        changes += world.changes(now)
    changes.append(world.roll_call(begin_us + next(moments)))
    labels = [parse_path(room.name) for room in ROOMS]
    for change in changes:
        event = read_message(json.dumps(message(change, begin_us + next(moments))).encode()).event
        assert event is not None
        assert event.id == change.post.id
        if isinstance(event, Tweet):
            facets = Facets.of(event)
            assert tuple(sorted(change.post.rooms)) == tuple(
                n for n, label in enumerate(labels) if label.matches(facets)
            )
    kinds = [change.operation for change in changes]
    assert 0.03 < kinds.count("update") / kinds.count("create") < 0.07
    assert 0.03 < kinds.count("delete") / kinds.count("create") < 0.07
    assert len({room.name for room in ROOMS}) == NUMBER
    assert call_number(changes[-1].content.text) == 1
    assert all(call_number(change.content.text) is None for change in changes[:-1])


def test_a_change_comes_after_what_it_changes_and_nothing_after_the_end() -> None:
    world = World()
    seen: dict[str, tuple[int, str]] = {}
    us = itertools.count(1_795_387_660_163_076)
    for now in range(300):
        for change in [*world.changes(now), *(world.create(now, next(us)) for _ in range(5))]:
            version, operation = seen.get(change.post.id, (-1, ""))
            assert operation != "delete"
            assert change.post.version == (version if change.operation == "delete" else version + 1)
            seen[change.post.id] = change.post.version, change.operation


# Clients


def test_half_of_the_rooms_have_somebody_on_each_of_two_gateways() -> None:
    gateways: dict[int, set[int]] = {}
    for number in range(200):
        for room in rooms_of(number):
            gateways.setdefault(room, set()).add(number % 2)
    assert len(gateways) == NUMBER
    assert sum(len(on) == 2 for on in gateways.values()) == NUMBER // 2
    assert memberships(200) == 300


def test_a_client_asks_for_history_first_and_then_for_what_it_missed() -> None:
    membership = Membership(ROOM)
    name = ROOMS[ROOM].name
    assert membership.request() == {"room": name, "backfill": BACKFILL}
    membership.shown("a", 5, 70, "one")
    membership.shown("b", 6, 60, "two")
    membership.shown("a", 8, 80, "three")
    membership.gone("b")
    assert membership.request() == {"room": name, "since": 80, "documents": {"a": 8}}
    for number in range(ON_PAGE):
        membership.shown(f"c{number}", 9, 90 + number, "more")
    assert len(membership.page) == ON_PAGE
    assert "a" not in membership.page


def test_a_client_knows_up_to_which_roll_call_it_has_heard_all() -> None:
    membership = Membership(ROOM)
    for number, heard in ((4, 4), (5, 5), (7, 5), (8, 5), (6, 8), (5, 8)):
        membership.shown(f"call {number}", 1, number, f"roll call {number} for all")
        assert membership.heard == heard
    membership.told_of_gap()
    membership.shown("call 11", 1, 11, "roll call 11 for all")
    assert membership.heard == 11


def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    rows = [version(11), version(12, gone=True)]
    with (tmp_path / "versions").open("wb") as file:
        notes: Writer[Version] = Writer(file)
        for row in rows:
            notes.note(row)
    assert list(read(Version, tmp_path / "versions")) == rows
