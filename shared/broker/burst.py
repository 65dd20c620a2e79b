"""Many messages published at once.

aiormq makes two futures, a lock and a turn of the event loop of each message, packs its keys and headers anew, and
looks with each answer of the broker at all messages that have none yet: nine tenths of what publishing costs. Here
the frames of many messages are one write, what repeats in them is packed once, and their confirms are counted by one
object. What that needs of aiormq beyond its documented methods is named in this module alone: `write_queue`, `lock`,
`delivery_tag`, `confirmations`, `_on_confirm_frame` and `_confirm_delivery` of a channel.
`tests/integration/test_burst.py` tells when a new version has others.
"""

import asyncio
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

import aiormq
import structlog
from aiormq.abc import AbstractChannel, ChannelFrame, ConfirmationFrameType
from pamqp import commands, constants, encode, frame

log = structlog.get_logger()

MOST_AT_ONCE = 250
"""Messages whose frames are made in one turn of the event loop: a millisecond, and some 3 where all their labels are
new."""

REMEMBERED = 16_384
"""Keys that are kept packed: those that something was published under lately."""


class Outgoing(NamedTuple):
    """A transient message that is to be published."""

    keys: tuple[str, ...]
    """Its routing key, and more of them for its header `CC`: each queue that is bound to any of them gets it once."""
    version: int
    """Its header `v`."""
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
    _hear_answers(channel)
    # Futures of the channel's own: they end with the channel.
    done: asyncio.Future[int] = channel.create_future()
    drained: asyncio.Future[None] = channel.create_future()
    confirms: Any = _Confirms(len(messages), done)
    try:
        async with channel.lock:
            for start in range(0, len(messages), MOST_AT_ONCE):
                some = messages[start : start + MOST_AT_ONCE]
                is_last = start + MOST_AT_ONCE >= len(messages)
                payload = b"".join(_frames(channel, exchange, some))
                await channel.write_queue.put(ChannelFrame(payload, False, drained if is_last else None))
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


def _hear_answers(channel: aiormq.Channel) -> None:
    """Have an answer that is for many messages cost as much as these, however many are not answered yet."""
    if "_on_confirm_frame" in vars(channel):
        return

    async def hear(answer: ConfirmationFrameType) -> None:
        tag = answer.delivery_tag or 0
        answered = [tag]
        if tag not in channel.confirmations:
            log.error("the broker has answered for a message that nobody waits for", answer=str(answer))
        if getattr(answer, "multiple", False):
            # They are in the order of their numbers, but for messages that came back to `publish`; these nobody waits
            # for any more.
            answered = [*takewhile(lambda earlier: earlier <= tag, channel.confirmations)]
        for one in answered:
            channel._confirm_delivery(one, answer)

    channel._on_confirm_frame = hear  # type: ignore[method-assign, assignment]


def _frames(channel: aiormq.Channel, exchange: str, messages: Sequence[Outgoing]) -> Iterator[bytes]:
    """Of each the method, the header with its properties, and the body: AMQP 0-9-1, 2.3.5 and 4.2."""
    number, most = channel.number, channel.max_content_size
    for message in messages:
        routing_key, *others = message.keys
        yield _method(number, exchange, routing_key)
        properties = _properties(message.type, message.version, others)
        body = message.body
        yield _HEADER.pack(
            constants.FRAME_HEADER,
            number,
            _BESIDE_PROPERTIES + len(properties),
            commands.Basic.frame_id,
            0,
            len(body),
        )
        yield properties
        for start in range(0, len(body), most):
            some = body[start : start + most]
            # The end of the frame before, and the beginning of this one.
            yield constants.FRAME_END_CHAR + _FRAME.pack(constants.FRAME_BODY, number, len(some))
            yield some
        yield constants.FRAME_END_CHAR


_FRAME = struct.Struct(">BHI")
"""Type, channel, bytes."""
_HEADER = struct.Struct(">BHIHHQ")
"""And for a content header: the class, a zero, the bytes of the body."""
_BESIDE_PROPERTIES = _HEADER.size - _FRAME.size


@lru_cache(REMEMBERED)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    return frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=routing_key), channel)


def _properties(type: str, version: int, others: Sequence[str]) -> bytes:
    """Of a message that has, where there are `others`, the header `CC`: AMQP 0-9-1, 4.2.5 and 4.2.6."""
    before, fields, after = _same(type, version)
    if others:
        array = b"".join(map(_element, others))
        fields += b"\x02CCA" + _LENGTH.pack(len(array)) + array
    return before + _LENGTH.pack(len(fields)) + fields + after


_LENGTH = struct.Struct(">I")


@lru_cache
def _same(type: str, version: int) -> tuple[bytes, bytes, bytes]:
    """What properties have before the table of headers, the fields that are always in it, and what is behind it."""
    headers: dict[str, Any] = {"v": version}
    packed = commands.Basic.Properties(
        content_type="application/msgpack", headers=headers, delivery_mode=1, message_type=type
    ).marshal()
    table: bytes = encode.field_table(headers)
    before, after = packed.split(table)
    return before, table[_LENGTH.size :], after


@lru_cache(REMEMBERED)
def _element(key: str) -> bytes:
    """A key as an element of an array."""
    packed = key.encode()
    return b"S" + _LENGTH.pack(len(packed)) + packed
