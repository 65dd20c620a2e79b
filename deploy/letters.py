"""A dead letter: what is told of it, and as what it is sent back. Pure."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

from deploy.printable import printable
from shared import raw

TOLD_OF_BODY = 200
"""Characters of a body that are told."""
TOLD_OF_REASON = 300
MOST_NESTED = 12

_OWN = ("reason", "at", "source", "after")
"""Headers that a batch loses: those of a dead letter, and those of a chain in which another batch has its place."""
_EARLIEST_S, _LATEST_S = 946_684_800, 4_102_444_800
"""What is no moment between the years 2000 and 2100 is not taken for one."""


def headers_of(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers with which a dead letter becomes a raw batch again: one that belongs to no chain."""
    kept = {name: value for name, value in headers.items() if name not in _OWN and not name.startswith("x-")}
    return raw.headers() | kept


def lines(number: int, body: bytes, headers: Mapping[str, Any]) -> list[str]:
    """What is told of one letter: its number in the list, when it came, its size, the reason; and what it says."""
    reason = printable(headers.get("reason", "nobody says why"))
    if len(reason) > TOLD_OF_REASON:
        reason = f"{reason[:TOLD_OF_REASON]}…"
    return [f"{number:>4}  {_when(body, headers)}  {len(body):>9,} bytes  {reason}", f"      {beginning(body)}"]


def beginning(body: bytes, most: int = TOLD_OF_BODY) -> str:
    """How a body begins, decoded as far as it can be, in at most so many characters and a mark that there is more."""
    try:
        value = _unpacked(body)
    except ValueError:
        value = None
    pieces = _written(value, most, 0) if isinstance(value, list | dict) else iter([_decoded(body[: 4 * most])])
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > most:
            return f"{printable(text[:most])}…"
    return printable(text)


def _when(body: bytes, headers: Mapping[str, Any]) -> str:
    """When it became a dead letter; else when ingest numbered it; nothing where neither is known."""
    moment = headers.get("at")
    if not _is_moment(moment):
        moment = _numbered(body)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if _is_moment(moment) else " " * 19


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and _EARLIEST_S < value < _LATEST_S


def _numbered(body: bytes) -> float | None:
    """When the first event of a batch was numbered, in seconds since the epoch, if it can be read that far."""
    try:
        _, documents, *_ = _unpacked(body)
        return float(_maps(documents)[0]["seq"] / 1e6)
    except (ValueError, LookupError, TypeError):
        return None


def _unpacked(body: bytes) -> Any:  # noqa: ANN401 - whatever is in it
    """What is in MessagePack, whatever it is; raises `ValueError` where it is none."""
    try:
        return msgpack.unpackb(body, strict_map_key=False, unicode_errors="backslashreplace")
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(str(error)) from None


def _written(value: object, most: int, depth: int) -> Iterator[str]:
    """A decoded value as people read it, in pieces: nothing is written of what will not be read."""
    if depth > MOST_NESTED:
        yield "…"
    elif isinstance(value, dict):
        yield "{"
        for number, (key, one) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _written(key, most, depth + 1)
            yield ": "
            yield from _written(one, most, depth + 1)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for number, one in enumerate(value):
            yield ", " if number else ""
            yield from _written(one, most, depth + 1)
        yield "]"
    elif isinstance(value, bytes):
        yield from _written_bytes(value, most, depth)
    elif isinstance(value, str):
        yield f'"{value[: most + 1]}"'
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    else:
        yield str(value)[: most + 1]


def _written_bytes(value: bytes, most: int, depth: int) -> Iterator[str]:
    # The documents of events are packed once more, and stand one after the other.
    documents = _maps(value)
    if documents:
        for number, document in enumerate(documents):
            yield ", " if number else ""
            yield from _written(document, most, depth + 1)
    else:
        yield f'b"{_decoded(value[: 4 * most])}"'


def _maps(value: bytes) -> list[dict[Any, Any]]:
    """The maps that are packed one after the other in `value`; none where anything else is in it."""
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="backslashreplace", max_buffer_size=0)
    try:
        unpacker.feed(value)
        found = list(unpacker)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return []
    return found if unpacker.tell() == len(value) and all(isinstance(one, dict) for one in found) else []


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", errors="backslashreplace")
