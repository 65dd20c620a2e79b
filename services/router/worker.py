"""The router's work on one raw batch: classify, publish what came of it, then acknowledge."""

import asyncio
import time

import structlog

from services.router.classify import Dead, classify
from services.router.matcher import Matcher
from shared import feed, metrics
from shared.broker import BrokerLostError, Channel, Message, RefusedError
from shared.topology import DEAD_EXCHANGE, TWEETS_EXCHANGE

log = structlog.get_logger()


class Worker:
    """Handles raw batches, several at a time, over one publishing channel with confirms."""

    def __init__(self, matcher: Matcher, publishing: Channel) -> None:
        self._matcher = matcher
        self._publishing = publishing
        self._under_way: set[asyncio.Task[None] | None] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, message: Message) -> None:
        """One raw batch. Acknowledged only when all that was made of it is confirmed, so nothing is lost halfway."""
        task = asyncio.current_task()
        self._under_way.add(task)
        self._idle.clear()
        try:
            began = time.perf_counter()
            result = classify(message.body, self._matcher.keys_of)
            metrics.ROUTER_CLASSIFY_SECONDS.observe(time.perf_counter() - began)
            await asyncio.gather(
                *(self._publish(one) for one in result.messages), *(self._bury(dead) for dead in result.dead)
            )
            await message.ack()
            metrics.ROUTER_RECEIVED.inc(result.events)
            metrics.ROUTER_PUBLISHED.inc(result.published)
            metrics.ROUTER_MESSAGES.inc(len(result.messages))
            metrics.ROUTER_UNMATCHED.inc(result.unmatched)
        except BrokerLostError:
            # The broker gives the batch to a router again; the session that owns this worker ends as well.
            pass
        finally:
            self._under_way.discard(task)
            if not self._under_way:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no batch is under way."""
        await self._idle.wait()

    async def _publish(self, message: feed.Message) -> None:
        try:
            await self._publishing.publish(
                TWEETS_EXCHANGE,
                message.body,
                routing_key=message.routing_key,
                type=feed.TYPE,
                headers=message.headers,
            )
        except RefusedError:
            # A consumer's own queue is full and refuses. The other queues have the message; to send it again
            # for one that can't keep up would let that one stop the stream for all.
            metrics.ROUTER_REFUSED.inc()

    async def _bury(self, dead: Dead) -> None:
        metrics.ROUTER_DEAD.inc()
        log.warning("unreadable, to dead-letters", reason=dead.reason, bytes=len(dead.body))
        await self._publishing.publish(
            DEAD_EXCHANGE, dead.body, type="dead", headers={"reason": dead.reason}, persistent=True
        )
