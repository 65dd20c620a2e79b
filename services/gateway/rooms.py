"""Which rooms are open and who is in them. Pure: what a member is does not matter here."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from services.gateway import frames
from services.gateway.recent import Recent
from services.gateway.subscriptions.interest import Interest
from shared.labels import Label

MemberT = TypeVar("MemberT", bound=Hashable)


class Room(Generic[MemberT]):
    """One room from its opening to its closing. Opened again it is another room, of which nobody saw anything."""

    __slots__ = ("awaiting", "earliest", "interests", "json", "key", "label", "members", "name", "recent")

    def __init__(self, label: Label) -> None:
        self.label = label
        self.key = label.key
        self.name = label.room
        self.json = frames.json(self.name)
        """The name as it stands in events."""
        self.members: dict[MemberT, int] = {}
        """Those who are told what comes, and after which `seq` they were told all."""
        self.earliest: int | None = None
        """None of them asked for what is not after this `seq`; None where there is nobody."""
        self.awaiting: set[MemberT] = set()
        """Those who have come and are not told anything yet: they wait for what they have missed."""
        self.interests: set[Interest[MemberT]] = set()
        """What subscriptions want of the tweets that come into this room."""
        self.recent = Recent()

    @property
    def empty(self) -> bool:
        """Whether there is nobody."""
        return not (self.members or self.awaiting or self.interests)

    def event(self, name: str, json: bytes) -> bytes:
        """The Socket.IO packet of something that has happened here: `(payload, room)`."""
        return frames.event(name, json, self.json)


class Rooms(Generic[MemberT]):
    """The rooms of one gateway. A room stays open when its last member leaves, until somebody closes it.

    Leaving costs nothing in proportion to all rooms.
    """

    def __init__(self) -> None:
        self._open: dict[str, Room[MemberT]] = {}
        self._joined: dict[MemberT, set[Room[MemberT]]] = {}

    def come(self, member: MemberT, label: Label) -> Room[MemberT]:
        """`member` comes into the room of `label`, which is opened if it is not; until `join` it is told nothing."""
        room = self._opened(label)
        if member not in room.members:
            room.awaiting.add(member)
        self._joined.setdefault(member, set()).add(room)
        return room

    def join(self, member: MemberT, label: Label, after: int = 0) -> Room[MemberT]:
        """Make `member` one of those who are told what comes; it has been told all after the `seq` `after`."""
        room = self.come(member, label)
        room.awaiting.discard(member)
        after = room.members[member] = min(after, room.members.get(member, after))
        room.earliest = after if room.earliest is None else min(after, room.earliest)
        return room

    def attach(self, interest: Interest[MemberT], label: Label) -> Room[MemberT]:
        """What comes into the room of `label`, which is opened if it is not, is of interest to subscriptions."""
        room = self._opened(label)
        room.interests.add(interest)
        return room

    def detach(self, interest: Interest[MemberT], label: Label) -> bool:
        """It is of interest no more; returns whether nobody is left there."""
        room = self._open.get(label.key)
        if room is None or interest not in room.interests:
            return False
        room.interests.discard(interest)
        return room.empty

    def leave(self, member: MemberT, label: Label) -> bool:
        """End a membership; returns whether `member` was the last one."""
        room = self._open.get(label.key)
        if room is None or not (member in room.members or member in room.awaiting):
            return False
        room.members.pop(member, None)
        if not room.members:
            room.earliest = None
        room.awaiting.discard(member)
        joined = self._joined[member]
        joined.discard(room)
        if not joined:
            del self._joined[member]
        return room.empty

    def leave_all(self, member: MemberT) -> list[Label]:
        """End every membership of `member`; returns the labels of which it was the last one."""
        return [room.label for room in list(self._joined.get(member, ())) if self.leave(member, room.label)]

    def close(self, label: Label) -> Room[MemberT] | None:
        """Close the room if it is open and empty; returns it."""
        room = self._open.get(label.key)
        return self._open.pop(label.key) if room is not None and room.empty else None

    def is_member(self, member: MemberT, label: Label) -> bool:
        """Whether `member` has come into the room."""
        room = self._open.get(label.key)
        return room is not None and (member in room.members or member in room.awaiting)

    def with_key(self, key: str) -> Room[MemberT] | None:
        """The open room whose canonical routing key is `key`."""
        return self._open.get(key)

    def all(self) -> list[Room[MemberT]]:
        """Every open room."""
        return list(self._open.values())

    def _opened(self, label: Label) -> Room[MemberT]:
        room = self._open.get(label.key)
        if room is None:
            room = self._open[label.key] = Room(label)
        return room

    def __contains__(self, label: Label) -> bool:
        """Whether the room of a label is open."""
        return label.key in self._open

    def __len__(self) -> int:
        """How many rooms are open."""
        return len(self._open)
