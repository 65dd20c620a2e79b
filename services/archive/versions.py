"""One version of a tweet as the archive keeps it. Pure."""

from typing import Annotated, NamedTuple

import msgpack
import msgspec

from shared.events import Action, UnreadableError
from shared.history import MAX_ID_CHARACTERS
from shared.labels import Facets
from shared.raw import Entry

DESTROYED = Action.DESTROY.rank
"""The rank of a version that is the end of its tweet."""

_ACTIONS = {action.rank: action.value for action in Action}

_Number = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class _Head(msgspec.Struct):
    """What the archive has to know of a document."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
    seq: _Number
    mtime: _Number
    action: Action


_heads = msgspec.msgpack.Decoder(_Head)


class Version(NamedTuple):
    """One version of a tweet. Its place in the order of all is `(seq, id)`."""

    seq: int
    id: str
    mtime: int
    rank: int
    facets: Facets
    document: bytes

    @property
    def age(self) -> tuple[int, int]:
        """The greater of two versions of one tweet is the newer."""
        return self.mtime, self.rank


def of_entry(entry: Entry) -> Version:
    """The version that an entry of a raw batch brings; raises `UnreadableError`."""
    try:
        head = _heads.decode(entry.document)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnreadableError(f"the document is not one of a tweet: {error}") from None
    if "\0" in head.id:
        raise UnreadableError("the id has a NUL, at which SQLite's JSON ends a string")
    facets = entry.facets
    if head.action is Action.DESTROY:
        facets = Facets(head.action.value)
    elif facets.action != head.action.value:
        facets = facets._replace(action=head.action.value)
    return Version(head.seq, head.id, head.mtime, head.action.rank, facets, entry.document)


def pack_facets(facets: Facets) -> bytes:
    """What a row keeps of the facets beside the text; `facets_of` has them again."""
    _, _, *others = facets
    packed: bytes = msgpack.packb(others)
    return packed


def facets_of(rank: int, text: str, packed: bytes) -> Facets:
    """The facets of a row."""
    hashtags, screen_name, lang, has_url, has_media = msgpack.unpackb(packed)
    return Facets(_ACTIONS[rank], text, tuple(hashtags), screen_name, lang, has_url, has_media)
