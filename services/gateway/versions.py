"""Which version of each tweet was shown where. Pure.

Messages come in any order and more than once. `(mtime, rank of the action)` orders the versions of a tweet, and
whatever the order of arrival, every room ends up the same: each room that a version of the tweet matched shows
the newest one, and none shows a tweet that was destroyed.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple

from services.gateway import frames
from services.gateway.rooms import MemberT, Room
from shared.events import Action, Document
from shared.history import Place

Version = tuple[int, int]
"""`mtime` and the rank of the action: what is larger is newer."""

MAX_BYTES = 128 * 1024 * 1024
"""What is remembered of all tweets together, as JSON. Tweets of usual size reach the limit in number before."""


class Delivery(NamedTuple, Generic[MemberT]):
    """What one room has to be told."""

    action: Action
    """What it is to this room: an update is a create to a room that was not shown the tweet yet."""
    room: Room[MemberT]
    json: bytes
    """The tweet as clients get it; of a destroy `{id, mtime}`."""
    seq: int


class Known(Generic[MemberT]):
    """What is known of one tweet."""

    __slots__ = ("json", "newest", "seq", "shown")

    def __init__(self) -> None:
        self.newest: Version = (-1, -1)
        self.seq = 0
        """Of the newest version."""
        self.json = b""
        """The newest version; of one that is gone `{id, mtime}`."""
        self.shown: dict[Room[MemberT], Version] = {}

    @property
    def gone(self) -> bool:
        """Whether the tweet was destroyed."""
        return self.newest[1] == Action.DESTROY.rank


class Versions(Generic[MemberT]):
    """The tweets seen lately, at most `limit` of them; of an older one every copy counts as new.

    It also keeps what each room remembers (`Room.recent`) in step with that.
    """

    def __init__(self, limit: int, *, max_bytes: int = MAX_BYTES) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: OrderedDict[str, Known[MemberT]] = OrderedDict()
        self._from_past: OrderedDict[str, None] = OrderedDict()
        """Those of them that the archive has brought, and nobody else since."""

    def apply(
        self, document: Document, rooms: Iterable[Room[MemberT]], *, from_past: bool = False
    ) -> list[Delivery[MemberT]]:
        """Take in one event that matched `rooms`; returns what is to be told to which room, maybe nothing.

        What comes `from_past` makes others be forgotten only up to half of the limit. Raises `TypeError` or
        `RecursionError` where no JSON can be made of the document; then nothing has changed.
        """
        deliveries = self._apply(document, rooms, from_past)
        self._forget_oldest()
        return deliveries

    def note(self, id: str, room: Room[MemberT]) -> None:
        """A room shows a tweet that is known: somebody in it has it from elsewhere."""
        known = self._known[id]
        if room not in known.shown and not known.gone:
            known.shown[room] = known.newest
            room.recent.add(Place(known.seq, id))

    def get(self, id: str) -> Known[MemberT] | None:
        """What is known of a tweet, if anything."""
        return self._known.get(id)

    def at(self, places: Iterable[Place]) -> Iterator[tuple[Place, Known[MemberT]]]:
        """What is known of the tweets at places that a room remembers."""
        for place in places:
            yield place, self._known[place.id]

    def __len__(self) -> int:
        """How many tweets are remembered."""
        return len(self._known)

    def _apply(self, document: Document, rooms: Iterable[Room[MemberT]], from_past: bool) -> list[Delivery[MemberT]]:
        action = Action(document["action"])
        version = (document["mtime"], action.rank)
        id = document["id"]
        known = self._known.get(id)
        newer = known is None or version > known.newest
        if newer:
            end = {"id": id, "mtime": document["mtime"]}
            json = frames.json(end if action is Action.DESTROY else document)
        if known is None:
            known = self._known[id] = Known()
            if from_past:
                self._from_past[id] = None
        else:
            # Heard of again, it is not the next to be forgotten.
            self._known.move_to_end(id)
            if not from_past:
                self._from_past.pop(id, None)
        if newer:
            self._replace(id, known, version, document["seq"], json)
        if known.gone:
            shown, known.shown = known.shown, {}
            return [Delivery(Action.DESTROY, room, known.json, known.seq) for room in shown]
        if version < known.newest and known.newest[1] == Action.CREATE.rank:
            return []
        deliveries = []
        for room in {**known.shown, **dict.fromkeys(rooms)}:
            before = known.shown.get(room)
            if before is None:
                room.recent.add(Place(known.seq, id))
                deliveries.append(Delivery(Action.CREATE, room, known.json, known.seq))
            elif before < known.newest:
                deliveries.append(Delivery(Action.UPDATE, room, known.json, known.seq))
            else:
                continue
            known.shown[room] = known.newest
        return deliveries

    def _replace(self, id: str, known: Known[MemberT], version: Version, seq: int, json: bytes) -> None:
        """A newer version is the newest, and has its own place in the rooms, unless the tweet is gone."""
        for room in known.shown:
            room.recent.remove(Place(known.seq, id))
        self._bytes += len(json) - len(known.json)
        known.newest, known.seq, known.json = version, seq, json
        if not known.gone:
            for room in known.shown:
                room.recent.add(Place(seq, id))

    def _forget_oldest(self) -> None:
        while len(self._known) > self._limit or (self._bytes > self._max_bytes and len(self._known) > 1):
            # The past that people look back on must not push out what is on everybody's page.
            crowded = len(self._from_past) > self._limit // 2
            id = next(iter(self._from_past if crowded else self._known))
            known = self._known.pop(id)
            self._from_past.pop(id, None)
            self._bytes -= len(known.json)
            for room in known.shown:
                room.recent.forget(Place(known.seq, id))
