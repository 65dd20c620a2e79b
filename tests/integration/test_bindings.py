"""A gateway's interest against the broker's own list: whatever comes and goes, in the end exactly what is wanted."""

import asyncio
import random
import uuid

import pytest

from services.gateway.bindings import CHANNELS, Bindings
from shared.broker import connect
from shared.labels import Label
from shared.tasks import first_of
from tests.support.broker import Broker
from tests.support.waiting import eventually

LABELS = [Label.of("term", f"room {number}") for number in range(12)]
PINNED = Label.of("action", "update")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_any_coming_and_going_exactly_the_wanted_labels_are_bound(broker: Broker, seed: int) -> None:
    chance = random.Random(seed)
    released: list[Label] = []
    bindings = Bindings([PINNED], unbind_after_s=0.01, released=released.append)
    wanted: set[Label] = set()

    async def come_and_go() -> None:
        for _ in range(150):
            label = chance.choice(LABELS)
            if label in wanted:
                wanted.discard(label)
                bindings.release(label)
            else:
                wanted.add(label)
                # Somebody who waits for the room, and somebody who comes at the same time.
                await asyncio.gather(bindings.want(label), bindings.want(label))
            await asyncio.sleep(chance.choice([0, 0, 0.005, 0.02]))

    async def keep(name: str, complete: asyncio.Event) -> None:
        async def bound() -> None:
            complete.set()

        async with connect(broker.amqp_url("gateway"), name="test") as connection:
            await (await connection.channel()).declare_exclusive_queue(name)
            queues = [await (await connection.channel()).queue(name) for _ in range(CHANNELS)]
            await bindings.keep(queues, bound)

    async def lose_and_return() -> None:
        """One connection after the other, each given up while rooms come and go."""
        for _ in range(3):
            complete = asyncio.Event()
            await first_of(keep(f"gateway.{uuid.uuid4().hex}", complete), complete.wait())

    await asyncio.gather(come_and_go(), lose_and_return())

    name, complete = f"gateway.{uuid.uuid4().hex}", asyncio.Event()
    keeping = asyncio.create_task(keep(name, complete))
    try:
        await asyncio.wait_for(complete.wait(), 10)
        await come_and_go()
        keys = sorted(label.key for label in {PINNED, *wanted})
        await eventually(lambda: sorted(key for queue, key in broker.bindings() if queue == name) == keys)
        assert len(bindings) == len(keys)
        assert set(released) <= set(LABELS)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
