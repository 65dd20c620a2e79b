"""The messages on the exchange `tweets.raw`: batches of events, from ingest to the routers.

A batch is a MessagePack array of entries. An entry is an array

    [document, action, text, hashtags, screen_name, lang, has_url, has_media]

whose first element is the event's document, packed already (`bin`), and whose rest are its `Facets`. So the
router learns what it needs without decoding a document, and passes the bytes on as they are.

The headers of a batch are its *link* in the chain of all batches of its source: whoever has one knows whether it has
the one before.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgpack

from shared.events import SCHEMA_VERSION, Event, UnreadableError, to_document
from shared.labels import Facets

TYPE = "raw"
"""AMQP `type` property of these messages."""


class Link(NamedTuple):
    """What a batch tells of those before it."""

    source: str
    """Whose chain it is."""
    after: int
    """`seq` of the last event that its source published in an earlier batch. At the start of an ingest it is one that
    was surely published: what came later is read and published once more. 0 before the first of all."""


class Entry(NamedTuple):
    """One event on its way to be classified."""

    document: bytes
    """The MessagePack map that consumers will get."""
    facets: Facets


def pack_entry(event: Event, seq: int) -> bytes:
    """One packed entry, to be joined to others by `join`."""
    document: bytes = msgpack.packb(to_document(event, seq))
    return msgpack.packb((document, *Facets.of(event)))  # type: ignore[no-any-return]


def join(entries: Iterable[bytes]) -> bytes:
    """The body of one message of packed entries."""
    packed = list(entries)
    header: bytes = msgpack.Packer().pack_array_header(len(packed))
    return header + b"".join(packed)


def headers(link: Link | None = None) -> dict[str, Any]:
    """The headers of a batch; one that belongs to no chain is not missed by anybody."""
    return {"v": SCHEMA_VERSION} | (link._asdict() if link else {})


def link(headers: Mapping[str, Any]) -> Link | None:
    """The link in the headers of a batch, if it has one."""
    source, after = headers.get("source"), headers.get("after")
    return Link(source, after) if isinstance(source, str) and isinstance(after, int) else None


def unpack(body: bytes) -> list[Any]:
    """The entries of a message, not yet looked at; raises `UnreadableError`."""
    try:
        entries = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise UnreadableError(f"not MessagePack: {error}") from None
    if not isinstance(entries, list):
        raise UnreadableError(f"not an array of entries but {type(entries).__name__}")
    return entries


_TYPES = (bytes, str, str, list, str, str, bool, bool)


def read_entry(entry: object) -> Entry:
    """The entry, with its types checked; raises `UnreadableError`."""
    if not isinstance(entry, list) or len(entry) != len(_TYPES):
        raise UnreadableError("an entry is not an array of eight")
    for value, expected, name in zip(entry, _TYPES, ("document", *Facets._fields), strict=True):
        if not isinstance(value, expected):
            raise UnreadableError(f"{name} is {type(value).__name__} and not {expected.__name__}")
    document, *facets = entry
    if not all(isinstance(tag, str) for tag in entry[3]):
        raise UnreadableError("hashtags are not all strings")
    return Entry(document, Facets(*facets))
