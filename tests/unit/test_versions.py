"""Versions: whatever the order of arrival, every room ends up the same, and what was deleted is gone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.gateway.rooms import Room
from services.gateway.versions import Delivery, Versions
from shared.events import Action
from shared.labels import Label

ROOMS = 4
RANKS = ["create", "update", "destroy"]


@dataclass(frozen=True)
class Event:
    """One version of a tweet and the numbers of the rooms that it matches."""

    id: str
    action: str
    mtime: int
    rooms: frozenset[int] = frozenset()

    @property
    def version(self) -> tuple[int, int]:
        return self.mtime, RANKS.index(self.action)

    @property
    def document(self) -> dict[str, Any]:
        document = {"action": self.action, "id": self.id, "mtime": self.mtime, "seq": 1}
        return document if self.action == "destroy" else document | {"text": f"{self.action} {self.mtime}"}


class Browser:
    """A page open on every room: shows what it is told, and objects to what makes no sense."""

    def __init__(self) -> None:
        self.shown: dict[tuple[int, str], tuple[int, int]] = {}
        self.gone: set[str] = set()

    def told(self, delivery: Delivery[Room[str]], room: int) -> None:
        document = orjson.loads(delivery.json)
        place = room, document["id"]
        if delivery.action is Action.DESTROY:
            assert set(document) == {"id", "mtime"}
            assert place in self.shown, "a page is told to remove only what it shows"
            del self.shown[place]
            self.gone.add(document["id"])
            return
        assert document["id"] not in self.gone, "what was destroyed stays gone"
        version = document["mtime"], RANKS.index(document["action"])
        if delivery.action is Action.CREATE:
            assert place not in self.shown, "a tweet is new to a room once"
        else:
            assert self.shown[place] < version, "a change follows what it changes, and is newer"
        self.shown[place] = version


@st.composite
def histories(draw: st.DrawFn, name: str) -> list[Event]:
    """The life of one tweet: a create, some updates, maybe a destroy; several may fall on one moment."""
    rooms = st.frozensets(st.integers(0, ROOMS - 1))
    moments = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True).map(sorted))
    life = [Event(name, "create", draw(st.sampled_from([moments[0], moments[0] - 1])), draw(rooms))]
    life += [Event(name, "update", moment, draw(rooms)) for moment in moments[: draw(st.integers(0, 4))]]
    if draw(st.booleans()):
        life.append(Event(name, "destroy", draw(st.integers(life[-1].mtime, 7))))
    return life


def copies_of(event: Event, draw: st.DrawFn) -> list[Event]:
    """The messages that bring an event: split by labels, repeated, each with some of its rooms, together all."""
    parts = draw(
        st.lists(
            st.frozensets(st.sampled_from(sorted(event.rooms))) if event.rooms else st.just(frozenset()), max_size=2
        )
    )
    rest = event.rooms.difference(*parts)
    return [Event(event.id, event.action, event.mtime, part) for part in [*parts, rest]]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """(what happened, what arrives): some histories, and all their copies in any order."""
    happened = [event for name in draw(st.sampled_from(["a", "ab"])) for event in draw(histories(name))]
    arriving = [copy for event in happened for copy in copies_of(event, draw)]
    return happened, draw(st.permutations(arriving))


def ends_with(happened: Sequence[Event]) -> dict[tuple[int, str], tuple[int, int]]:
    """The definition: each room that a version of a tweet matched shows the newest, unless it was destroyed."""
    shown = {}
    for name in {event.id for event in happened}:
        life = [event for event in happened if event.id == name]
        newest = max(life, key=lambda event: event.version)
        if newest.action != "destroy":
            for room in frozenset().union(*(event.rooms for event in life)):
                shown[room, name] = newest.version
    return shown


def play(arriving: Sequence[Event], versions: Versions[Room[str]]) -> Browser:
    rooms = [Room[str](Label.of("term", f"room {number}")) for number in range(ROOMS)]
    browser = Browser()
    for event in arriving:
        for delivery in versions.apply(event.document, [rooms[number] for number in sorted(event.rooms)]):
            browser.told(delivery, rooms.index(delivery.view))
    return browser


ROOM_0, ROOM_1 = frozenset({0}), frozenset({1})


class TestEveryOrder:
    @settings(deadline=None, max_examples=150)
    @given(arrivals())
    @example(([Event("a", "create", 1, ROOM_0), Event("a", "update", 2, ROOM_1)],) * 2)
    @example(
        (
            [Event("a", "create", 1, ROOM_0), Event("a", "update", 2, ROOM_1)],
            [Event("a", "update", 2, ROOM_1), Event("a", "create", 1, ROOM_0)],
        )
    )
    @example(
        (
            [Event("a", "create", 1, ROOM_0), Event("a", "destroy", 1)],
            [Event("a", "destroy", 1), Event("a", "create", 1, ROOM_0)],
        )
    )
    def test_all_end_as_the_definition_says(self, case: tuple[list[Event], list[Event]]) -> None:
        happened, arriving = case
        assert play(arriving, Versions[Room[str]](100)).shown == ends_with(happened)

    @settings(deadline=None, max_examples=100)
    @given(arrivals(), st.data())
    def test_half_of_it_ends_as_if_the_other_half_had_not_happened(
        self, case: tuple[list[Event], list[Event]], data: st.DataObject
    ) -> None:
        """At each moment the pages are right for what has arrived: nothing waits for what may never come."""
        _, arriving = case
        part = arriving[: data.draw(st.integers(0, len(arriving)))]
        assert play(part, Versions[Room[str]](100)).shown == ends_with(part)

    def test_every_copy_repeated_a_hundred_times_changes_nothing_more(self) -> None:
        life = [
            Event("a", "create", 1, frozenset({0, 1})),
            Event("a", "update", 1, ROOM_1),
            Event("a", "update", 2, frozenset({2})),
            Event("a", "destroy", 2),
        ]
        chance = random.Random(1)
        for _ in range(100):
            arriving = life * 3
            chance.shuffle(arriving)
            assert play(arriving, Versions[Room[str]](100)).shown == {}


class TestOneByOne:
    def setup_method(self) -> None:
        self.versions = Versions[Room[str]](100)
        self.nfl, self.nyc = Room[str](Label.of("term", "nfl")), Room[str](Label.of("term", "nyc"))

    def apply(self, action: str, mtime: int, *rooms: Room[str], id: str = "a") -> list[tuple[Action, Room[str], int]]:
        deliveries = self.versions.apply(Event(id, action, mtime).document, rooms)
        return [(delivery.action, delivery.view, orjson.loads(delivery.json)["mtime"]) for delivery in deliveries]

    def test_a_tweet_is_new_to_the_rooms_that_it_matches(self) -> None:
        assert self.apply("create", 1, self.nfl, self.nyc) == [
            (Action.CREATE, self.nfl, 1),
            (Action.CREATE, self.nyc, 1),
        ]

    def test_a_second_copy_reaches_only_the_room_that_the_first_lacked(self) -> None:
        self.apply("create", 1, self.nfl)
        assert self.apply("create", 1, self.nfl, self.nyc) == [(Action.CREATE, self.nyc, 1)]

    def test_an_edit_that_lost_the_term_changes_the_tweet_where_it_is_shown(self) -> None:
        self.apply("create", 1, self.nfl)
        assert self.apply("update", 2) == [(Action.UPDATE, self.nfl, 2)]

    def test_an_edit_that_gained_a_term_is_new_there(self) -> None:
        self.apply("create", 1, self.nfl)
        assert self.apply("update", 2, self.nyc) == [(Action.UPDATE, self.nfl, 2), (Action.CREATE, self.nyc, 2)]

    def test_an_edit_of_an_unknown_tweet_is_new_where_it_matches(self) -> None:
        assert self.apply("update", 2, self.nfl) == [(Action.CREATE, self.nfl, 2)]

    def test_the_original_after_its_edit_shows_the_edit(self) -> None:
        self.apply("update", 2)
        assert self.apply("create", 1, self.nfl) == [(Action.CREATE, self.nfl, 2)]

    def test_at_the_same_moment_an_edit_outranks_the_original_and_the_end_outranks_both(self) -> None:
        self.apply("update", 1, self.nfl)
        assert self.apply("create", 1, self.nfl) == []
        assert self.apply("destroy", 1) == [(Action.DESTROY, self.nfl, 1)]
        assert self.apply("update", 1, self.nfl) == []

    def test_what_is_older_than_what_was_seen_is_not_shown(self) -> None:
        self.apply("create", 2, self.nfl)
        assert self.apply("create", 1, self.nfl, self.nyc) == []

    def test_the_end_reaches_exactly_the_rooms_that_show_it(self) -> None:
        self.apply("create", 1, self.nfl)
        assert self.apply("destroy", 2, self.nfl, self.nyc) == [(Action.DESTROY, self.nfl, 2)]
        assert self.apply("destroy", 2, self.nfl) == []

    def test_the_end_of_an_unknown_tweet_keeps_it_from_coming(self) -> None:
        assert self.apply("destroy", 2, self.nfl) == []
        assert self.apply("create", 1, self.nfl) == []
        assert self.apply("update", 1, self.nyc) == []

    def test_a_room_opened_again_has_not_seen_what_the_old_one_showed(self) -> None:
        self.apply("create", 1, self.nfl)
        reopened = Room[str](self.nfl.label)
        assert (Action.CREATE, reopened, 2) in self.apply("update", 2, reopened)
        assert self.apply("update", 3).count((Action.UPDATE, reopened, 3)) == 1


class TestMemory:
    @settings(deadline=None, max_examples=100)
    @given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from(RANKS), st.integers(0, 9)), max_size=30))
    def test_never_more_than_the_limit_is_remembered(self, limit: int, events: list[tuple[str, int]]) -> None:
        versions, room = Versions[Room[str]](limit), Room[str](Label("all"))
        names = set()
        for action, number in events:
            names.add(number)
            versions.apply(Event(f"x:{number}", action, 1).document, [room])
            assert len(versions) <= min(limit, len(names))

    def test_the_oldest_is_forgotten_first_and_then_counts_as_new(self) -> None:
        versions, room = Versions[Room[str]](2), Room[str](Label("all"))
        for name in "abc":
            versions.apply(Event(name, "create", 1).document, [room])
        assert len(versions) == 2
        assert versions.apply(Event("b", "create", 1).document, [room]) == []
        assert versions.apply(Event("c", "create", 1).document, [room]) == []
        [again] = versions.apply(Event("a", "create", 1).document, [room])
        assert again.action is Action.CREATE

    def test_the_past_that_people_look_back_on_pushes_out_only_itself(self) -> None:
        versions, room = Versions[Room[str]](10), Room[str](Label("all"))
        for number in range(5):
            versions.apply(Event(f"live:{number}", "create", 1).document, [room])
        for number in range(100):
            versions.apply(Event(f"past:{number}", "create", 1).document, [room], from_past=True)
        assert len(versions) == 10
        assert all(versions.get(f"live:{number}") for number in range(5))
        for number in range(100, 120):
            versions.apply(Event(f"live:{number}", "create", 1).document, [room])
        assert [bool(versions.get(f"past:{number}")) for number in range(100)] == [False] * 100
