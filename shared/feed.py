"""The messages on the exchange `tweets`: what consumers receive.

The body is a MessagePack array of 1..N documents that have the same labels. The labels are the routing keys
of the message: its routing key and those in the header `CC`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgpack

from shared.events import COLLECTION, SCHEMA_VERSION, Document, UnreadableError

TYPE = COLLECTION
"""AMQP `type` property of these messages."""

MAX_KEYS_BYTES = 64 * 1024
"""Keys of one message: a `CC` header that fills an AMQP frame (128 KiB) closes the connection."""
MAX_BODY_BYTES = 1024 * 1024
"""Documents of one message; a single larger document still travels alone."""


T = TypeVar("T")


class Message(NamedTuple):
    """One message to publish."""

    keys: tuple[str, ...]
    body: bytes

    @property
    def routing_key(self) -> str:
        """The first key."""
        return self.keys[0]

    @property
    def headers(self) -> dict[str, Any]:
        """The version, and the other keys."""
        headers: dict[str, Any] = {"v": SCHEMA_VERSION}
        if len(self.keys) > 1:
            headers["CC"] = list(self.keys[1:])
        return headers


def messages(keys: Sequence[str], documents: Sequence[bytes | memoryview]) -> Iterator[Message]:
    """The messages that bring packed `documents` to everybody who bound one of `keys`: one where it fits.

    Split by keys, a queue bound to keys of both parts gets a second copy, which versions sort out.
    """
    for some_keys in _chunks(keys, [len(key.encode()) + 5 for key in keys], MAX_KEYS_BYTES):
        for some in _chunks(documents, [len(document) for document in documents], MAX_BODY_BYTES):
            array_header: bytes = msgpack.Packer().pack_array_header(len(some))
            yield Message(tuple(some_keys), array_header + b"".join(some))


def unpack(body: bytes, headers: Mapping[str, Any]) -> list[Document]:
    """The documents of a message; raises `UnreadableError`."""
    version = headers.get("v", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise UnreadableError(f"format {version} and not {SCHEMA_VERSION}")
    try:
        documents = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise UnreadableError(f"not MessagePack: {error}") from None
    if not isinstance(documents, list) or not all(_is_document(document) for document in documents):
        raise UnreadableError("not an array of documents with action, id, seq and mtime")
    return documents


def unpack_document(packed: bytes) -> Document:
    """One packed document; raises `UnreadableError`."""
    try:
        document = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise UnreadableError(f"not MessagePack: {error}") from None
    if not _is_document(document):
        raise UnreadableError("not a document with action, id, seq and mtime")
    return document  # type: ignore[no-any-return]


def labels(routing_key: str, headers: Mapping[str, Any]) -> list[str]:
    """The keys under which a message was published."""
    others = headers.get("CC")
    return [routing_key, *others] if isinstance(others, list) else [routing_key]


def _is_document(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.get("action") in ("create", "update", "destroy")
        and isinstance(value.get("id"), str)
        and isinstance(value.get("mtime"), int)
        and isinstance(value.get("seq"), int)
    )


def _chunks(items: Sequence[T], sizes: Sequence[int], limit: int) -> Iterator[Sequence[T]]:
    """`items` in order, in runs whose sizes add up to `limit` at most; one that is larger stands alone."""
    start = total = 0
    for index, size in enumerate(sizes):
        if total + size > limit and index > start:
            yield items[start:index]
            start, total = index, 0
        total += size
    if items:
        yield items[start:]
