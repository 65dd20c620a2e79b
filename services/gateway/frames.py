"""What goes over the wire to a client: Socket.IO packets in Engine.IO packets in WebSocket frames. Pure.

Each is made once, however many clients it goes to.
"""

import struct
from typing import Final

import orjson
from engineio.packet import MESSAGE, Packet

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PONG: Final = 10
"""Opcodes of WebSocket frames (RFC 6455, 11.8)."""

MAX_CONTROL_BYTES = 125
"""Payload of a control frame (RFC 6455, 5.5)."""


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole, unmasked WebSocket frame, as servers send them (RFC 6455, 5.2)."""
    first = 0x80 | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close(code: int, reason: str = "") -> bytes:
    """A closing frame; a reason that is too long for it is shortened."""
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore")
    return frame(CLOSE, struct.pack("!H", code) + text.encode())


def of_packet(encoded: str | bytes) -> bytes:
    """The frame of an encoded Engine.IO packet; bytes are a binary attachment."""
    return frame(TEXT, encoded.encode()) if isinstance(encoded, str) else frame(BINARY, encoded)


def json(value: object) -> bytes:
    """JSON as browsers read it. Raises `TypeError` where none can be made of the value."""
    return orjson.dumps(value)


def event(name: str, *arguments: bytes) -> bytes:
    """The Socket.IO packet of an event in the default namespace; `arguments` are JSON (Socket.IO protocol 5)."""
    return b"2[" + b",".join((json(name), *arguments)) + b"]"


class Batch:
    """Events for one room that leave together."""

    __slots__ = ("_packets", "_wire", "events", "first_seq", "kept", "last_seq", "size", "tweets")

    def __init__(self) -> None:
        self.events: list[bytes] = []
        """Socket.IO packets, in their order."""
        self.size = 0
        """Bytes of all events."""
        self.tweets = 0
        """How many of the events bring a tweet."""
        self.first_seq: int | None = None
        self.last_seq: int | None = None
        """`seq` of the first and the last tweet, where there are any."""
        self.kept: list[bytes] = []
        """The events that bring none, deletions above all: small, and worth telling later, too."""
        self._wire = b""
        self._packets: list[Packet] = []

    def add(self, event: bytes, seq: int | None = None) -> None:
        """Take in one more event; `seq` is that of the tweet it brings, if it brings one."""
        self.events.append(event)
        self.size += len(event)
        self._wire = b""
        self._packets = []
        if seq is None:
            self.kept.append(event)
        else:
            self.tweets += 1
            self.first_seq = seq if self.first_seq is None else self.first_seq
            self.last_seq = seq

    @property
    def wire(self) -> bytes:
        """The WebSocket frames of all events."""
        if not self._wire:
            self._wire = b"".join([frame(TEXT, b"4" + event) for event in self.events])
        return self._wire

    @property
    def packets(self) -> list[Packet]:
        """The events as Engine.IO packets, for those who are polling."""
        if not self._packets:
            self._packets = [Packet(MESSAGE, event.decode()) for event in self.events]
        return self._packets
