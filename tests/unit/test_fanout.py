"""When what is told to rooms leaves, with members that only remember what they were sent."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any, cast

import msgpack
import pytest

from services.gateway import frames
from services.gateway.connection import Connection
from services.gateway.outbox import LONGEST_WAIT_S, MAX_WAITING_BYTES
from services.gateway.rooms import Room
from shared.broker import Message
from shared.events import to_document
from shared.labels import ALL, Label
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.unit.parts import Parts

NFL = Label("term", "nfl")
_seq = itertools.count(1)


class Member:
    """A client that takes whatever it is sent, or nothing."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.ready: Callable[[bytes], None] | None = self.writes.append
        self.delivered: list[tuple[object, list[bytes]]] = []
        self.posted: list[str] = []

    def deliver(self, outlet: object, batch: frames.Batch) -> None:
        self.delivered.append((outlet, list(batch.events)))

    def post(self, packet: Any) -> None:
        self.posted.append(packet.encode())


class Story:
    """A fanout with two rooms."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        parts = Parts(everybody=cast(list[Connection], self.members))
        self.rooms, self.fanout, self.outbox = parts.rooms, parts.fanout, parts.outbox

    def come(self, *labels: Label) -> Member:
        member = Member()
        self.members.append(member)
        for label in labels:
            if label in self.rooms:
                self.outbox.settle(self.room(label))
            self.rooms.join(cast(Connection, member), label)
        return member

    def tweet(self, *texts: str, keys: tuple[str, ...] = ("all",)) -> None:
        documents = [to_document(tweet(text), next(_seq)) for text in texts]

        async def ack() -> None:
            pass

        headers = {"v": 1, "CC": list(keys[1:])}
        self.fanout.deliver(Message(msgpack.packb(documents), keys[0], headers, ack))

    def room(self, label: Label) -> Room[Connection]:
        room = self.rooms.with_key(label.key)
        assert room is not None
        return room


def events(write: bytes) -> int:
    """How many frames of new tweets a write has."""
    return write.count(b'42["newTweet"')


async def test_an_idle_gateway_sends_in_the_next_turn_of_the_loop() -> None:
    story = Story()
    member = story.come(ALL)
    story.tweet("one", "two")
    assert member.writes == [], "not before others of the same turn can be with it"
    await asyncio.sleep(0)
    assert [events(write) for write in member.writes] == [2]


async def test_what_comes_in_one_turn_leaves_in_one_write_for_each_room_and_is_made_once() -> None:
    story = Story()
    one, other = story.come(ALL, NFL), story.come(ALL)
    for number in range(10):
        story.tweet(f"nfl {number}", keys=("all", "term.nfl"))
    await asyncio.sleep(0)
    assert [events(write) for write in one.writes] == [10, 10]
    assert [events(write) for write in other.writes] == [10]
    assert any(write is other.writes[0] for write in one.writes), "the very same bytes"


async def test_under_load_it_rests_as_long_as_it_worked_and_ten_milliseconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story()
    member = story.come(ALL)

    def slow(data: bytes) -> None:
        member.writes.append(data)
        time.sleep(0.1)  # a write that takes its time

    member.ready = slow
    story.tweet("one")
    await asyncio.sleep(0)
    assert len(member.writes) == 1
    member.ready = member.writes.append
    loop = asyncio.get_running_loop()
    began = loop.time()
    rest = story.outbox._rest_until - began
    assert 0 < rest <= LONGEST_WAIT_S
    story.tweet("two")
    await asyncio.sleep(0)
    story.tweet("three")
    assert len(member.writes) == 1, "it rests"
    await eventually(lambda: len(member.writes) == 2)
    assert events(member.writes[1]) == 2
    await eventually(lambda: loop.time() > story.outbox._rest_until)
    story.tweet("four")
    await asyncio.sleep(0)
    assert len(member.writes) == 3, "and is idle again"


async def test_messages_that_leave_the_loop_no_turn_are_sent_all_the_same() -> None:
    story = Story()
    member = story.come(ALL)
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 0.1:
        story.tweet(f"{number}")
        number += 1
    assert len(member.writes) > 2, "although the loop had no turn"
    await eventually(lambda: sum(map(events, member.writes)) == number)


async def test_a_room_that_has_much_to_say_says_it_at_once() -> None:
    story = Story()
    member, other = story.come(ALL), story.come(NFL)
    story.outbox.put(story.room(NFL), story.room(NFL).event("asking", b"{}"))
    while not member.writes:
        story.tweet("x" * 10_000)
    assert MAX_WAITING_BYTES < len(member.writes[0]) < MAX_WAITING_BYTES + 15_000
    assert other.writes == [], "nobody else's"
    await asyncio.sleep(0)
    assert len(other.writes) == 1


async def test_who_joins_gets_nothing_from_before_and_who_leaves_all_up_to_then() -> None:
    story = Story()
    early = story.come(ALL)
    story.tweet("before")
    late = story.come(ALL)
    assert [events(write) for write in early.writes] == [1]
    story.tweet("after")
    await asyncio.sleep(0)
    assert [events(write) for write in late.writes] == [1]
    assert b"after" in late.writes[0]
    story.tweet("last")
    story.outbox.settle(story.room(ALL))
    story.rooms.leave(cast(Connection, early), ALL)
    story.tweet("never")
    await asyncio.sleep(0)
    assert [b"last" in write for write in early.writes] == [False, False, True]


async def test_members_that_are_not_ready_are_handed_the_events() -> None:
    story = Story()
    ready, polling = story.come(ALL), story.come(ALL)
    polling.ready = None
    story.tweet("one")
    await asyncio.sleep(0)
    assert len(ready.writes) == 1
    ((outlet, handed),) = polling.delivered
    assert outlet is story.room(ALL)
    assert [frames.frame(frames.TEXT, b"4" + event) for event in handed] == ready.writes
    story.outbox.send_everybody(frames.event("status", b"{}"))
    assert ready.writes[-1] == frames.frame(frames.TEXT, polling.posted[-1].encode())


async def test_for_a_room_without_members_no_event_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    member = story.come(ALL)
    story.rooms.leave(cast(Connection, member), ALL)
    monkeypatch.setattr(frames, "event", lambda *_: pytest.fail("it is made"))
    story.tweet("one")
    await asyncio.sleep(0)
    assert member.writes == []
