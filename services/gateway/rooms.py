"""Which rooms are open and who is in them. Pure: it knows sockets by their ids."""

from shared.labels import Label


class Room:
    """One room from its opening to its closing. Opened again it is another room, of which nobody saw anything."""

    __slots__ = ("key", "label", "members", "name")

    def __init__(self, label: Label) -> None:
        self.label = label
        self.key = label.key
        self.name = label.room
        self.members: set[str] = set()


class Rooms:
    """The rooms of one gateway. A room stays open when its last member leaves, until somebody closes it.

    Leaving costs nothing in proportion to all rooms.
    """

    def __init__(self) -> None:
        self._open: dict[str, Room] = {}
        self._joined: dict[str, set[Room]] = {}

    def join(self, sid: str, label: Label) -> Room:
        """Make `sid` a member of the room of `label`, which is opened if it is not."""
        room = self._open.get(label.key)
        if room is None:
            room = self._open[label.key] = Room(label)
        room.members.add(sid)
        self._joined.setdefault(sid, set()).add(room)
        return room

    def leave(self, sid: str, label: Label) -> bool:
        """End a membership; returns whether `sid` was the last member."""
        room = self._open.get(label.key)
        if room is None or sid not in room.members:
            return False
        room.members.discard(sid)
        joined = self._joined[sid]
        joined.discard(room)
        if not joined:
            del self._joined[sid]
        return not room.members

    def leave_all(self, sid: str) -> list[Label]:
        """End every membership of `sid`; returns the labels of which it was the last member."""
        return [room.label for room in list(self._joined.get(sid, ())) if self.leave(sid, room.label)]

    def close(self, label: Label) -> None:
        """Close the room if it is open and empty."""
        room = self._open.get(label.key)
        if room is not None and not room.members:
            del self._open[label.key]

    def joined(self, sid: str) -> int:
        """How many rooms `sid` is in."""
        return len(self._joined.get(sid, ()))

    def is_member(self, sid: str, label: Label) -> bool:
        """Whether `sid` is in the room."""
        room = self._open.get(label.key)
        return room is not None and sid in room.members

    def with_key(self, key: str) -> Room | None:
        """The open room whose canonical routing key is `key`."""
        return self._open.get(key)

    def all(self) -> list[Room]:
        """Every open room."""
        return list(self._open.values())

    def __contains__(self, label: Label) -> bool:
        """Whether the room of a label is open."""
        return label.key in self._open

    def __len__(self) -> int:
        """How many rooms are open."""
        return len(self._open)
