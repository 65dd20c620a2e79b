"""The tweets of the benchmarks: documents as consumers get them, of one size."""

import json
import time

import msgpack

from shared import feed
from shared.events import Document, Tweet, User, to_document

SIZE = 460
"""Bytes of a tweet as compact JSON."""

SENT = "sent="
"""In the text of a tweet that is timed, before the 19 digits of its sending time."""

_BASE = 1_000_000


def document(number: int, size: int = SIZE) -> Document:
    """The tweet with a number below nine million: `size` bytes of compact JSON, its own id, version and place."""
    return _document(number, "", size)


def tag(number: int) -> str:
    """A hashtag of its own for each tweet that is given one."""
    return f"tag{number}"


def url(number: int) -> str:
    """The address of a tweet, which no other has."""
    return f"https://example.org/status/{_BASE + number}"


def timed(number: int, size: int = SIZE) -> Document:
    """A tweet that says in its text when it was made, in nanoseconds of the clock that all processes share."""
    return _document(number, f"{SENT}{time.monotonic_ns():019d} ", size)


def encoded(document: Document) -> bytes:
    """Compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def frame_text(document: Document, room: str) -> bytes:
    """The Engine.IO packet that brings a tweet to a room."""
    return b'42["newTweet",' + encoded(document) + b"," + json.dumps(room).encode() + b"]"


def message(documents: list[Document], keys: list[str]) -> feed.Message:
    """The message on the exchange `tweets` that has these documents."""
    (made,) = feed.messages(keys, [msgpack.packb(document) for document in documents])
    return made


def _document(number: int, text: str, size: int) -> Document:
    numbered = _BASE + number
    words = text + "The nfl draft is on tonight and everybody here has an opinion about it "
    made = to_document(
        Tweet(
            id=f"bench:{numbered}",
            mtime=1_770_000_000_000 + numbered,
            source="bench",
            url=url(number),
            text=words,
            lang="en",
            created_at="2026-02-02T02:40:00Z",
            user=User(id="somebody", screen_name="somebody", name="Some Body"),
        ),
        seq=1_770_000_000_000_000 + numbered,
    )
    lacking = size - len(encoded(made))
    if lacking < 0:
        raise ValueError(f"a tweet has {size - lacking} bytes at least")
    made["text"] = words + "." * lacking
    return made
