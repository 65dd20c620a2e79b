"""The router's work: classify what has come, publish what came of it, then acknowledge.

Batches grow with the load by themselves: what has come while the last ones were classified makes the next.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import NamedTuple

import structlog

from services.router.classify import Classified, classify
from services.router.matcher import Matcher
from shared import feed, metrics, raw
from shared.broker import Channel, Message, Outgoing, Queue, RefusedError
from shared.events import SCHEMA_VERSION
from shared.tasks import together
from shared.topology import DEAD_EXCHANGE, TWEETS_EXCHANGE

log = structlog.get_logger()

MOST_BYTES = 192 * 1024
"""Raw batches classified in one turn of the loop, with one more, which may have half a MiB: up to 5 ms, and up to 10
where 100,000 terms are wanted."""

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
        self._under_way: deque[_Routed] = deque()
        self._routed = asyncio.Event()
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
            publishing = [routed.published for routed in self._under_way]
            self._under_way.clear()
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
            self._under_way.append(_Routed(taken[-1].tag, result, published))
            self._routed.set()
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
        """Acknowledge what is published, in the order of its coming, and all at once that is.

        One acknowledgement takes a turn or two of the loop, as the classification of a batch does: one for each would
        fall behind, and the prefetch would be used up by batches that are done.
        """
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting and not self._under_way:
                self._idle.set()
            while not self._under_way:
                self._routed.clear()
                await self._routed.wait()
            patience = loop.call_later(CONFIRM_PATIENCE_S, self._held_up, True)
            try:
                await self._under_way[0].published
            finally:
                patience.cancel()
            self._held_up(False)
            done = [*takewhile(_is_published, self._under_way)]
            for _ in done:
                self._under_way.popleft()
            await queue.ack_up_to(done[-1].tag)
            for routed in done:
                _count(routed.result)

    async def _publish(self, result: Classified) -> None:
        messages = [Outgoing(one.keys, SCHEMA_VERSION, one.body, feed.TYPE) for one in result.messages]
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


def _is_published(routed: _Routed) -> bool:
    """Whether all that was made of it is confirmed; one that failed is no such, and raises when its turn has come."""
    return routed.published.done() and not routed.published.cancelled() and routed.published.exception() is None


def _count(result: Classified) -> None:
    """Tell what was done with a turn's batches, once they are acknowledged."""
    metrics.ROUTER_RECEIVED.inc(result.events)
    metrics.ROUTER_BY_HAND.inc(result.by_hand)
    metrics.ROUTER_PUBLISHED.inc(result.published)
    metrics.ROUTER_MESSAGES.inc(len(result.messages))
    metrics.ROUTER_UNMATCHED.inc(result.unmatched)
    metrics.ROUTER_DEAD.inc(sum(one.events for one in result.dead))
