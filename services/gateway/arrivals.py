"""What somebody is told who enters a room: its last tweets, or what has happened while one was away."""

from typing import Any, NamedTuple

import orjson

from services.gateway import frames
from services.gateway.catchup import OVERLAP_US, CatchUp
from services.gateway.connection import Connection
from services.gateway.fanout import Fanout
from services.gateway.rooms import Room
from services.gateway.versions import Known, Versions
from services.gateway.wishes import Wish
from shared import metrics
from shared.events import UnreadableError
from shared.history import Place
from shared.labels import Facets, Label

BACKFILL_PATIENCE_S = 3.0
"""How long who opens a page waits for an archive that was there before."""

RESUME_PATIENCE_S = 8.0
"""How long who comes back waits for it: what it does not get now it is told to have missed."""

BUFFER_SHARE = 0.5
"""The past may fill so much of what may wait for a client; the rest is for what comes meanwhile."""


class _Tweet(NamedTuple):
    place: Place
    name: str
    """Of the event."""
    json: bytes


class _Past(NamedTuple):
    new: list[_Tweet]
    """Those that are not held."""
    changed: list[_Tweet]
    """Those that are held in an older version."""
    gone: list[bytes]
    """Those that are held and were destroyed."""


class Arrivals:
    """Tells those who enter a room of its past, and in the same turn of the loop makes them hear what comes next.

    So nothing lies between the two, and nothing is in both.
    """

    def __init__(
        self, catchup: CatchUp, versions: Versions[Connection], fanout: Fanout, *, send_buffer_bytes: int
    ) -> None:
        self._catchup = catchup
        self._fanout = fanout
        self._versions = versions
        self._budget = int(send_buffer_bytes * BUFFER_SHARE)

    async def prepare(self, room: Room[Connection], wish: Wish) -> None:
        """Have in memory what a wish asks for, as far as it is to be had."""
        if wish.since is not None:
            since = wish.since - OVERLAP_US
            # A page mostly holds the newest tweets of its room: then their states need no question of their own.
            await self._catchup.cover(room, since=since, least=len(wish.documents), patience_s=RESUME_PATIENCE_S)
        elif wish.backfill:
            await self._catchup.cover(room, since=None, least=wish.backfill, patience_s=BACKFILL_PATIENCE_S)
        if wish.documents:
            await self._catchup.know(wish.documents)

    def tell(self, connection: Connection, room: Room[Connection], wish: Wish) -> None:
        """Send what a wish asks for, oldest first, from what is in memory."""
        past = self._past(connection, room, wish)
        # What becomes of tweets that are held is told in any case: there are not more of them than were named.
        certain = sum(len(tweet.json) for tweet in past.changed) + sum(map(len, past.gone))
        first = _first_that_fits(past.new, self._budget - certain)
        batch = frames.Batch()
        if gap := _gap(room, wish, past.new, first):
            batch.add(frames.event("gap", frames.json(gap), room.json))
        for place, name, json in sorted(past.new[first:] + past.changed):
            batch.add(frames.event(name, json, room.json), place.seq)
        for json in past.gone:
            batch.add(frames.event("destroyTweet", json, room.json))
        if not batch.events:
            return
        self._fanout.tell_one(connection, room, batch)
        metrics.GATEWAY_DELIVERIES.labels(event="newTweet").inc(len(past.new) - first)
        metrics.GATEWAY_DELIVERIES.labels(event="updateTweet").inc(len(past.changed))
        metrics.GATEWAY_DELIVERIES.labels(event="destroyTweet").inc(len(past.gone))

    def _past(self, connection: Connection, room: Room[Connection], wish: Wish) -> _Past:
        """What a wish asks for, each list oldest first."""
        if wish.since is not None:
            places = room.recent.since(wish.since - OVERLAP_US)
        else:
            places = room.recent.newest(wish.backfill) if wish.backfill else []
        new: list[_Tweet] = []
        changed: list[_Tweet] = []
        gone: list[bytes] = []
        for place, known in self._versions.at(places):
            held = wish.documents.get(place.id)
            if held is None:
                new.append(_Tweet(place, "newTweet", known.json))
            elif held < known.newest[0]:
                changed.append(_Tweet(place, "updateTweet", known.json))
        for id in wish.documents.keys() - {place.id for place in places}:
            tweet = self._versions.get(id)
            if tweet is not None and tweet.gone:
                gone.append(tweet.json)
                continue
            its_own = tweet is not None and (room in tweet.shown or _matches(tweet, room.label))
            if tweet is not None and its_own:
                self._versions.note(id, room)
            else:
                # What a client names does not come into the room of others.
                newest = 0 if tweet is None else tweet.newest[0]
                self._fanout.followers.follow(connection, room, id, max(newest, wish.documents[id]))
            # A token grants rooms, and no tweets beside them.
            if (
                tweet is not None
                and (its_own or connection.grant.everything)
                and wish.documents[id] < tweet.newest[0]
            ):
                changed.append(_Tweet(Place(tweet.seq, id), "updateTweet", tweet.json))
        return _Past(new, changed, gone)


def _first_that_fits(new: list[_Tweet], budget: int) -> int:
    """From which index on everything fits into so many bytes."""
    first = len(new)
    while first and (budget := budget - len(new[first - 1].json)) >= 0:
        first -= 1
    return first


def _gap(room: Room[Connection], wish: Wish, new: list[_Tweet], first: int) -> dict[str, Any] | None:
    """What is told of what is not told: `new[:first]` does not fit, and some the archive may not have had.

    What the gateway itself has lost is no part of it: it is about to get that (`services.gateway.mending`), or to
    tell the whole room.
    """
    recent = room.recent
    oldest = wish.since if wish.since is not None else new[0].place.seq if new else None
    if oldest is None:
        return None
    # Those up to `since` were asked for in case they had come late; most of them had not.
    missed = sum(tweet.place.seq > oldest or wish.since is None for tweet in new[:first])
    holes: list[tuple[int, int | None]] = []
    if wish.since is not None and (recent.covered_from is None or recent.covered_from > oldest):
        holes.append((oldest, recent.covered_from))
    if recent.missing is not None and recent.missing[1] > oldest:
        holes.append((max(oldest, recent.missing[0]), recent.missing[1]))
    if missed:
        holes.append((oldest, new[first].place.seq if first < len(new) else None))
    if not holes:
        return None
    ends = [end for _, end in holes if end is not None]
    return {
        "missed": missed if missed and len(holes) == 1 else None,
        "from": min(begin for begin, _ in holes),
        "to": max(ends) if len(ends) == len(holes) else None,
    }


def _matches(known: Known[Connection], label: Label) -> bool:
    """Whether a tweet that is known has a label."""
    try:
        return label.matches(Facets.of_document(orjson.loads(known.json)))
    except UnreadableError:
        return False
