"""Noticing that the broker has dropped tweets of this gateway: its queue is bounded, and full it loses its oldest.

RabbitMQ tells nobody. But it can send what it drops somewhere else: here to a *marker queue* of length one, which
so holds the newest that was dropped. `services.gateway.holes` knows what follows from it.
"""

import asyncio
from collections.abc import Callable

import structlog

from services.gateway.holes import Hole, Overflow
from shared import feed, metrics
from shared.broker import Connection, Message
from shared.events import Document, UnreadableError
from shared.tasks import first_of
from shared.topology import OVERFLOW_EXCHANGE

log = structlog.get_logger()

NOTICE_EVERY_S = 1.0
"""Holes are told at most this often; what is noticed meanwhile is one hole."""

MARKER_EVERY_S = 0.05
"""How long a marker is kept from the broker, which has the next one ready at once while it drops: at a time when the
gateway can't keep up they must not be much of its work."""

RETRY_S = 10.0
"""Pause before a broker that lacks the exchange is asked for it again."""


async def watch(
    connection: Connection,
    queue: str,
    overflow: Overflow,
    tell: Callable[[Hole], None],
    *,
    notice_every_s: float = NOTICE_EVERY_S,
    retry_s: float = RETRY_S,
) -> None:
    """Notice what the broker drops from `queue`, and `tell` each hole; until cancelled or the broker is lost.

    `queue` has to be declared with `dead_letter=OVERFLOW_EXCHANGE`. A broker that lacks the exchange (its definitions
    are older) makes a warning and nothing worse: tweets do not need it. It is used as soon as it is there.
    """
    news = asyncio.Event()

    async def mark() -> None:
        await _until_possible(connection, retry_s)
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        # One marker at a time: while it is kept here, the queue replaces the next one by what is newer.
        channel = await connection.channel(prefetch=1)
        markers = await channel.declare_exclusive_queue(f"{queue}.overflow", max_length=1)
        await markers.bind(OVERFLOW_EXCHANGE, queue)
        await markers.consume(arrived.put)

        async def note() -> None:
            while True:
                marker = await arrived.get()
                if _is_overflow(marker, queue):
                    overflow.dropped(_documents(marker), asyncio.get_running_loop().time())
                    news.set()
                await asyncio.sleep(MARKER_EVERY_S)
                await marker.ack()

        await first_of(note(), connection.keep_bound((f"{queue}.overflow", OVERFLOW_EXCHANGE, queue)))

    async def tell_all() -> None:
        while True:
            if not overflow.noticed:
                news.clear()
                await news.wait()
            await asyncio.sleep(notice_every_s)
            if hole := overflow.take():
                metrics.GATEWAY_OVERFLOWS.inc()
                log.warning("the queue was full, the broker has dropped its oldest", **hole._asdict())
                tell(hole)

    await first_of(mark(), tell_all())


async def _until_possible(connection: Connection, retry_s: float) -> None:
    told = False
    while not await connection.has_exchange(OVERFLOW_EXCHANGE):
        if not told:
            log.warning(
                f"the broker lacks the exchange {OVERFLOW_EXCHANGE}, what it drops when the gateway can't keep up is"
                " not noticed: load deploy/rabbitmq/definitions.json"
            )
            told = True
        await asyncio.sleep(retry_s)


def _is_overflow(marker: Message, queue: str) -> bool:
    """Whether it was dropped because `queue` was full, and not rejected, expired or sent here by somebody."""
    deaths = marker.headers.get("x-death")
    return isinstance(deaths, list) and any(
        isinstance(death, dict) and death.get("reason") == "maxlen" and death.get("queue") == queue
        for death in deaths
    )


def _documents(marker: Message) -> list[Document]:
    try:
        return feed.unpack(marker.body, marker.headers)
    except UnreadableError:
        return []
