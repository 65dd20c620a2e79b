"""Rooms that come and go in great numbers, against the broker's own list of what is bound."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.gateway.bindings import CHANNELS, Bindings
from services.gateway.catchup import CHANGES
from services.gateway.rooms import Rooms
from shared.broker import connect
from shared.labels import Label
from tests.support.broker import Broker
from tests.support.services import metric
from tests.support.waiting import PATIENCE_S, eventually


class Interest:
    """Rooms and bindings as a gateway has them, and sockets that come and go."""

    def __init__(self, *, unbind_after_s: float) -> None:
        self.rooms: Rooms[str] = Rooms()
        self.bindings = Bindings(CHANGES, unbind_after_s=unbind_after_s, released=self.rooms.close)
        self.queue = ""

    async def join(self, sid: str, label: Label) -> None:
        self.rooms.join(sid, label)
        await self.bindings.want(label)

    def leave_all(self, sid: str) -> None:
        for label in self.rooms.leave_all(sid):
            self.bindings.release(label)

    async def session(self, broker: Broker, complete: asyncio.Event) -> None:
        """Everything on a connection and a queue of its own, until cancelled."""

        async def bound() -> None:
            complete.set()

        async with connect(broker.amqp_url("gateway"), name="test gateway") as connection:
            self.queue = f"gateway.{uuid.uuid4().hex}"
            await (await connection.channel()).declare_exclusive_queue(self.queue)
            queues = [await (await connection.channel()).queue(self.queue) for _ in range(CHANNELS)]
            await self.bindings.keep(queues, bound)


@asynccontextmanager
async def session(broker: Broker, interest: Interest) -> AsyncIterator[None]:
    """A time in which the broker is there and all is bound that was wanted before."""
    complete = asyncio.Event()
    task = asyncio.create_task(interest.session(broker, complete))
    try:
        await asyncio.wait_for(complete.wait(), 30)
        yield
        assert not task.done(), task
    finally:
        await end(broker, interest, task)


async def end(broker: Broker, interest: Interest, task: asyncio.Task[None]) -> None:
    """Lose the connection. It takes the broker a moment to forget many bindings; others have to wait meanwhile."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await eventually(lambda: _is(broker, interest, []), within_s=60, what="the broker has forgotten the queue")


async def bound(broker: Broker, interest: Interest) -> list[str]:
    """The keys that the broker has for the queue, each as often as it has it."""
    rows: list[dict[str, Any]] = await asyncio.to_thread(broker.get, "/api/exchanges/%2F/tweets/bindings/source")
    return sorted(row["routing_key"] for row in rows if row["destination"] == interest.queue)


def keys(labels: Iterable[Label] = ()) -> list[str]:
    return sorted(label.key for label in {*CHANGES, *labels})


def timers() -> int:
    """Calls that the loop has been asked to make later."""
    loop: Any = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)


async def test_three_hundred_new_rooms_a_second_are_all_bound(broker: Broker) -> None:
    interest = Interest(unbind_after_s=60)
    labels = [Label.of("term", f"crowd {number}") for number in range(1200)]
    longest = 0.0

    async def join_at(label: Label, moment: float) -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        await asyncio.sleep(moment - loop.time())
        await interest.join(label.key, label)
        longest = max(longest, loop.time() - moment)

    async with session(broker, interest):
        start = asyncio.get_running_loop().time()
        await asyncio.gather(*(join_at(label, start + number / 300) for number, label in enumerate(labels)))
        assert await bound(broker, interest) == keys(labels)
        assert longest < PATIENCE_S, "nobody has waited long"


@pytest.mark.slow
async def test_ten_thousand_rooms_come_and_go_and_leave_nothing(broker: Broker) -> None:
    interest = Interest(unbind_after_s=0.1)
    labels = [Label.of("term", f"storm {number}") for number in range(10_000)]
    before = timers()
    async with session(broker, interest):
        await asyncio.gather(*(interest.join(f"socket {number % 50}", label) for number, label in enumerate(labels)))
        assert len(interest.bindings) == len(labels) + len(CHANGES)
        assert await bound(broker, interest) == keys(labels)
        for number in range(50):
            interest.leave_all(f"socket {number}")
        # While all the others are let go, somebody comes into a room and does not wait for them.
        newcomer = Label.of("term", "newcomer")
        await eventually(lambda: len(interest.rooms) == 0, what="the rooms are closed")
        left = len(interest.bindings)
        await interest.join("late", newcomer)
        assert len(interest.bindings) > left / 2
        interest.leave_all("late")
        await eventually(lambda: len(interest.bindings) == len(CHANGES), within_s=60, what="all is unbound")
        await eventually(lambda: _is(broker, interest, keys()))
        assert metric("roost_gateway_bindings") == len(CHANGES)
        await eventually(lambda: timers() <= before + 2, what="the timers are gone")
        assert leftovers(interest) == []


@pytest.mark.slow
async def test_ten_thousand_rooms_are_bound_again_after_a_loss_and_keep_nobody_waiting(broker: Broker) -> None:
    interest = Interest(unbind_after_s=60)
    labels = [Label.of("term", f"again {number}") for number in range(10_000)]
    for label in labels:
        await asyncio.wait_for(interest.join("early", label), 1)
    complete = asyncio.Event()
    task = asyncio.create_task(interest.session(broker, complete))
    try:
        await eventually(lambda: len(interest.bindings) > 100, what="the first are bound")
        newcomer = Label.of("term", "newcomer")
        await asyncio.wait_for(interest.join("late", newcomer), PATIENCE_S)
        assert len(interest.bindings) < len(labels), "it was not the last one"
        assert not complete.is_set()
        await asyncio.wait_for(complete.wait(), 60)
        assert await bound(broker, interest) == keys([*labels, newcomer])
    finally:
        await end(broker, interest, task)


async def test_who_waits_for_a_room_that_is_let_go_is_released_and_may_come_again(broker: Broker) -> None:
    interest = Interest(unbind_after_s=0)
    crowd = [Label.of("term", f"before {number}") for number in range(300)]
    label = Label.of("term", "impatient")
    async with session(broker, interest):
        waiting = [asyncio.create_task(interest.join("crowd", other)) for other in crowd]
        waiting.append(asyncio.create_task(interest.join("impatient", label)))
        await asyncio.sleep(0)
        # The socket goes while its room waits behind the others, and so does the room.
        interest.leave_all("impatient")
        assert interest.bindings.let_go_longest_left()
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)
        assert await bound(broker, interest) == keys(crowd)
        await asyncio.wait_for(interest.join("patient", label), PATIENCE_S)
        assert await bound(broker, interest) == keys([*crowd, label])
        interest.leave_all("patient")
        await eventually(lambda: _is(broker, interest, keys(crowd)))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_a_storm_of_many_sockets_exactly_the_rooms_with_members_are_bound(
    broker: Broker, seed: int
) -> None:
    chance = random.Random(seed)
    interest = Interest(unbind_after_s=0.02)
    labels = [Label.of("term", f"storm {number}") for number in range(60)]

    async def come_and_go(sid: str) -> None:
        for _ in range(12):
            joining = [
                asyncio.create_task(interest.join(sid, label))
                for label in chance.sample(labels, chance.randint(1, 8))
            ]
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.03]))
            if chance.random() < 0.1:
                interest.bindings.let_go_longest_left()
            if chance.random() < 0.7:
                interest.leave_all(sid)
            # Whether the socket is there or gone, everybody who waits for a room gets an answer.
            await asyncio.wait_for(asyncio.gather(*joining), PATIENCE_S)

    sockets = [f"socket {number}" for number in range(40)]
    losses = chance.randint(1, 2)
    storm = asyncio.gather(*map(come_and_go, sockets))
    for _ in range(losses):
        async with session(broker, interest):
            await asyncio.sleep(0.1)
    async with session(broker, interest):
        await storm
        open_rooms = [label for label in labels if any(interest.rooms.is_member(sid, label) for sid in sockets)]
        await eventually(lambda: _is(broker, interest, keys(open_rooms)))
        assert {room.label for room in interest.rooms.all()} == set(open_rooms)
        for sid in sockets:
            interest.leave_all(sid)
        await eventually(lambda: _is(broker, interest, keys()))
        assert leftovers(interest) == []


async def _is(broker: Broker, interest: Interest, wanted: list[str]) -> bool:
    return await bound(broker, interest) == wanted


def leftovers(interest: Interest) -> list[str]:
    """Which parts still hold anything of rooms that are closed."""
    bindings: Any = interest.bindings
    parts = {
        "rooms": interest.rooms.all(),
        "memberships": interest.rooms._joined,
        "wanted": bindings._wanted - set(CHANGES),
        "bound": bindings._bound - set(CHANGES),
        "leaving": bindings._leaving,
        "waiting": bindings._waiting,
        "turns": [turn for turns in bindings._turns for turn in turns._queue],
    }
    return [name for name, part in parts.items() if part]
