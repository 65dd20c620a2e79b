"""When the router acknowledges what it has routed: once all that was made of it is confirmed, and in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from services.router.matcher import Matcher
from services.router.worker import Worker
from shared import raw
from shared.broker import Channel, Message, Outgoing, Queue
from tests.support.tweets import tweet
from tests.support.waiting import eventually


class Publishing:
    """A channel whose broker confirms when the test says so."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[int]] = []

    async def publish_all(self, exchange: str, messages: Sequence[Outgoing]) -> int:
        assert [message.keys for message in messages] == [("term.nfl",)]
        confirmed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.calls.append(confirmed)
        return await confirmed


class Acknowledged:
    """A queue that notes what is acknowledged; the broker takes an acknowledgement when it may."""

    def __init__(self) -> None:
        self.tags: list[int] = []
        self.may = asyncio.Event()
        self.may.set()

    async def ack_up_to(self, tag: int) -> None:
        self.tags.append(tag)
        await self.may.wait()


async def _never() -> None:
    raise AssertionError("each by itself")


def batch(number: int) -> Message:
    body = raw.pack([raw.entry(tweet(f"nfl {number}"), number)])
    return Message(body, "", raw.headers(), _never, tag=number)


@asynccontextmanager
async def working() -> AsyncIterator[tuple[Worker, Publishing, Acknowledged]]:
    matcher = Matcher(max_terms=10)
    matcher.want("term.nfl")
    publishing, queue = Publishing(), Acknowledged()
    worker = Worker(matcher, cast(Channel, cast(Any, publishing)))
    running = asyncio.create_task(worker.run(cast(Queue, cast(Any, queue))))
    try:
        yield worker, publishing, queue
    finally:
        running.cancel()
        await asyncio.wait([running])


async def route(worker: Worker, publishing: Publishing, *numbers: int) -> None:
    """Each in a turn of its own."""
    for number in numbers:
        await worker.handle(batch(number))
        calls = len(publishing.calls)
        await eventually(lambda calls=calls: len(publishing.calls) == calls + 1)


async def settle() -> None:
    """Let everybody do what is to be done."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_is_confirmed_first_waits_for_what_came_first() -> None:
    async with working() as (worker, publishing, queue):
        await route(worker, publishing, 1, 2, 3)
        for later in (2, 1):
            publishing.calls[later].set_result(0)
        await settle()
        assert queue.tags == []
        publishing.calls[0].set_result(0)
        await asyncio.wait_for(worker.idle(), 5)
        assert queue.tags == [3], "all that is done, in one acknowledgement"


async def test_what_is_not_confirmed_is_not_acknowledged_with_others() -> None:
    async with working() as (worker, publishing, queue):
        await route(worker, publishing, 1, 2, 3, 4)
        publishing.calls[3].set_result(0)
        publishing.calls[1].set_result(0)
        publishing.calls[0].set_result(0)
        await eventually(lambda: queue.tags == [2])
        await settle()
        assert queue.tags == [2]
        publishing.calls[2].set_result(0)
        await asyncio.wait_for(worker.idle(), 5)
        assert queue.tags == [2, 4]


async def test_while_one_acknowledgement_is_on_its_way_others_gather() -> None:
    async with working() as (worker, publishing, queue):
        queue.may.clear()
        await route(worker, publishing, 1)
        publishing.calls[0].set_result(0)
        await eventually(lambda: queue.tags == [1])
        await route(worker, publishing, 2, 3, 4)
        for call in publishing.calls[1:]:
            call.set_result(0)
        await settle()
        queue.may.set()
        await asyncio.wait_for(worker.idle(), 5)
        assert queue.tags == [1, 4]


async def test_what_could_not_be_published_ends_the_work_and_is_not_acknowledged() -> None:
    matcher = Matcher(max_terms=10)
    matcher.want("term.nfl")
    publishing, queue = Publishing(), Acknowledged()
    worker = Worker(matcher, cast(Channel, cast(Any, publishing)))
    running = asyncio.create_task(worker.run(cast(Queue, cast(Any, queue))))
    await route(worker, publishing, 1, 2)
    publishing.calls[1].set_exception(ConnectionError("lost"))
    publishing.calls[0].set_result(0)
    done, _ = await asyncio.wait([running], timeout=5)
    assert done and isinstance(running.exception(), ConnectionError)
    assert queue.tags == [1], "what came before it is done"
