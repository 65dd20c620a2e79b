"""Many messages published at once.

aiormq makes two futures, a lock and a turn of the event loop of each message, which is most of what publishing costs.
Here the frames of many messages are one write, and their confirms are counted by one object. What that needs of
aiormq beyond its documented methods is named in this module alone: `write_queue`, `lock`, `delivery_tag` and
`confirmations` of a channel. `tests/integration/test_burst.py` tells when a new version has others.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import aiormq
from aiormq.abc import AbstractChannel, ChannelFrame, FrameType
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

MOST_AT_ONCE = 200
"""Messages whose frames are made in one turn of the event loop: some 4 ms."""


class Outgoing(NamedTuple):
    """A transient message that is to be published."""

    routing_key: str
    headers: Mapping[str, Any]
    body: bytes
    type: str


class _Confirms:
    """Counts the broker's answers to messages published together. aiormq takes it for the future of each of them."""

    def __init__(self, number: int, done: "asyncio.Future[int]") -> None:
        self._left = number
        self._refused = 0
        self._done = done

    def set_result(self, _: object) -> None:
        self._count()

    def set_exception(self, _: BaseException) -> None:
        self._refused += 1
        self._count()

    def done(self) -> bool:
        # Never before all have been counted: aiormq passes over the answer to a future that is done.
        return False

    def _count(self) -> None:
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(self._refused)


async def publish_all(channel: AbstractChannel, exchange: str, messages: Sequence[Outgoing]) -> int:
    """Write them all, and return how many of them were refused once the broker has answered for each.

    Raises what aiormq raises where the channel is closed or lost meanwhile: nobody knows then which have arrived.
    """
    if not messages:
        return 0
    assert isinstance(channel, aiormq.Channel)
    # Futures of the channel's own: they end with the channel.
    done: asyncio.Future[int] = channel.create_future()
    drained: asyncio.Future[None] = channel.create_future()
    confirms: Any = _Confirms(len(messages), done)
    try:
        async with channel.lock:
            for start in range(0, len(messages), MOST_AT_ONCE):
                some = messages[start : start + MOST_AT_ONCE]
                is_last = start + MOST_AT_ONCE >= len(messages)
                frames = ChannelFrame.marshall(
                    channel.number, _frames(channel, exchange, some), drained if is_last else None
                )
                await channel.write_queue.put(frames)
                # In the same turn of the loop, so that no answer is there before it is expected; and not earlier,
                # because who is cancelled while the queue is full has not sent them.
                first = channel.delivery_tag + 1
                channel.delivery_tag += len(some)
                channel.confirmations.update(dict.fromkeys(range(first, first + len(some)), confirms))
                await asyncio.sleep(0)  # for everybody else
            await drained
        return await done
    finally:
        for future in (done, drained):
            future.cancel()
            if not future.cancelled():
                future.exception()  # it has been raised, or does not matter any more


def _frames(
    channel: aiormq.Channel, exchange: str, messages: Sequence[Outgoing]
) -> Iterator[FrameType | ContentBody]:
    most = channel.max_content_size
    for message in messages:
        yield commands.Basic.Publish(exchange=exchange, routing_key=message.routing_key)
        yield ContentHeader(
            body_size=len(message.body),
            properties=commands.Basic.Properties(
                content_type="application/msgpack",
                headers=dict(message.headers),
                delivery_mode=1,
                message_type=message.type,
            ),
        )
        for start in range(0, len(message.body), most):
            yield ContentBody(message.body[start : start + most])
