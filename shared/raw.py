"""The messages on the exchange `tweets.raw`: batches of events, from ingest to the routers.

A batch is a MessagePack array of columns:

    [sizes, documents, actions, texts, hashtags, screen_names, langs, has_url, has_media]

`documents` are the events' documents, packed already, one after the other in one `bin`; `sizes` is an array of their
bytes. The others are their `Facets`, each an array with an element for each event, but for the texts, which are one
`bin`: each in UTF-8 with the byte 0xFF after it, which UTF-8 has nowhere. So the router searches all texts at once,
decodes no column that nobody asks for and no document at all, and passes the bytes on as they are.

The headers of a batch are its *link* in the chain of all batches of its source: whoever has one knows whether it has
the one before.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Annotated, Any, NamedTuple

import msgspec

from shared.events import Event, UnreadableError, to_document
from shared.labels import Facets

TYPE = "raw"
"""AMQP `type` property of these messages."""

FORMAT = 2
"""Their header `v`."""

TEXT_END = b"\xff"
"""What stands after each text."""


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

    @property
    def size(self) -> int:
        """Its bytes in a batch, about: a character of the text counts as one."""
        return len(self.document) + len(self.facets.text)


class Unreadable(NamedTuple):
    """What could not be read of a batch."""

    body: bytes
    """A batch with that alone."""
    reason: str
    events: int = 1
    """How many events are in it, or 1 where nobody knows."""
    format: int | str | None = FORMAT
    """The header `v` of that batch."""


def entry(event: Event, seq: int) -> Entry:
    """The entry of an event. Raises `ValueError` for what MessagePack or UTF-8 can't carry."""
    return Entry(msgspec.msgpack.encode(to_document(event, seq)), Facets.of(event))


def pack(entries: Sequence[Entry]) -> bytes:
    """The body of one message of some entries."""
    columns = list(zip(*(one.facets for one in entries), strict=True)) or [()] * len(Facets._fields)
    return _pack([one.document for one in entries], columns)


def headers(link: Link | None = None) -> dict[str, Any]:
    """The headers of a batch; one that belongs to no chain is not missed by anybody."""
    return {"v": FORMAT} | (link._asdict() if link else {})


def check(headers: Mapping[str, Any]) -> None:
    """Raise `UnreadableError` for the headers of a batch in another format."""
    if (version := headers.get("v", FORMAT)) != FORMAT:
        raise UnreadableError(f"format {version!a:.50}, and this Roost reads {FORMAT}")


def link(headers: Mapping[str, Any]) -> Link | None:
    """The link in the headers of a batch, if it has one."""
    source, after = headers.get("source"), headers.get("after")
    return Link(source, after) if isinstance(source, str) and isinstance(after, int) else None


class Batch:
    """The columns of one message. Each is decoded when it is asked for first."""

    def __init__(self, body: bytes) -> None:
        """Raises `UnreadableError` for what has no such columns."""
        self._columns = _decode(_columns, body)
        self.texts: bytes = self._columns.text
        """All texts, each followed by `TEXT_END`."""
        if self.texts.count(TEXT_END) != len(self) or not (self.texts or TEXT_END).endswith(TEXT_END):
            raise UnreadableError(f"there are {len(self)} events and not as many texts")

    def __len__(self) -> int:
        """How many events there are."""
        return len(self._columns.sizes)

    def document(self, place: int) -> memoryview:
        """One of the packed documents; raises `UnreadableError`."""
        document: memoryview = self._columns.documents[self._ends[place] : self._ends[place + 1]]
        return document

    def column(self, facet: str) -> Sequence[Hashable]:
        """One of the `Facets` of each event, but for the text; raises `UnreadableError`."""
        column: list[Hashable] = _decode(_facets[facet], getattr(self._columns, facet))
        if len(column) != len(self):
            raise UnreadableError(f"there are {len(self)} events and {len(column)} elements in a column")
        return column

    def entries(self) -> list[Entry]:
        """Everything; raises `UnreadableError`."""
        try:
            texts = [text.decode() for text in self.texts.split(TEXT_END)[:-1]]
        except UnicodeError as error:
            raise UnreadableError(f"a text is not UTF-8: {error}") from None
        rows: Iterable[Any] = zip(self.column("action"), texts, *map(self.column, _BESIDE_TEXT), strict=True)
        documents = map(self.document, range(len(self)))
        return [Entry(bytes(document), Facets(*row)) for document, row in zip(documents, rows, strict=True)]

    @cached_property
    def _ends(self) -> list[int]:
        """Where the documents end, with a zero before."""
        ends = list(accumulate(self._columns.sizes, initial=0))
        if ends[-1] != len(self._columns.documents):
            raise UnreadableError("the sizes are not those of the documents")
        return ends


def number_of(body: bytes) -> int:
    """How many events are in a batch; 1 where nobody knows."""
    try:
        readable, unreadable = read(body)
    except UnreadableError:
        return 1
    return len(readable) + len(unreadable)


def read(body: bytes) -> tuple[list[Entry], list[Unreadable]]:
    """All of a batch that can be read, and what can't. Raises `UnreadableError` where that is all of it."""
    try:
        return Batch(body).entries(), []
    except UnreadableError:
        return _sort_out(body)


_BESIDE_TEXT = tuple(name for name in Facets._fields if name not in ("action", "text"))


class _Columns(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    sizes: list[Annotated[int, msgspec.Meta(ge=0)]]
    documents: memoryview
    action: msgspec.Raw
    text: bytes
    hashtags: msgspec.Raw
    screen_name: msgspec.Raw
    lang: msgspec.Raw
    has_url: msgspec.Raw
    has_media: msgspec.Raw


_TYPES: Mapping[str, Any] = {
    "action": str,
    "hashtags": tuple[str, ...],
    "screen_name": str,
    "lang": str,
    "has_url": bool,
    "has_media": bool,
}
_columns = msgspec.msgpack.Decoder(_Columns)
_facets = {name: msgspec.msgpack.Decoder(list[type]) for name, type in _TYPES.items()}  # type: ignore[valid-type]


def _decode(decoder: Any, packed: bytes | msgspec.Raw) -> Any:  # noqa: ANN401 - what the decoder is for
    try:
        return decoder.decode(packed)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise UnreadableError(f"not a batch: {error or type(error).__name__}") from None


def _pack(documents: Sequence[bytes], columns: Sequence[Sequence[Any]]) -> bytes:
    action, text, *others = columns
    texts = b"".join([(one if isinstance(one, bytes) else one.encode()) + TEXT_END for one in text])
    return msgspec.msgpack.encode([[*map(len, documents)], b"".join(documents), action, texts, *others])


def _sort_out(body: bytes) -> tuple[list[Entry], list[Unreadable]]:
    """Row by row what `read` could not have column by column."""
    columns = _decode(_anything, body)
    if not isinstance(columns, list) or len(columns) != len(_Columns.__struct_fields__):
        raise UnreadableError("not an array of columns")
    sizes, joined, action, text, *others = columns
    if not isinstance(joined, bytes) or not isinstance(text, bytes):
        raise UnreadableError("documents or texts are not one string of bytes")
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise UnreadableError("sizes are not an array of numbers")
    documents = [joined[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
    rows = [documents, action, text.split(TEXT_END)[:-1], *others]
    if sum(sizes) != len(joined) or not all(isinstance(row, list) and len(row) == len(sizes) for row in rows):
        raise UnreadableError("columns are not of the same length")
    good: list[Entry] = []
    bad: list[Unreadable] = []
    for document, *facets in zip(*rows, strict=True):
        try:
            good.append(_entry(document, facets))
        except UnreadableError as error:
            bad.append(Unreadable(_pack([document], [[facet] for facet in facets]), str(error)))
    return good, bad


_anything = msgspec.msgpack.Decoder()


def _entry(document: bytes, facets: list[Any]) -> Entry:
    action, text, *others = facets
    try:
        text = text.decode()
    except UnicodeError as error:
        raise UnreadableError(f"text: {error}") from None
    beside = [_converted(name, value) for name, value in zip(_BESIDE_TEXT, others, strict=True)]
    return Entry(document, Facets(_converted("action", action), text, *beside))


def _converted(name: str, value: object) -> Any:  # noqa: ANN401 - what is in that column
    try:
        return msgspec.convert(value, _TYPES[name])
    except msgspec.ValidationError as error:
        raise UnreadableError(f"{name}: {error}") from None
