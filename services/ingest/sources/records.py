"""What one line of a replay file can be, and the events in it.

- A payload of the X API v2: `{"data": post or [posts], "includes": …}` as from a lookup, a search page or the
  filtered stream; or a post object alone.
- An event of ours, as consumers get it: `{"action": …, "collection": "tweet", "id": …, …}`.
- A record of an X compliance job: `{"id": …, "action": "delete", …}`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from services.ingest.sources.decoding import convert
from services.ingest.sources.x_api.payload import Includes, read_compliance, read_post
from shared.events import COLLECTION, Action, Destroy, Event, Tweet, UnreadableError

_MAX_MTIME = 2**53
"""The largest integer that is the same number in every consumer's language."""


class Unreadable:
    """A line, or a part of one, that can't be read."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        """One of a few fixed words, for counting."""
        self.detail = detail
        """What is wrong, for a person."""


def read_line(line: bytes) -> Iterator[Event | Unreadable]:
    """The events of one line in the order of their time, and what in it can't be read.

    An empty line holds nothing: X's streams send them to keep a connection open. Of the posts on a page one
    that can't be read leaves the others readable. Never raises.
    """
    text = line.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        return
    try:
        record = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        yield Unreadable("not_json", str(error))
        return
    if not isinstance(record, dict):
        yield Unreadable("not_an_object", f"a line holds {type(record).__name__}")
    elif "collection" in record or ("action" in record and "mtime" in record):
        yield from _attempt("bad_event", [record], _read_event)
    elif "action" in record:
        yield from _attempt("bad_compliance_record", [record], read_compliance)
    elif "data" in record:
        yield from _read_payload(record)
    elif "id" in record and "text" in record:
        yield from _attempt("bad_post", [record], lambda post: read_post(post, Includes()))
    elif record.get("errors"):
        yield Unreadable("error_report", str(record["errors"])[:200])
    elif "meta" not in record:  # a search page with no result has `meta` alone
        yield Unreadable("unknown_kind", f"an object with the fields {', '.join(list(record)[:8])[:200]}")


def _read_payload(payload: dict[str, Any]) -> Iterator[Event | Unreadable]:
    data = payload["data"]
    includes = Includes(payload.get("includes"))
    # Pages have the newest post first.
    read = _attempt("bad_post", data if isinstance(data, list) else [data], lambda post: read_post(post, includes))
    yield from sorted(read, key=lambda item: -1 if isinstance(item, Unreadable) else item.mtime)


def _read_event(document: object) -> Event:
    """An event from a document as consumers get it. Its `seq` was another ingest's and is left out."""
    if not isinstance(document, dict) or document.get("collection", COLLECTION) != COLLECTION:
        raise UnreadableError(f"not of the collection {COLLECTION!r}")
    if "action" not in document:
        raise UnreadableError("an event needs an action")
    event: Event = convert(document, Destroy) if document["action"] == Action.DESTROY else convert(document, Tweet)
    if not (event.id and 0 <= event.mtime <= _MAX_MTIME):
        raise UnreadableError("an event needs an id and an mtime in milliseconds")
    return event


def _attempt(reason: str, records: Iterable[object], read: Callable[[object], Event]) -> Iterator[Event | Unreadable]:
    for record in records:
        try:
            yield read(record)
        except UnreadableError as error:
            yield Unreadable(reason, str(error))
