"""The router's work: classify what has come, publish what came of it, then acknowledge.

Batches grow with the load by themselves: what has come while the last ones were classified makes the next.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from services.router.classify import Classified, classify
from services.router.matcher import Matcher
from shared import feed, metrics, raw
from shared.broker import Channel, Message, Outgoing, Queue, RefusedError
from shared.tasks import together
from shared.topology import DEAD_EXCHANGE, TWEETS_EXCHANGE

log = structlog.get_logger()

MOST_BYTES = 192 * 1024
"""Raw batches classified in one turn of the loop, with one more: some 3 ms, as ingest makes them."""

CONFIRM_PATIENCE_S = 5.0
"""Time without a confirm after which it is said that something is wrong."""


class _Routed(NamedTuple):
    """What was taken in one turn."""

    tag: int
    """Of the last message."""
    result: Classified
    published: "asyncio.Task[None]"


class Worker:
    """Routes what one queue brings, over one publishing channel with confirms.

    The queue's prefetch bounds what is under way: what waits here and what is published and not confirmed.
    """

    def __init__(
        self, matcher: Matcher, publishing: Channel, *, held_up: Callable[[bool], None] = lambda _: None
    ) -> None:
        """`held_up` is told when the broker confirms nothing any more, and whenever it has confirmed something."""
        self._matcher = matcher
        self._publishing = publishing
        self._held_up = held_up
        self._waiting: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._under_way: asyncio.Queue[_Routed] = asyncio.Queue()
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, message: Message) -> None:
        """Take one raw batch."""
        self._waiting.append(message)
        self._arrived.set()
        self._idle.clear()

    async def run(self, queue: Queue) -> None:
        """Route what `handle` is given of `queue`, until cancelled.

        A batch is acknowledged only when all that was made of it is confirmed, so nothing is lost halfway. Raises
        `BrokerLostError`: the broker gives what is not acknowledged to a router again.
        """
        try:
            await together(self._route(), self._acknowledge(queue))
        finally:
            publishing = [self._under_way.get_nowait().published for _ in range(self._under_way.qsize())]
            for task in publishing:
                task.cancel()
            await asyncio.gather(*publishing, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        await self._idle.wait()

    async def _route(self) -> None:
        while True:
            await self._arrived.wait()
            taken = self._take()
            began = time.perf_counter()
            result = classify([(message.headers, message.body) for message in taken], self._matcher.keys_of)
            metrics.ROUTER_CLASSIFY_SECONDS.observe(time.perf_counter() - began)
            published = asyncio.create_task(self._publish(result))
            self._under_way.put_nowait(_Routed(taken[-1].tag, result, published))
            await asyncio.sleep(0)  # for everybody else

    def _take(self) -> list[Message]:
        taken: list[Message] = []
        size = 0
        while self._waiting and size < MOST_BYTES:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].body)
        if not self._waiting:
            self._arrived.clear()
        return taken

    async def _acknowledge(self, queue: Queue) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting and self._under_way.empty():
                self._idle.set()
            tag, result, published = await self._under_way.get()
            patience = loop.call_later(CONFIRM_PATIENCE_S, self._held_up, True)
            try:
                await published
            finally:
                patience.cancel()
            self._held_up(False)
            await queue.ack_up_to(tag)
            metrics.ROUTER_RECEIVED.inc(result.events)
            metrics.ROUTER_BY_HAND.inc(result.by_hand)
            metrics.ROUTER_PUBLISHED.inc(result.published)
            metrics.ROUTER_MESSAGES.inc(len(result.messages))
            metrics.ROUTER_UNMATCHED.inc(result.unmatched)
            metrics.ROUTER_DEAD.inc(sum(one.events for one in result.dead))

    async def _publish(self, result: Classified) -> None:
        messages = [Outgoing(one.routing_key, one.headers, one.body, feed.TYPE) for one in result.messages]
        # One is refused where a consumer's own queue is full and refuses. The other queues have it; to send it again
        # for one that can't keep up would let that one stop the stream for all.
        metrics.ROUTER_REFUSED.inc(await self._publishing.publish_all(TWEETS_EXCHANGE, messages))
        if result.dead:
            log.warning("unreadable, to dead-letters", letters=len(result.dead), reason=result.dead[0].reason)
            await asyncio.gather(*(self._bury(dead) for dead in result.dead))

    async def _bury(self, dead: raw.Unreadable) -> None:
        headers = {"v": dead.format, "reason": dead.reason, "at": int(time.time())}
        try:
            await self._publishing.publish(DEAD_EXCHANGE, dead.body, type=raw.TYPE, headers=headers, persistent=True)
        except RefusedError:
            log.error("dead-letters is full and refuses; the message is dropped", reason=dead.reason)
