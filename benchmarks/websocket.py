"""As much of WebSocket and Engine.IO as a client needs that is one of ten thousand. Pure.

`unmasked` alone is for a server, the one that is the floor.
"""

from typing import NamedTuple

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

_LONG, _LONGER = 126, 127
_END_OF_HEAD = b"\r\n\r\n"
_FINAL = 0x80


class ProtocolError(ValueError):
    """A server sent what it should not have."""


class Frame(NamedTuple):
    """One frame of a server."""

    opcode: int
    payload: bytes


def upgrade(host: str) -> bytes:
    """The request for an Engine.IO connection over WebSocket. It offers no extension: nobody compresses."""
    return (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def after_head(data: bytes) -> bytes | None:
    """What follows the head of the answer to `upgrade`; None while there is not all of it.

    Raises `ProtocolError` where the server did not agree.
    """
    head, found, rest = data.partition(_END_OF_HEAD)
    if not found:
        return None
    status = head.partition(b"\r\n")[0]
    if b" 101 " not in status + b" ":
        raise ProtocolError(f"the server answers {status.decode(errors='replace')}")
    return rest


def frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the beginning of `data`, and the rest.

    Raises `ProtocolError` for what nobody may send here: fragments, compressed or masked frames.
    """
    found = []
    position, end = 0, len(data)
    while end - position >= 2:
        first, length = data[position], data[position + 1]
        start = position + 2
        if length == _LONG:
            start = position + 4
            length = int.from_bytes(data[position + 2 : start])
        elif length == _LONGER:
            start = position + 10
            length = int.from_bytes(data[position + 2 : start])
        elif length > _LONGER:
            raise ProtocolError("a server masks")
        if first & 0xF0 != _FINAL:
            raise ProtocolError("a fragment, or a compressed frame")
        if start + length > end:
            break
        position = start + length
        found.append(Frame(first & 0x0F, data[start:position]))
    return found, data[position:]


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of a client. The mask is zero, as it may be: the payload stays as it is."""
    if len(payload) < _LONG:
        head = bytes((_FINAL | opcode, 0x80 | len(payload)))
    else:
        head = bytes((_FINAL | opcode, 0x80 | _LONG)) + len(payload).to_bytes(2)
    return head + bytes(4) + payload


def unmasked(payload: bytes) -> bytes:
    """A text frame of a server, ready to be written."""
    if len(payload) < _LONG:
        return bytes((_FINAL | TEXT, len(payload))) + payload
    if len(payload) < 1 << 16:
        return bytes((_FINAL | TEXT, _LONG)) + len(payload).to_bytes(2) + payload
    return bytes((_FINAL | TEXT, _LONGER)) + len(payload).to_bytes(8) + payload
