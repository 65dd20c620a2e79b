"""What somebody is told who enters a room, from what the gateway has in memory."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.gateway import frames
from services.gateway.arrivals import BUFFER_SHARE, Arrivals
from services.gateway.auth import EVERYTHING, Grant
from services.gateway.catchup import OVERLAP_US, CatchUp
from services.gateway.connection import Connection
from services.gateway.rooms import Room
from services.gateway.wishes import Wish
from shared.events import Destroy, Event, to_document
from shared.labels import Label
from tests.support.tweets import deleted, edited, tweet
from tests.unit.newcomer import Newcomer
from tests.unit.parts import Parts

SECOND = 1_000_000
NOW = 1_000 * SECOND


class Story:
    """A room of which tweets are known."""

    def __init__(self, send_buffer_bytes: int = 1_000_000) -> None:
        self.room: Room[Connection] = Room(Label("term", "nfl"))
        parts = Parts()
        self.versions = parts.versions
        self.arrivals = Arrivals(
            cast(CatchUp, SimpleNamespace(newest=None)),
            parts.versions,
            parts.outbox,
            parts.followers,
            send_buffer_bytes=send_buffer_bytes,
        )
        self.now = NOW

    def happens(self, *events: Event, matches: bool = True) -> None:
        for event in events:
            self.now += SECOND
            rooms = [self.room] if matches and not isinstance(event, Destroy) else []
            self.versions.apply(to_document(event, self.now), rooms)

    def comes(self, grant: Grant = EVERYTHING, **wish: Any) -> Newcomer:
        newcomer = Newcomer(grant)
        self.arrivals.tell(cast(Connection, newcomer), self.room, Wish("nfl", **wish))
        return newcomer


def test_who_asks_for_nothing_is_told_nothing() -> None:
    story = Story()
    story.happens(tweet("nfl 1"))
    assert story.comes().told == []


def test_the_newest_come_oldest_first_each_as_it_is_now() -> None:
    story = Story()
    changed, gone = tweet("nfl 2"), tweet("nfl 3")
    story.happens(tweet("nfl 1"), changed, gone, tweet("nfl 4"), edited(changed, "nfl 22"), deleted(gone))
    assert story.comes(backfill=2).short() == ["newTweet nfl 4", "newTweet nfl 22"]


def test_who_comes_back_is_told_what_it_lacks_and_not_what_it_has() -> None:
    story = Story()
    kept, changed, gone = tweet("nfl 1"), tweet("nfl 2"), tweet("nfl 3")
    story.happens(kept, changed, gone)
    story.room.recent.covered(story.room.recent.asking(), 0, None)
    since = story.now
    held = {one.id: one.mtime for one in (kept, changed, gone)}
    story.happens(edited(changed, "nfl 22"), deleted(gone), tweet("nfl 4"))
    back = story.comes(since=since, documents=held)
    assert back.short() == ["updateTweet nfl 22", "newTweet nfl 4", "destroyTweet"]
    assert back.told[-1][1].keys() == {"id", "mtime"}


def test_tweets_a_little_older_than_the_last_one_seen_may_have_come_late() -> None:
    story = Story()
    story.happens(tweet("nfl too old"))
    story.now += OVERLAP_US
    story.happens(tweet("nfl late"), tweet("nfl seen"))
    story.room.recent.covered(story.room.recent.asking(), 0, None)
    assert story.comes(since=story.now).short() == ["newTweet nfl late", "newTweet nfl seen"]


def test_of_what_it_holds_it_hears_from_then_on() -> None:
    story = Story()
    held = tweet("nfl held")
    story.versions.apply(to_document(held, NOW), [])
    assert story.comes(documents={held.id: held.mtime}).told == []
    [delivery] = story.versions.apply(to_document(deleted(held), NOW + 1), [])
    assert delivery.view is story.room


@pytest.mark.parametrize("since", [NOW - 10 * SECOND, NOW + SECOND])
def test_where_memory_does_not_reach_back_so_far_there_is_a_gap_first(since: int) -> None:
    story = Story()
    story.room.recent.covered(story.room.recent.asking(), NOW, None)
    story.happens(tweet("nfl 1"))
    back = story.comes(since=since)
    if since < NOW:
        assert back.told[0] == ("gap", {"missed": None, "from": since, "to": NOW})
    assert back.short()[-1] == "newTweet nfl 1"
    assert len(back.told) == (2 if since < NOW else 1)


def test_what_the_archive_lacks_is_a_gap_for_whom_it_concerns() -> None:
    story = Story()
    story.room.recent.covered(story.room.recent.asking(), NOW, (NOW + 2 * SECOND, NOW + 3 * SECOND))
    story.happens(tweet("nfl 1"), tweet("nfl 4"))
    assert story.comes(since=NOW).told[0] == (
        "gap",
        {"missed": None, "from": NOW + 2 * SECOND, "to": NOW + 3 * SECOND},
    )
    assert "gap" not in story.comes(since=NOW + 4 * SECOND).short()
    assert story.comes(backfill=2).short()[0] == "gap"


def test_what_does_not_fit_is_counted_and_the_newest_are_told() -> None:
    room_for = 10
    size = len(frames.json(to_document(tweet("nfl 00"), NOW)))
    story = Story(send_buffer_bytes=int((room_for + 0.5) * size / BUFFER_SHARE))
    story.room.recent.covered(story.room.recent.asking(), 0, None)
    story.happens(*(tweet(f"nfl {number:02}") for number in range(30)))
    gone = tweet("nfl gone")
    story.happens(gone, deleted(gone))
    back = story.comes(since=NOW, documents={gone.id: gone.mtime})
    name, gap = back.told[0]
    assert name == "gap"
    told = [one for one in back.short() if one.startswith("newTweet")]
    assert gap["missed"] == 30 - len(told)
    assert gap["to"] == story.now - (len(told) + 1) * SECOND
    assert room_for - 2 <= len(told) <= room_for
    assert told[-1] == "newTweet nfl 29"
    assert back.short()[-1] == "destroyTweet", "deletions are told in any case"


def test_what_does_not_fit_and_has_come_before_is_no_gap() -> None:
    story = Story(send_buffer_bytes=4000)
    story.room.recent.covered(story.room.recent.asking(), 0, None)
    story.happens(*(tweet(f"nfl {number:02}") for number in range(20)))
    since = story.now
    story.happens(tweet("nfl missed"))
    back = story.comes(since=since)
    assert "gap" not in back.short()
    assert back.short()[-1] == "newTweet nfl missed"


def test_what_has_become_of_what_is_held_is_told_whatever_fits() -> None:
    story = Story(send_buffer_bytes=1000)
    story.room.recent.covered(story.room.recent.asking(), 0, None)
    held = [tweet(f"nfl {number}") for number in range(10)]
    story.happens(*held)
    since = story.now
    story.happens(*(edited(one, "nfl edited") for one in held))
    back = story.comes(since=since, documents={one.id: one.mtime for one in held})
    assert back.short() == ["updateTweet nfl edited"] * 10


def test_a_token_shows_no_tweet_beside_its_rooms_whoever_names_it() -> None:
    story = Story()
    secret, open_to_all = tweet("nothing of it"), tweet("nfl")
    story.versions.apply(to_document(secret, NOW), [])
    story.versions.apply(to_document(open_to_all, NOW + 1), [])
    grant = Grant(everything=False, labels=frozenset({story.room.label}))
    back = story.comes(grant, documents={secret.id: 0, open_to_all.id: 0, "x:unknown": 0})
    assert back.short() == ["updateTweet nfl"]
    known = story.versions.get(secret.id)
    assert known is not None
    assert story.room not in known.shown
