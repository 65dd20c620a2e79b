"""What the archive is asked and what it answers: messages between the gateways and the archive.

A *query* goes to the exchange `archive` under `QUERY_KEY` and is answered from what the archive has at that moment.
A *mark* goes there under `MARK_KEY` into the very queue that brings the archive its tweets, behind all that ingest
has published before; so its answer says: whatever had been published when you asked is in the archive now. Answers
go to the exchange `archive.answers` under the `reply_to` of what they answer, with its `correlation_id`.

Bodies are MessagePack: a query is a `TweetsQuery`, `LabelsQuery` or `StatesQuery`, a mark is empty, and all get an
`Answer`.
"""

from typing import Annotated, NamedTuple, TypeVar

import msgspec

from shared.events import UnreadableError

T = TypeVar("T")

MARK_KEY = "mark"
QUERY_KEY = "query"
"""Routing keys on the exchange `archive`."""

MARK_TYPE = "mark"
QUERY_TYPE = "query"
ANSWER_TYPE = "answer"
"""AMQP `type` properties."""

MAX_SEQ = 2**62 - 1
"""Far beyond any `seq`, and well within what SQLite takes."""
MAX_LIMIT = 10_000
"""Tweets of one answer at most."""
MAX_ID_CHARACTERS = 1_000
"""Of the id of a tweet: what has a longer one the archive does not take, and nobody can ask for it."""
MAX_IDS = 1_000
"""Ids of one `StatesQuery` at most."""
MAX_LABELS = 100
"""Labels of one `LabelsQuery` at most."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Documents of one answer; an answer that would be larger stops earlier. RabbitMQ 4 takes messages of 16 MiB."""


_Seq = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_LIMIT)]


class Place(NamedTuple):
    """Where a version stands in the order of the archive: the greater, the newer."""

    seq: _Seq
    id: str


class TweetsQuery(msgspec.Struct, frozen=True, kw_only=True, tag="tweets"):
    """The newest tweets of a label, as they are now: none that is gone, none in an older version.

    As many as `limit`; with `since`, no more of those up to and with that `seq` than make up `least` in all.
    """

    label: str
    """Canonical routing key: `term.nfl`. `action.update` and `action.destroy` ask for all changes of a kind, whatever
    they match; destroys are what they are, without a text."""
    limit: _Number
    """1 to `MAX_LIMIT`."""
    before: Place | None = None
    """Only what stands before this place: the next page."""
    since: _Seq | None = None
    """`seq`: all that is newer, as far as `limit` allows."""
    least: _Number = 0
    """With `since`: older ones too, until there are so many."""


class LabelsQuery(msgspec.Struct, frozen=True, kw_only=True, tag="labels"):
    """All tweets above `since` that have any of `labels`, as they are now: each once, whatever it matches."""

    labels: tuple[str, ...]
    """Canonical routing keys, at most `MAX_LABELS`."""
    since: _Seq
    until: _Seq | None = None
    """Only those up to and with this `seq`."""
    limit: _Number
    """The newest so many of each label."""


class StatesQuery(msgspec.Struct, frozen=True, kw_only=True, tag="states"):
    """The newest version of each of `ids`, a destroy where it is gone; nothing for one that the archive has not."""

    ids: tuple[str, ...]


Query = TweetsQuery | LabelsQuery | StatesQuery


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the archive answers; to a mark without documents."""

    documents: list[bytes] = []
    """Each a packed document as consumers get it; of a label newest first, by (seq, id)."""
    complete_to: int = 0
    """The newest `seq` that the archive has."""
    from_seq: int = 0
    """Of a label: these are all with a greater `seq`; 0 where the archive has nothing older."""
    missing: tuple[int, int] | None = None
    """Between these two `seq`s, the first excluded, tweets of what was asked for may be missing from the archive."""
    error: str | None = None
    """Why there is no answer: what was asked is not understood, or the archive can't read its disk."""

    @property
    def whole(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.missing is None


def pack(message: Query | Answer) -> bytes:
    """The body of a message."""
    return msgspec.msgpack.encode(message)


def unpack_query(body: bytes) -> Query:
    """The query in a body; raises `UnreadableError`."""
    return _decode(_queries, body)


def unpack_answer(body: bytes) -> Answer:
    """The answer in a body; raises `UnreadableError`."""
    return _decode(_answers, body)


_queries: msgspec.msgpack.Decoder[Query] = msgspec.msgpack.Decoder(Query)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnreadableError(f"neither a query nor an answer: {error}") from None
