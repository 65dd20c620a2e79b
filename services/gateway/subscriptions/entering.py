"""What a subscription is told when it begins: what has become of the page's documents, and what is new since."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from services.gateway import frames, holes
from services.gateway.arrivals import BUFFER_SHARE, RESUME_PATIENCE_S, gap_of, newest_that_fit
from services.gateway.catchup import OVERLAP_US, CatchUp
from services.gateway.connection import Connection
from services.gateway.holes import Hole
from services.gateway.outbox import Outbox
from services.gateway.rooms import Room
from services.gateway.subscriptions.delivery import Subscribers, may_see
from services.gateway.subscriptions.interest import Audience, Interest
from services.gateway.subscriptions.request import Request
from services.gateway.versions import Known, Version, Versions
from services.gateway.views import View
from shared import metrics
from shared.history import Place

TURN = 200
"""Documents that are looked at until others have their turn."""

MAX_LOOKED_THROUGH = 10_000
"""Of what a room remembers, the newest, for an interest that was not there when it came."""

MAX_LOOKS = 2_000
"""Documents of one interest of which is kept how they are told: all who come at the same time are told the same."""


class _Told(NamedTuple):
    """One document, as a page will have it."""

    place: Place
    mtime: int
    json: bytes
    content: int
    """As in `Projected`."""


class _Look(NamedTuple):
    version: Version
    matches: bool
    """Whether it does in this version: one that did once is still followed."""
    told: _Told


class _Changes(NamedTuple):
    """What has become of documents that a page holds."""

    saved: list[_Told]
    """Held in an older version."""
    gone: list[str]
    """Held, and destroyed."""
    current: list[_Told]
    """Held as they are."""
    unknown: list[tuple[str, int]]
    """Held, by `(id, mtime)`, and not known here, or newer than here, or nothing that this client may see."""

    def compare(
        self,
        connection: Connection,
        interest: Interest[Connection],
        held: tuple[str, int],
        known: Known[View] | None,
    ) -> None:
        """Find out what a page has to be told of a document that it holds, by `(id, mtime)`."""
        id, mtime = held
        collection = interest.wanted.collection.name
        if known is None or mtime > known.newest[0] or known.collection != collection:
            self.unknown.append(held)
        elif known.gone:
            self.gone.append(id)
        else:
            told = _look(interest, id, known).told
            if mtime == told.mtime:
                self.current.append(told)
            elif may_see(connection, interest, orjson.loads(known.json)):
                self.saved.append(told)
            else:
                self.unknown.append(held)


class Entering:
    """Makes clients members of an audience, and tells them of the past in the same turn of the loop.

    So nothing lies between the two, and nothing is in both.
    """

    def __init__(
        self,
        catchup: CatchUp,
        versions: Versions[View],
        outbox: Outbox,
        subscribers: Subscribers,
        *,
        send_buffer_bytes: int,
    ) -> None:
        self._catchup = catchup
        self._versions = versions
        self._outbox = outbox
        self._subscribers = subscribers
        self._budget = int(send_buffer_bytes * BUFFER_SHARE)

    async def prepare(
        self, interest: Interest[Connection], rooms: Sequence[Room[Connection]], request: Request
    ) -> bool:
        """Have in memory what a request asks for, as far as it is to be had.

        Returns whether it is known what has become of all documents that it names.
        """
        if request.since is not None and rooms:
            since = max(0, request.since - OVERLAP_US)
            covering = (
                self._catchup.cover(room, since=since, least=0, patience_s=RESUME_PATIENCE_S) for room in rooms
            )
            await asyncio.gather(*covering)
            await self._look_back(interest, rooms, since)
        return await self._catchup.know(request.documents)

    def enter(
        self,
        connection: Connection,
        interest: Interest[Connection],
        rooms: Sequence[Room[Connection]],
        request: Request,
        *,
        documents_are_known: bool,
    ) -> Audience[Connection]:
        """Tell a client of the past, and make it hear what comes."""
        changes = _Changes([], [], [], [])
        for id, mtime in request.documents.items():
            changes.compare(connection, interest, (id, mtime), self._versions.get(id))
        # What becomes of documents that are held is told in any case: there are not more than were named.
        certain = sum(len(one.json) for one in changes.saved) + sum(map(len, changes.gone))
        lacking = self._lacking(interest, request)
        created: list[_Told] = []
        reached = len(lacking)
        for place, known in self._versions.at(newest_that_fit(lacking)):
            look = _look(interest, place.id, known)
            certain += len(look.told.json) if look.matches else 0
            if certain > self._budget:
                break
            reached -= 1
            if look.matches:
                created.append(look.told)
        gap = gap_of(rooms, request.since, [place.seq for place in lacking], reached)
        if gap is None and request.since is not None and (interest.complete_from or 0) > request.since:
            gap = holes.gap(Hole(request.since, interest.complete_from))
        if gap is None and not documents_are_known:
            gap = holes.gap(Hole(request.since, None))
        if (before := interest.audiences.get(request.uid)) is not None:
            self._outbox.settle(before)
        after = request.since - OVERLAP_US if request.since is not None else self._catchup.newest or 0
        audience = interest.join(connection, request.uid, after)
        batch = frames.Batch()
        if gap is not None:
            batch.add(audience.event("gap", frames.json(gap)))
            metrics.GATEWAY_GAPS.inc()
        told = [(one, "create") for one in created] + [(one, "save") for one in changes.saved]
        for one, name in sorted(told):
            batch.add(audience.event(name, one.json), one.place.seq)
        for id in changes.gone:
            batch.add(audience.event("destroy", frames.json({"id": id})))
        if batch.events:
            self._outbox.send_one(connection, audience, batch)
            metrics.GATEWAY_DELIVERIES.labels(event="create").inc(len(created))
            metrics.GATEWAY_DELIVERIES.labels(event="save").inc(len(changes.saved))
            metrics.GATEWAY_DELIVERIES.labels(event="destroy").inc(len(changes.gone))
        up_to_date = sorted([one for one, _ in told] + changes.current)
        holds = changes.unknown + [(one.place.id, one.mtime) for one in up_to_date]
        let_go = self._subscribers.followed.holds(audience, connection, holds)
        # What comes next is compared with what the page has now.
        held = (one for one in up_to_date if one.place.id in interest.named)
        interest.contents.update((one.place.id, (one.mtime, one.content)) for one in held)
        self._subscribers.notify(let_go)
        self._outbox.settle(audience)
        return audience

    async def _look_back(self, interest: Interest[Connection], rooms: Sequence[Room[Connection]], since: int) -> None:
        """Look through what the rooms remember from before there was this interest."""
        # Once for all who come at the same time.
        async with interest.looking_back:
            if interest.complete_from is not None and interest.complete_from <= since:
                return
            from_seq = since
            number = 0
            for room in rooms:
                places = room.recent.since(since)
                if len(places) > MAX_LOOKED_THROUGH:
                    places = places[-MAX_LOOKED_THROUGH:]
                    from_seq = max(from_seq, places[0].seq - 1)
                for place in places:
                    number += 1
                    if number % TURN == 0:
                        await asyncio.sleep(0)
                    known = self._versions.get(place.id)
                    if known is None or known.gone or interest in known.shown:
                        continue
                    if _look(interest, place.id, known).matches:
                        self._versions.note(place.id, interest)
            interest.complete_from = (
                from_seq if interest.complete_from is None else min(from_seq, interest.complete_from)
            )

    def _lacking(self, interest: Interest[Connection], request: Request) -> list[Place]:
        """Documents since the one that a request names which it does not, and which matched once, oldest first."""
        if request.since is None or not interest.wanted.labels:
            return []
        places = interest.recent.since(max(0, request.since - OVERLAP_US))
        return [place for place in places if place.id not in request.documents]


def _look(interest: Interest[Connection], id: str, known: Known[View]) -> "_Look":
    """A document in its newest version as those see it who have an interest: looked at once for many who come."""
    look = interest.looks.get(id)
    if look is None or look.version != known.newest:
        document = orjson.loads(known.json)
        facets = interest.wanted.collection.facets_of(document)
        matches = facets is not None and interest.matches(document, facets)
        json, content = interest.project(document)
        look = _Look(known.newest, matches, _Told(Place(known.seq, id), known.newest[0], json, content))
        interest.looks[id] = look
        if len(interest.looks) > MAX_LOOKS:
            del interest.looks[next(iter(interest.looks))]
    return look
