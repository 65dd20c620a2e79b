"""A consumer that counts the tweets it is sent and does nothing else.

    python -m benchmarks.counter AMQP_URL

It has a queue of its own and binds it to the terms that it is told. It reads AMQP's frames itself: a client library
would make a task of each message and be the bottleneck.
"""

import asyncio
import itertools
import struct
import sys
import uuid
from typing import IO, Any

import uvloop
import yarl
from pamqp import commands, frame

from benchmarks.control import Answer, obey, own_output
from benchmarks.corpus import key_of
from shared.topology import TWEETS_EXCHANGE

_GREETING = b"AMQP\x00\x00\x09\x01"
_HEAD = struct.Struct(">BHI")
_END = 1
_METHOD, _HEADER, _BODY = 1, 2, 3
_DELIVER = struct.pack(">HH", 60, 60)
_START_S = 10.0

CHANNELS = 8
"""On which bindings are asked for: the broker does those of one channel one after the other."""


class Counter(asyncio.Protocol):
    """A connection with one queue, which is consumed without acknowledgements and goes with it."""

    def __init__(self, url: yarl.URL) -> None:
        self.tweets = 0
        self.messages = 0
        self.consuming: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = ""
        """Why it does not count any more."""
        self._url = url
        # By this name no policy bounds it: what is delivered is counted.
        self._queue = f"benchmark.{uuid.uuid4().hex}"
        self._binding: asyncio.Future[None] | None = None
        self._unbound = 0
        self._rest = b""
        self._begins = False
        """Whether the next frame of a body is its first."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Greet the broker."""
        self._transport = transport
        transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        """Count."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while at + _HEAD.size <= end:
            kind, _, size = _HEAD.unpack_from(data, at)
            body = at + _HEAD.size
            after = body + size + _END
            if after > end:
                break
            if kind == _BODY:
                if self._begins:
                    self._begins = False
                    self.messages += 1
                    self.tweets += array_length(data[body : body + 5])
            elif kind == _HEADER:
                self._begins = True
            elif kind == _METHOD and data[body : body + 4] != _DELIVER:
                self._answer(frame.unmarshal(data[at:after])[2])
            at = after
        self._rest = data[at:]

    async def bind(self, *, terms: list[str]) -> Answer:
        """Bind the queue to terms; returns when the broker has done it."""
        self._binding, self._unbound = asyncio.get_running_loop().create_future(), len(terms)
        channels = itertools.cycle(range(1, CHANNELS + 1))
        for channel, term in zip(channels, terms, strict=False):
            self._say(channel, commands.Queue.Bind(0, self._queue, TWEETS_EXCHANGE, key_of(term)))
        await self._binding
        return {}

    async def count(self) -> Answer:
        """How many tweets and messages have come so far."""
        if self.lost:
            raise ConnectionError(self.lost)
        return {"tweets": self.tweets, "messages": self.messages}

    def connection_lost(self, error: Exception | None) -> None:
        """The end."""
        self._lose(str(error or "the broker closed the connection"))

    def _answer(self, method: object) -> None:
        match method:
            case commands.Connection.Start():
                login = f"\0{self._url.user}\0{self._url.password}"
                self._say(0, commands.Connection.StartOk({}, "PLAIN", login, "en_US"))
            case commands.Connection.Tune():
                # No heartbeats: who counts millions answers soon enough.
                self._say(0, commands.Connection.TuneOk(method.channel_max, method.frame_max, 0))
                self._say(0, commands.Connection.Open("/"))
            case commands.Connection.OpenOk():
                for channel in range(1, CHANNELS + 1):
                    self._say(channel, commands.Channel.Open())
                self._say(1, commands.Queue.Declare(queue=self._queue, exclusive=True))
            case commands.Channel.OpenOk():
                pass
            case commands.Queue.DeclareOk():
                self._say(1, commands.Basic.Consume(queue=self._queue, no_ack=True))
            case commands.Basic.ConsumeOk():
                self.consuming.set_result(None)
            case commands.Queue.BindOk():
                self._unbound -= 1
                if not self._unbound and self._binding is not None:
                    self._binding.set_result(None)
            case _:
                self._lose(repr(method))

    def _say(self, channel: int, method: Any) -> None:  # noqa: ANN401 - a method of AMQP
        assert self._transport is not None
        self._transport.write(frame.marshal(method, channel))

    def _lose(self, reason: str) -> None:
        self.lost = self.lost or reason
        for waited_for in (self.consuming, self._binding):
            if waited_for is not None and not waited_for.done():
                waited_for.set_exception(ConnectionError(reason))


def array_length(beginning: bytes) -> int:
    """How many elements an array in MessagePack has, by its first bytes."""
    kind = beginning[0]
    if kind & 0xF0 == 0x90:
        return kind & 0x0F
    if kind not in (0xDC, 0xDD):
        raise ValueError("not an array")
    return int.from_bytes(beginning[1 : 3 if kind == 0xDC else 5])


async def main(output: IO[str], amqp_url: str) -> None:
    """Obey until the input ends."""
    url = yarl.URL(amqp_url)
    counter = Counter(url)
    assert url.host is not None
    assert url.port is not None
    await asyncio.get_running_loop().create_connection(lambda: counter, url.host, url.port)
    await asyncio.wait_for(counter.consuming, _START_S)

    await obey(output, {"bind": counter.bind, "count": counter.count})


if __name__ == "__main__":
    uvloop.run(main(own_output(), sys.argv[1]))
