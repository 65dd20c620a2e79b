"""The router's work on one raw batch: classify, publish what came of it, then acknowledge."""

import asyncio
import time
from collections.abc import Callable

import structlog

from services.router.classify import Classified, Dead, classify, dead_batch
from services.router.matcher import Matcher
from shared import feed, metrics
from shared.broker import Channel, Message, RefusedError
from shared.events import SCHEMA_VERSION
from shared.topology import DEAD_EXCHANGE, TWEETS_EXCHANGE

log = structlog.get_logger()

CONFIRM_PATIENCE_S = 5.0
"""Time without a confirm after which it is said that something is wrong."""


class Worker:
    """Handles raw batches, several at a time, over one publishing channel with confirms."""

    def __init__(
        self, matcher: Matcher, publishing: Channel, *, held_up: Callable[[bool], None] = lambda _: None
    ) -> None:
        """`held_up` is told when the broker confirms nothing any more, and with each batch that it has confirmed."""
        self._held_up = held_up
        self._matcher = matcher
        self._publishing = publishing
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, message: Message) -> None:
        """One raw batch. Acknowledged only when all that was made of it is confirmed, so nothing is lost halfway.

        Raises `BrokerLostError`: the broker gives the batch to a router again.
        """
        self._under_way += 1
        self._idle.clear()
        patience = asyncio.get_running_loop().call_later(CONFIRM_PATIENCE_S, self._held_up, True)
        try:
            began = time.perf_counter()
            result = self._classify(message)
            metrics.ROUTER_CLASSIFY_SECONDS.observe(time.perf_counter() - began)
            await asyncio.gather(
                *(self._publish(one) for one in result.messages), *(self._bury(dead) for dead in result.dead)
            )
            self._held_up(False)
            await message.ack()
            metrics.ROUTER_RECEIVED.inc(result.events)
            metrics.ROUTER_PUBLISHED.inc(result.published)
            metrics.ROUTER_MESSAGES.inc(len(result.messages))
            metrics.ROUTER_UNMATCHED.inc(result.unmatched)
        finally:
            patience.cancel()
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no batch is under way."""
        await self._idle.wait()

    def _classify(self, message: Message) -> Classified:
        version = message.headers.get("v", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            return dead_batch(message.body, f"format {version}, and this router reads {SCHEMA_VERSION}")
        try:
            return classify(message.body, self._matcher.keys_of)
        except Exception as error:
            # A mistake of ours. Given back, the batch would come again and again; it waits for whoever mends it.
            log.exception("a batch could not be classified")
            return dead_batch(message.body, f"could not be classified: {error!r}")

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
        try:
            await self._publishing.publish(
                DEAD_EXCHANGE, dead.body, type="dead", headers={"reason": dead.reason}, persistent=True
            )
        except RefusedError:
            log.error("dead-letters is full and refuses; the message is dropped", reason=dead.reason)
