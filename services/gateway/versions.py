"""Which version of each tweet was shown where. Pure.

Messages come in any order and more than once. `(mtime, rank of the action)` orders the versions of a tweet, and
whatever the order of arrival, every room ends up the same: each room that a version of the tweet matched shows
the newest one, and none shows a tweet that was destroyed.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, NamedTuple

from services.gateway.rooms import MemberT, Room
from shared.events import Action, Document

Version = tuple[int, int]
"""`mtime` and the rank of the action: what is larger is newer."""


class Delivery(NamedTuple, Generic[MemberT]):
    """What one room has to be told."""

    action: Action
    """What it is to this room: an update is a create to a room that was not shown the tweet yet."""
    room: Room[MemberT]
    document: Document


class _Known(Generic[MemberT]):
    """What is known of one tweet."""

    __slots__ = ("document", "newest", "shown")

    def __init__(self) -> None:
        self.newest: Version = (-1, -1)
        self.document: Document | None = None
        """The newest version where that is an update: an older one may yet bring rooms that have to see it."""
        self.shown: dict[Room[MemberT], Version] = {}


class Versions(Generic[MemberT]):
    """The tweets seen lately, at most `limit` of them; of an older one every copy counts as new."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[str, _Known[MemberT]] = OrderedDict()

    def apply(self, document: Document, rooms: Iterable[Room[MemberT]]) -> list[Delivery[MemberT]]:
        """Take in one event that matched `rooms`; returns what is to be told to which room, maybe nothing."""
        action = Action(document["action"])
        version = (document["mtime"], action.rank)
        known = self._known.get(document["id"])
        if known is None:
            known = self._known[document["id"]] = _Known()
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        if version > known.newest:
            known.newest = version
            known.document = document if action is Action.UPDATE else None
        if known.newest[1] == Action.DESTROY.rank:
            shown, known.shown = known.shown, {}
            end = {"id": document["id"], "mtime": known.newest[0]}
            return [Delivery(Action.DESTROY, room, end) for room in shown]
        if version < known.newest and known.document is None:
            return []
        newest = known.document or document
        deliveries = []
        for room in {**known.shown, **dict.fromkeys(rooms)}:
            before = known.shown.get(room)
            if before is None:
                deliveries.append(Delivery(Action.CREATE, room, newest))
            elif before < known.newest:
                deliveries.append(Delivery(Action.UPDATE, room, newest))
            else:
                continue
            known.shown[room] = known.newest
        return deliveries

    def __len__(self) -> int:
        """How many tweets are remembered."""
        return len(self._known)
