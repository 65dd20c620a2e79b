"""Rooms against the plainest model of them: a set of (socket, room) and a set of open rooms."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.gateway.rooms import Room, Rooms
from shared.labels import ALL, Label

LABELS = [ALL, Label("has_url"), Label("term", "nfl"), Label("tag", "nfl")]
sockets = st.sampled_from(["one", "two", "three"])
labels = st.sampled_from(LABELS)


class RoomsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rooms: Rooms[str] = Rooms()
        self.members: set[tuple[str, Label]] = set()
        self.open: dict[Label, Room[str]] = {}

    def others(self, label: Label) -> bool:
        return any(joined == label for _, joined in self.members)

    @rule(sid=sockets, label=labels)
    def join(self, sid: str, label: Label) -> None:
        room = self.rooms.join(sid, label)
        assert room.label == label
        assert room is self.open.setdefault(label, room), "a room that is open is the same room for everybody"
        self.members.add((sid, label))

    @rule(sid=sockets, label=labels)
    def leave(self, sid: str, label: Label) -> None:
        was_member = (sid, label) in self.members
        self.members.discard((sid, label))
        assert self.rooms.leave(sid, label) == (was_member and not self.others(label))

    @rule(sid=sockets)
    def disconnect(self, sid: str) -> None:
        left = {label for member, label in self.members if member == sid}
        self.members = {(member, label) for member, label in self.members if member != sid}
        last = self.rooms.leave_all(sid)
        assert sorted(last, key=LABELS.index) == [
            label for label in LABELS if label in left and not self.others(label)
        ]

    @rule(label=labels)
    def close(self, label: Label) -> None:
        self.rooms.close(label)
        if not self.others(label):
            self.open.pop(label, None)

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert len(self.rooms) == len(self.open)
        assert set(self.rooms.all()) == set(self.open.values())
        for label in LABELS:
            room = self.open.get(label)
            assert (label in self.rooms) == (room is not None)
            assert self.rooms.with_key(label.key) is room
            members = {sid for sid, joined in self.members if joined == label}
            assert set(room.members if room else ()) == members
            for sid in ("one", "two", "three"):
                assert self.rooms.is_member(sid, label) == (sid in members)


TestRooms = RoomsMachine.TestCase
TestRooms.settings = settings(deadline=None, max_examples=100, stateful_step_count=30)


def test_a_room_closed_and_opened_again_is_another_room() -> None:
    rooms: Rooms[str] = Rooms()
    before = rooms.join("one", ALL)
    assert rooms.leave("one", ALL)
    assert rooms.join("two", ALL) is before, "an empty room waits until somebody closes it"
    rooms.close(ALL)
    assert rooms.with_key("all") is before, "a room with a member is not closed"
    rooms.leave("two", ALL)
    rooms.close(ALL)
    assert rooms.with_key("all") is None
    after = rooms.join("one", ALL)
    assert after is not before
    assert set(after.members) == {"one"}
    assert before.members == {}
