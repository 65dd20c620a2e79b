"""What equal subscriptions want, and who has them. What a member is does not matter here."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from services.gateway import frames
from services.gateway.recent import Recent
from services.gateway.subscriptions.collections import Collection
from services.gateway.subscriptions.fields import Fields, Projection
from services.gateway.subscriptions.query import Query
from shared.events import Document
from shared.labels import Facets, Label

MemberT = TypeVar("MemberT", bound=Hashable)


class Wanted(NamedTuple):
    """A collection, fields of it, and which new documents: what makes subscriptions equal."""

    collection: Collection
    fields: Fields
    query: Query | None
    """None: no new ones."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels that bring what is wanted; none where nothing new is."""
        return self.query.binding if self.query is not None else ()


class Sent(NamedTuple):
    """A document that was sent to all who were there."""

    number: int
    """Those who joined before it, by their own numbers, hold it."""
    version: tuple[int, int]
    content: int
    """Hash of the fields that were sent."""


class Subscription:
    """What one member was told, and holds."""

    __slots__ = ("after", "held", "number")

    def __init__(self, number: int, after: int) -> None:
        self.number = number
        """It holds what was sent to all from this number on."""
        self.after = after
        """It has been told all after this `seq`."""
        self.held: OrderedDict[str, int] = OrderedDict()
        """What it holds beside that, the oldest first: by id the `mtime` of its version."""


class Audience(Generic[MemberT]):
    """Those who have a subscription under one `uid`. They are sent the very same bytes."""

    __slots__ = ("_prefix", "interest", "members", "uid")

    def __init__(self, interest: "Interest[MemberT]", uid: str) -> None:
        self.interest = interest
        self.uid = uid
        self.members: dict[MemberT, Subscription] = {}
        """In the order of their joining."""
        self._prefix = f"{uid}:{interest.wanted.collection.name}:"

    def event(self, name: str, json: bytes) -> bytes:
        """The Socket.IO packet of something that has happened: `uid:collection:name`."""
        return frames.event(self._prefix + name, json)

    @property
    def newest(self) -> int:
        """The number of who joined last."""
        return self.members[next(reversed(self.members))].number


class Interest(Generic[MemberT]):
    """What equal subscriptions want, from the first that is made to the last that ends."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.audiences: dict[str, Audience[MemberT]] = {}
        """By `uid`."""
        self.awaiting = 0
        """Subscriptions that are being made."""
        self.recent = Recent()
        """The documents that match, as far as they were looked for."""
        self.looking_back = asyncio.Lock()
        """Held by who looks through what its rooms remember from before it."""
        self.looks: dict[str, Any] = {}
        """By id how a document is told to those who come (`services.gateway.subscriptions.entering`)."""
        self.complete_from: int | None = None
        """All that its rooms have above this `seq` was looked at; None: what came since it began."""
        self.earliest: int | None = None
        """Nobody asked for what is not after this `seq`; None where there is nobody."""
        self.number = 0
        """How many documents were sent to all."""
        self.sent: OrderedDict[str, Sent] = OrderedDict()
        """Those that are followed for all who hold them, the oldest first."""
        self.named: Counter[str] = Counter()
        """How many hold documents by themselves (`Subscription.held`)."""
        self.contents: dict[str, tuple[int, int]] = {}
        """Of documents in `named`, as far as they are known: the `mtime` of a version and the hash of its fields."""
        self.project = Projection(wanted.fields)
        """Makes of a document what is sent of it."""

    @property
    def empty(self) -> bool:
        """Whether nobody has it any more."""
        return not (self.audiences or self.awaiting)

    def matches(self, document: Document, facets: Facets) -> bool:
        """Whether a document is one that is wanted when it is new."""
        query = self.wanted.query
        return query is not None and query.matches(document, facets)

    def join(self, member: MemberT, uid: str, after: int = 0) -> Audience[MemberT]:
        """A member has it from now on, and has been told all after the `seq` `after`."""
        audience = self.audiences.get(uid)
        if audience is None:
            audience = self.audiences[uid] = Audience(self, uid)
        audience.members[member] = Subscription(self.number + 1, after)
        self.earliest = after if self.earliest is None else min(after, self.earliest)
        return audience

    def leave(self, member: MemberT, uid: str) -> None:
        """A member has it no more."""
        audience = self.audiences[uid]
        subscription = audience.members.pop(member)
        self.let_go(subscription, list(subscription.held))
        if not audience.members:
            del self.audiences[uid]
        if not self.audiences:
            self.earliest = None

    def hold(self, subscription: Subscription, id: str, mtime: int) -> None:
        """A member holds a document by itself, in the version of `mtime`."""
        if id not in subscription.held:
            self.named[id] += 1
        subscription.held[id] = mtime

    def let_go(self, subscription: Subscription, ids: Iterable[str]) -> None:
        """A member is not told any more of documents that it held by itself."""
        for id in ids:
            del subscription.held[id]
            self.named[id] -= 1
            if not self.named[id]:
                del self.named[id]
                self.contents.pop(id, None)

    def follows(self, id: str) -> bool:
        """Whether anybody may hold a document."""
        return id in self.sent or id in self.named
