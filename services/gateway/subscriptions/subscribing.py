"""Subscriptions from their request to their end."""

import asyncio
from collections.abc import Sequence

from services.gateway.answers import Answer, refusal
from services.gateway.auth import Grant
from services.gateway.bindings import Bindings
from services.gateway.catchup import CatchUp
from services.gateway.connection import Connection
from services.gateway.holes import Hole
from services.gateway.outbox import Outbox
from services.gateway.places import Places
from services.gateway.rooms import Room, Rooms
from services.gateway.subscriptions.delivery import Subscribers
from services.gateway.subscriptions.entering import Entering
from services.gateway.subscriptions.interest import Audience, Interest, Wanted
from services.gateway.subscriptions.request import Request
from services.gateway.versions import Versions
from services.gateway.views import View
from shared import metrics
from shared.labels import ALL


class _Subscribed:
    """One client's subscription, on its way or made."""

    def __init__(self, interest: Interest[Connection], rooms: Sequence[Room[Connection]]) -> None:
        self.interest = interest
        self.rooms = rooms
        self.audience: Audience[Connection] | None = None
        """None while it is being made."""

    @property
    def places(self) -> int:
        """How many it takes."""
        return max(1, len(self.rooms))


class Subscribing:
    """Makes subscriptions and ends them. Equal ones share an interest, which hangs on the rooms of its labels."""

    def __init__(
        self,
        *,
        rooms: Rooms[Connection],
        bindings: Bindings,
        places: Places,
        catchup: CatchUp,
        entering: Entering,
        outbox: Outbox,
        subscribers: Subscribers,
        versions: Versions[View],
        queries_for_all: bool,
    ) -> None:
        """`queries_for_all`: whether a query may name no label, so that every tweet has to be looked at."""
        self._rooms = rooms
        self._bindings = bindings
        self._places = places
        self._catchup = catchup
        self._entering = entering
        self._outbox = outbox
        self._subscribers = subscribers
        self._followed = subscribers.followed
        self._versions = versions
        self._queries_for_all = queries_for_all
        self._interests: dict[Wanted, Interest[Connection]] = {}
        self._of: dict[Connection, dict[str, _Subscribed]] = {}

    async def subscribe(self, connection: Connection, request: Request) -> Answer:
        """Make a subscription, in the place of one of the same `uid`; returns the acknowledgement."""
        wanted = request.wanted
        if wanted.query is not None:
            if wanted.query.binding == (ALL,) and not self._queries_for_all:
                return refusal("not_allowed", "a createQuery has to name a label here: term, word, tag, from, …")
            if not _grants(connection.grant, wanted):
                return refusal("not_allowed", "your token does not grant any label of this createQuery")
        before = self._of.get(connection, {}).get(request.uid)
        if denied := self._places.take(connection, wanted.labels, instead_of=before.places if before else 0):
            return denied
        self.unsubscribe(connection, request.uid)
        interest = self._interests.get(wanted) or Interest(wanted)
        mine = _Subscribed(interest, self._begin(interest))
        self._of.setdefault(connection, {})[request.uid] = mine
        try:
            await asyncio.gather(*(self._bindings.want(label) for label in interest.wanted.labels))
            if self._is(connection, request.uid, mine):
                known = await self._entering.prepare(interest, mine.rooms, request)
            if self._is(connection, request.uid, mine):
                mine.audience = self._entering.enter(
                    connection, interest, mine.rooms, request, documents_are_known=known
                )
                for room in mine.rooms:
                    self._catchup.opened(room)
        except BaseException:
            if self._is(connection, request.uid, mine):
                self.unsubscribe(connection, request.uid)
            raise
        finally:
            interest.awaiting -= 1
            self._end_if_empty(interest)
        return {
            "uid": request.uid,
            "collection": wanted.collection.name,
            "labels": [label.key for label in interest.wanted.labels],
            "seq": self._catchup.newest,
        }

    def __len__(self) -> int:
        """How many subscriptions all clients have."""
        return sum(map(len, self._of.values()))

    def has(self, connection: Connection, uid: str) -> bool:
        """Whether a client has a subscription of this name."""
        return uid in self._of.get(connection, {})

    def unsubscribe(self, connection: Connection, uid: str) -> None:
        """End a subscription, if there is one of this name."""
        of_it = self._of.get(connection, {})
        mine = of_it.pop(uid, None)
        if mine is None:
            return
        if not of_it:
            del self._of[connection]
        self._places.give_back(connection, mine.places)
        if mine.audience is not None:
            self._outbox.settle(mine.audience)
            connection.forget(mine.audience)
            self._followed.leaves(mine.audience, connection)
        self._end_if_empty(mine.interest)

    def tell_changes_lost(self, hole: Hole) -> None:
        """Tell those who have nothing but documents that some may have changed; others are told with their rooms."""
        self._subscribers.tell_gap([one for one in self._interests.values() if not one.wanted.labels], hole)

    def leave(self, connection: Connection) -> None:
        """End all that a client has."""
        for uid in list(self._of.get(connection, ())):
            self.unsubscribe(connection, uid)

    def _begin(self, interest: Interest[Connection]) -> list[Room[Connection]]:
        """Somebody is about to have an interest; returns the rooms on which it hangs."""
        interest.awaiting += 1
        if interest.wanted not in self._interests:
            self._interests[interest.wanted] = interest
        rooms = []
        for label in interest.wanted.labels:
            opens = label not in self._rooms
            room = self._rooms.attach(interest, label)
            if opens:
                self._catchup.opening(room)
            rooms.append(room)
        metrics.GATEWAY_ROOMS.set(len(self._rooms))
        return rooms

    def _end_if_empty(self, interest: Interest[Connection]) -> None:
        if not interest.empty or self._interests.get(interest.wanted) is not interest:
            return
        del self._interests[interest.wanted]
        self._followed.ends(interest)
        self._versions.leave(interest)
        for label in interest.wanted.labels:
            if self._rooms.detach(interest, label):
                self._bindings.release(label)

    def _is(self, connection: Connection, uid: str, mine: _Subscribed) -> bool:
        """Whether it is still this subscription: a client may end it before it is made, and make another one."""
        return self._of.get(connection, {}).get(uid) is mine


def _grants(grant: Grant, wanted: Wanted) -> bool:
    """Whether all that a query can bring has a label that is granted."""
    if wanted.query is None or grant.allows(ALL):
        return True
    return any(all(map(grant.allows, labels)) for labels in wanted.query.alternatives)
