"""Which documents are followed for whom, and which are let go of when they are too many. Pure.

An interest follows what it has sent to all who had it then, as one for all of them; a subscription follows what its
page held before (`interest`). Here all of it is counted, and found by id.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Generic, NamedTuple

from services.gateway.subscriptions.interest import Audience, Interest, MemberT, Sent, Subscription

_PART = 10
"""Of what was sent, and where all together are too many, a part goes at once, so that there is one notice for many:
so many parts make up all that may be followed."""


class LetGo(NamedTuple, Generic[MemberT]):
    """Documents that some members are not told of any more."""

    audience: Audience[MemberT]
    members: list[MemberT]
    ids: list[str]


class Followed(Generic[MemberT]):
    """All that is followed."""

    def __init__(self, *, limit: int, limit_of_one: int) -> None:
        """`limit` is for all together; `limit_of_one` for what an interest has sent, and for what a subscription's
        page held before."""
        self._limit = limit
        self._limit_of_one = limit_of_one
        self._interests: dict[str, dict[Interest[MemberT], None]] = {}
        # In the order of their coming.
        self._sent: OrderedDict[tuple[Interest[MemberT], str], None] = OrderedDict()
        self._holding: OrderedDict[tuple[Audience[MemberT], MemberT], int] = OrderedDict()
        self._held = 0

    def of(self, id: str) -> list[Interest[MemberT]]:
        """The interests for which a document is followed."""
        return list(self._interests.get(id, ()))

    def __len__(self) -> int:
        """How many are followed: one that was sent to all who have an interest counts once for all of them."""
        return len(self._sent) + self._held

    def sent(self, interest: Interest[MemberT], id: str, sent: Sent) -> list[LetGo[MemberT]]:
        """A document is sent to all who have an interest; returns what is let go of for it."""
        interest.sent[id] = sent
        self._interests.setdefault(id, {})[interest] = None
        self._sent[interest, id] = None
        gone: list[LetGo[MemberT]] = []
        if len(interest.sent) > self._limit_of_one:
            oldest = list(interest.sent)[: max(1, self._limit_of_one // _PART)]
            gone += self._let_go_of_sent(interest, oldest)
        return gone + self._make_room()

    def holds(
        self, audience: Audience[MemberT], member: MemberT, documents: Iterable[tuple[str, int]]
    ) -> list[LetGo[MemberT]]:
        """A member's page holds documents by `(id, mtime)`, the oldest first; returns what is let go of for it."""
        interest, subscription = audience.interest, audience.members[member]
        for id, mtime in documents:
            interest.hold(subscription, id, mtime)
            self._interests.setdefault(id, {})[interest] = None
        gone: list[LetGo[MemberT]] = []
        if (over := len(subscription.held) - self._limit_of_one) > 0:
            oldest = list(subscription.held)[:over]
            if ids := self._release(interest, subscription, oldest):
                gone.append(LetGo(audience, [member], ids))
        self._count(audience, member, len(subscription.held))
        return gone + self._make_room()

    def destroyed(self, interest: Interest[MemberT], id: str) -> None:
        """There is nothing any more to be told of a document."""
        if interest.sent.pop(id, None) is not None:
            del self._sent[interest, id]
        if id in interest.named:
            for audience in interest.audiences.values():
                for member, subscription in audience.members.items():
                    if id in subscription.held:
                        interest.let_go(subscription, [id])
                        self._count(audience, member, len(subscription.held))
        self._unlist(interest, id)

    def leaves(self, audience: Audience[MemberT], member: MemberT) -> None:
        """A member has a subscription no more."""
        interest = audience.interest
        held = list(audience.members[member].held)
        self._count(audience, member, 0)
        interest.leave(member, audience.uid)
        for id in held:
            self._unlist(interest, id)

    def ends(self, interest: Interest[MemberT]) -> None:
        """Nobody has an interest any more."""
        for id in list(interest.sent):
            self.destroyed(interest, id)

    def _count(self, audience: Audience[MemberT], member: MemberT, number: int) -> None:
        """A member holds so many documents by itself."""
        self._held += number - self._holding.get((audience, member), 0)
        if number:
            self._holding[audience, member] = number
        else:
            self._holding.pop((audience, member), None)

    def _make_room(self) -> list[LetGo[MemberT]]:
        """Let go of the oldest where all together are too many, of the kind of which there are more."""
        gone: list[LetGo[MemberT]] = []
        if len(self) <= self._limit:
            return gone
        too_many = len(self) - self._limit + self._limit // _PART
        if len(self._sent) > self._held:
            by_interest: dict[Interest[MemberT], list[str]] = {}
            for interest, id in islice(self._sent, too_many):
                by_interest.setdefault(interest, []).append(id)
            for interest, ids in by_interest.items():
                gone += self._let_go_of_sent(interest, ids)
            return gone
        while too_many > 0 and self._holding:
            # Of who has held some for longest.
            audience, member = next(iter(self._holding))
            subscription = audience.members[member]
            oldest = list(islice(subscription.held, too_many))
            if ids := self._release(audience.interest, subscription, oldest):
                gone.append(LetGo(audience, [member], ids))
            self._count(audience, member, len(subscription.held))
            too_many -= len(oldest)
        return gone

    def _let_go_of_sent(self, interest: Interest[MemberT], ids: list[str]) -> list[LetGo[MemberT]]:
        numbers = {id: interest.sent.pop(id).number for id in ids}
        first, is_named = min(numbers.values()), any(id in interest.named for id in ids)
        gone = []
        for audience in interest.audiences.values():
            whole: list[MemberT] = []
            # Some came later than some of them, or hold some by themselves and go on to be told of these.
            parts: dict[tuple[str, ...], list[MemberT]] = {}
            for member, one in audience.members.items():
                if one.number <= first and not (is_named and not one.held.keys().isdisjoint(numbers)):
                    whole.append(member)
                elif theirs := tuple(id for id in ids if numbers[id] >= one.number and id not in one.held):
                    parts.setdefault(theirs, []).append(member)
            gone += [LetGo(audience, members, list(theirs)) for theirs, members in parts.items()]
            if whole:
                gone.append(LetGo(audience, whole, ids))
        for id in ids:
            del self._sent[interest, id]
            self._unlist(interest, id)
        return gone

    def _release(self, interest: Interest[MemberT], one: Subscription, ids: list[str]) -> list[str]:
        """A member holds documents by itself no more; returns those of which it is told no more.

        What was sent to all, and so to this one too, it is told of all the same.
        """
        interest.let_go(one, ids)
        for id in ids:
            self._unlist(interest, id)
        return [id for id in ids if id not in interest.sent or interest.sent[id].number < one.number]

    def _unlist(self, interest: Interest[MemberT], id: str) -> None:
        if interest.follows(id):
            return
        interests = self._interests.get(id)
        if interests is not None:
            interests.pop(interest, None)
            if not interests:
                del self._interests[id]
