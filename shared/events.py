"""The events that travel through Roost: what a source yields and what every consumer receives.

On the wire an event is a MessagePack map, its *document*. `to_document` says what is in it; the two
message formats that carry documents are in `shared.raw` (from ingest) and `shared.feed` (to consumers).
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec

COLLECTION = "tweet"
"""The collection of tweets: what rooms show, and what all sources of ours bring."""

SCHEMA_VERSION = 1
"""Sent as the header `v` with every message; a consumer that finds another number should say so."""

Document = dict[str, Any]
"""An event as consumers get it: the decoded MessagePack map."""


class UnreadableError(ValueError):
    """A message, or a part of it, is not in the format it should have. Says what is wrong with it."""


def collection_of(document: Document) -> str:
    """The collection that a document belongs to; one that says nothing of it is a tweet."""
    name = document.get("collection")
    return name if isinstance(name, str) else COLLECTION


class Action(StrEnum):
    """What happened to a tweet."""

    CREATE = "create"
    UPDATE = "update"
    DESTROY = "destroy"

    @property
    def rank(self) -> int:
        """Which one wins at equal `mtime`: a destroy outranks an update, which outranks a create."""
        return _RANKS[self]


_RANKS = {Action.CREATE: 0, Action.UPDATE: 1, Action.DESTROY: 2}


class User(msgspec.Struct, frozen=True, kw_only=True):
    """The author of a tweet, as far as the source tells."""

    id: str
    screen_name: str
    """The handle without `@`."""
    name: str
    avatar: str | None = None
    """URL of a square picture, or None."""


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """One picture, video or GIF of a tweet."""

    type: Literal["photo", "video", "animated_gif"]
    url: str | None = None
    alt: str | None = None
    """The author's description, or None."""


class Tweet(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a tweet that exists: new (`create`) or changed (`update`)."""

    action: Action = Action.CREATE
    """`create` or `update`; the end of a tweet is a `Destroy`."""
    id: str
    """Stable over edits and unique over sources: `x:1377650090978992134`."""
    mtime: int
    """Milliseconds since the epoch of this version. A source gives the same version the same `mtime`
    each time it is read."""
    source: str
    """`x`, `synthetic`, …"""
    url: str
    """Where the post itself can be seen."""
    text: str
    """The whole text, unchanged."""
    lang: str
    """The source's language code, `und` where it has none."""
    created_at: str
    """ISO 8601 in UTC."""
    user: User
    urls: tuple[str, ...] = ()
    """The links in the text, expanded, in the order of their appearance."""
    hashtags: tuple[str, ...] = ()
    """Without `#`, as written."""
    media: tuple[Media, ...] = ()


class Destroy(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a tweet. It carries nothing of what the tweet said."""

    id: str
    mtime: int
    """Milliseconds since the epoch of the deletion."""

    @property
    def action(self) -> Literal[Action.DESTROY]:
        """Always `destroy`."""
        return Action.DESTROY


Event = Tweet | Destroy


def to_document(event: Event, seq: int) -> Document:
    """The map that consumers get for `event`.

    `seq` is ingest's place in its own stream: microseconds since the epoch, strictly increasing.
    """
    head: Document = {"action": event.action.value, "collection": COLLECTION, "seq": seq}
    fields: Document = msgspec.to_builtins(event)
    return fields | head
