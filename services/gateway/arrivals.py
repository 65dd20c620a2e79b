"""What somebody is told who enters a room: its last tweets, or what has happened while one was away."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import orjson

from services.gateway import frames
from services.gateway.catchup import MAX_PAST, OVERLAP_US, CatchUp
from services.gateway.connection import Connection
from services.gateway.followers import Followers
from services.gateway.holes import Hole, gap, hull
from services.gateway.outbox import Outbox
from services.gateway.rooms import Room
from services.gateway.subscriptions.collections import TWEET
from services.gateway.versions import Known, Versions
from services.gateway.views import View
from services.gateway.wishes import Wish
from shared import metrics
from shared.events import COLLECTION
from shared.history import Place
from shared.labels import Label

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


class Arrivals:
    """Tells those who enter a room of its past, and in the same turn of the loop makes them hear what comes next.

    So nothing lies between the two, and nothing is in both.
    """

    def __init__(
        self,
        catchup: CatchUp,
        versions: Versions[View],
        outbox: Outbox,
        followers: Followers[Connection],
        *,
        send_buffer_bytes: int,
    ) -> None:
        self._catchup = catchup
        self._versions = versions
        self._outbox = outbox
        self._followers = followers
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

    def tell(self, connection: Connection, room: Room[Connection], wish: Wish) -> int:
        """Send what a wish asks for, oldest first, from what is in memory.

        Returns after which `seq` the client has been told all.
        """
        changed, gone = self._changes(connection, room, wish.documents)
        # What becomes of tweets that are held is told in any case: there are not more of them than were named.
        certain = sum(len(tweet.json) for tweet in changed) + sum(map(len, gone))
        lacking = self._lacking(room, wish)
        new: list[_Tweet] = []
        for place, known in self._versions.at(newest_that_fit(lacking)):
            certain += len(known.json)
            if certain > self._budget:
                break
            new.append(_Tweet(place, "newTweet", known.json))
        first = len(lacking) - len(new)
        batch = frames.Batch()
        if gap := gap_of([room], wish.since, [place.seq for place in lacking], first):
            batch.add(room.event("gap", frames.json(gap)))
            metrics.GATEWAY_GAPS.inc()
        for place, name, json in sorted(new + changed):
            batch.add(room.event(name, json), place.seq)
        for json in gone:
            batch.add(room.event("destroyTweet", json))
        if batch.events:
            self._outbox.send_one(connection, room, batch)
            metrics.GATEWAY_DELIVERIES.labels(event="newTweet").inc(len(new))
            metrics.GATEWAY_DELIVERIES.labels(event="updateTweet").inc(len(changed))
            metrics.GATEWAY_DELIVERIES.labels(event="destroyTweet").inc(len(gone))
        if wish.since is not None:
            return wish.since - OVERLAP_US
        if len(new) < wish.backfill:
            # That is all there is.
            return room.recent.covered_from or 0
        return lacking[first].seq - 1 if new else self._catchup.newest or 0

    def _lacking(self, room: Room[Connection], wish: Wish) -> list[Place]:
        """The tweets of the room's past that a wish asks for and that are not held, oldest first."""
        if wish.since is not None:
            places = room.recent.since(wish.since - OVERLAP_US)
        else:
            places = room.recent.newest(wish.backfill) if wish.backfill else []
        return [place for place in places if place.id not in wish.documents]

    def _changes(
        self, connection: Connection, room: Room[Connection], documents: Mapping[str, int]
    ) -> tuple[list[_Tweet], list[bytes]]:
        """What has become of tweets that are held: the changed ones, and the ends of those that were destroyed."""
        changed: list[_Tweet] = []
        gone: list[bytes] = []
        for id, mtime in documents.items():
            tweet = self._versions.get(id)
            if tweet is not None and tweet.collection != COLLECTION:
                continue
            if tweet is not None and tweet.gone:
                gone.append(tweet.json)
                continue
            its_own = tweet is not None and (room in tweet.shown or _matches(tweet, room.label))
            if tweet is not None and its_own:
                self._versions.note(id, room)
            else:
                # What a client names does not come into the room of others.
                newest = 0 if tweet is None else tweet.newest[0]
                self._followers.follow(connection, room, id, max(newest, mtime))
            # A token grants rooms, and no tweets beside them.
            if tweet is not None and (its_own or connection.grant.everything) and mtime < tweet.newest[0]:
                changed.append(_Tweet(Place(tweet.seq, id), "updateTweet", tweet.json))
        return changed, gone


def newest_that_fit(places: Sequence[Place]) -> Iterator[Place]:
    """The newest of some places, newest first, as many as are sent at once: others wait meanwhile."""
    return islice(reversed(places), MAX_PAST)


def gap_of(
    rooms: Sequence[Room[Connection]], since: int | None, seqs: Sequence[int], first: int
) -> dict[str, int | None] | None:
    """What is told of what is not told: `seqs[:first]` does not fit, and some the archive may not have had.

    `since` is what was asked for, if anything. What the gateway itself has lost is no part of it: it is about to get
    that (`services.gateway.mending`), or to tell the whole room.
    """
    oldest = since if since is not None else seqs[0] if seqs else None
    if oldest is None:
        return None
    # Those up to `since` were asked for in case they had come late; most of them had not.
    missed = sum(seq > oldest or since is None for seq in seqs[:first])
    holes: list[Hole] = []
    for recent in (room.recent for room in rooms):
        if since is not None and (recent.covered_from is None or recent.covered_from > oldest):
            holes.append(Hole(oldest, recent.covered_from))
        if recent.missing is not None and recent.missing[1] > oldest:
            holes.append(Hole(max(oldest, recent.missing[0]), recent.missing[1]))
    if missed:
        holes.append(Hole(oldest, seqs[first] if first < len(seqs) else None))
    if not holes:
        return None
    return gap(hull(holes), missed if missed and len(holes) == 1 else None)


def _matches(known: Known[View], label: Label) -> bool:
    """Whether a tweet that is known has a label."""
    facets = TWEET.facets_of(orjson.loads(known.json))
    return facets is not None and label.matches(facets)
