"""Which version of each tweet was shown where. Pure.

Messages come in any order and more than once. `(mtime, rank of the action)` orders the versions of a tweet, and
whatever the order of arrival, every room ends up the same: each room that a version of the tweet matched shows
the newest one, and none shows a tweet that was destroyed.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from services.gateway import frames
from services.gateway.recent import Recent
from shared.events import Action, Document, collection_of
from shared.history import Place

Version = tuple[int, int]
"""`mtime` and the rank of the action: what is larger is newer."""

MAX_BYTES = 128 * 1024 * 1024
"""What is remembered of all tweets together, as JSON. Tweets of usual size reach the limit in number before."""


class _View(Protocol):
    """What shows some of the tweets: a room, or what equal subscriptions want."""

    @property
    def recent(self) -> Recent:
        """Those that it was shown lately."""


ViewT = TypeVar("ViewT", bound=_View)


class Delivery(NamedTuple, Generic[ViewT]):
    """What one view has to be told."""

    action: Action
    """What it is to this view: an update is a create to one that was not shown the tweet yet."""
    view: ViewT
    json: bytes
    """The tweet as clients get it; of a destroy `{id, mtime}`."""
    seq: int


class Known(Generic[ViewT]):
    """What is known of one tweet."""

    __slots__ = ("collection", "json", "newest", "seq", "shown")

    def __init__(self, collection: str) -> None:
        self.collection = collection
        self.newest: Version = (-1, -1)
        self.seq = 0
        """Of the newest version."""
        self.json = b""
        """The newest version; of one that is gone `{id, mtime}`."""
        self.shown: dict[ViewT, Version] = {}

    @property
    def gone(self) -> bool:
        """Whether the tweet was destroyed."""
        return self.newest[1] == Action.DESTROY.rank


class Versions(Generic[ViewT]):
    """The tweets seen lately, at most `limit` of them; of an older one every copy counts as new.

    It also keeps what each view remembers (`recent`) in step with that.
    """

    def __init__(self, limit: int, *, max_bytes: int = MAX_BYTES) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: OrderedDict[str, Known[ViewT]] = OrderedDict()
        self._from_past: OrderedDict[str, None] = OrderedDict()
        """Those of them that the archive has brought, and nobody else since."""

    def apply(self, document: Document, views: Iterable[ViewT], *, from_past: bool = False) -> list[Delivery[ViewT]]:
        """Take in one event that matched `views`; returns what is to be told to which of them, maybe nothing.

        What comes `from_past` makes others be forgotten only up to half of the limit. Raises `TypeError` or
        `RecursionError` where no JSON can be made of the document; then nothing has changed.
        """
        deliveries = self._apply(document, views, from_past)
        self._forget_oldest()
        return deliveries

    def note(self, id: str, view: ViewT) -> None:
        """A view shows a tweet that is known, and nobody has to be told: who is there has it from elsewhere."""
        known = self._known[id]
        if view not in known.shown and not known.gone:
            known.shown[view] = known.newest
            view.recent.add(Place(known.seq, id))

    def leave(self, view: ViewT) -> None:
        """There is no such view any more."""
        for place in view.recent.since(0):
            self._known[place.id].shown.pop(view, None)

    def get(self, id: str) -> Known[ViewT] | None:
        """What is known of a tweet, if anything."""
        return self._known.get(id)

    def at(self, places: Iterable[Place]) -> Iterator[tuple[Place, Known[ViewT]]]:
        """What is known of the tweets at places that a room remembers."""
        for place in places:
            yield place, self._known[place.id]

    def __len__(self) -> int:
        """How many tweets are remembered."""
        return len(self._known)

    def _apply(self, document: Document, views: Iterable[ViewT], from_past: bool) -> list[Delivery[ViewT]]:
        action = Action(document["action"])
        version = (document["mtime"], action.rank)
        id = document["id"]
        known = self._known.get(id)
        newer = known is None or version > known.newest
        if newer:
            end = {"id": id, "mtime": document["mtime"]}
            json = frames.json(end if action is Action.DESTROY else document)
        if known is None:
            known = self._known[id] = Known(collection_of(document))
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
            return [Delivery(Action.DESTROY, view, known.json, known.seq) for view in shown]
        if version < known.newest and known.newest[1] == Action.CREATE.rank:
            return []
        deliveries = []
        for view in {**known.shown, **dict.fromkeys(views)}:
            before = known.shown.get(view)
            if before is None:
                view.recent.add(Place(known.seq, id))
                deliveries.append(Delivery(Action.CREATE, view, known.json, known.seq))
            elif before < known.newest:
                deliveries.append(Delivery(Action.UPDATE, view, known.json, known.seq))
            else:
                continue
            known.shown[view] = known.newest
        return deliveries

    def _replace(self, id: str, known: Known[ViewT], version: Version, seq: int, json: bytes) -> None:
        """A newer version is the newest, and has its own place in the views, unless the tweet is gone."""
        for view in known.shown:
            view.recent.remove(Place(known.seq, id))
        self._bytes += len(json) - len(known.json)
        known.newest, known.seq, known.json = version, seq, json
        if not known.gone:
            for view in known.shown:
                view.recent.add(Place(seq, id))

    def _forget_oldest(self) -> None:
        while len(self._known) > self._limit or (self._bytes > self._max_bytes and len(self._known) > 1):
            # The past that people look back on must not push out what is on everybody's page.
            crowded = len(self._from_past) > self._limit // 2
            id = next(iter(self._from_past if crowded else self._known))
            known = self._known.pop(id)
            self._from_past.pop(id, None)
            self._bytes -= len(known.json)
            for view in known.shown:
                view.recent.forget(Place(known.seq, id))
