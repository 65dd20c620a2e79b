"""From raw batches to the messages that are made of them. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import structlog

from shared import feed, raw
from shared.events import UnreadableError

log = structlog.get_logger()

KeysOf = Callable[[raw.Batch], dict[int, list[str]]]
"""The wanted routing keys of those events of a batch that have any, by their places in it; may raise
`UnreadableError`."""

Found = list[tuple[tuple[str, ...], memoryview]]
"""Documents that somebody wants, with their keys."""

REASON_CHARACTERS = 200
"""Of a reason at most: it becomes a header, and one that fills a frame closes the connection."""


class Classified(NamedTuple):
    """What became of some raw batches. `events` are those published, those unmatched and those in `dead`."""

    messages: list[feed.Message]
    dead: list[raw.Unreadable]
    events: int
    published: int
    unmatched: int
    by_hand: int
    """How many of the events are in batches that belong to no chain."""


def classify(batches: Iterable[tuple[Mapping[str, Any], bytes]], keys_of: KeysOf) -> Classified:
    """Classify batches, each its headers and its body: events with the same keys share a message.

    What can't be read becomes a dead letter, and the rest goes on. What nobody asks for is not looked at, and not
    noticed where it can't be read.
    """
    by_keys: dict[tuple[str, ...], list[memoryview]] = {}
    dead: list[raw.Unreadable] = []
    events = published = by_hand = 0
    for headers, body in batches:
        number, found, unreadable = _classify(headers, body, keys_of)
        events += number
        published += len(found)
        by_hand += number if raw.link(headers) is None else 0
        dead += unreadable
        for keys, document in found:
            by_keys.setdefault(keys, []).append(document)
    messages = [message for keys, documents in by_keys.items() for message in feed.messages(keys, documents)]
    unmatched = events - published - sum(one.events for one in dead)
    return Classified(messages, dead, events, published, unmatched, by_hand)


def _classify(headers: Mapping[str, Any], body: bytes, keys_of: KeysOf) -> tuple[int, Found, list[raw.Unreadable]]:
    """How many events there are, those that somebody wants, and what can't be read."""
    try:
        raw.check(headers)
        try:
            batch = raw.Batch(body)
            return len(batch), _found(batch, keys_of), []
        except UnreadableError:
            readable, unreadable = raw.read(body)
            batch = raw.Batch(raw.pack(readable))
            return len(batch) + len(unreadable), _found(batch, keys_of), unreadable
    except UnreadableError as error:
        reason = str(error)
    except Exception as error:
        # A mistake of ours. Given back, the batch would come again and again; it waits for whoever mends it.
        log.exception("a batch could not be classified")
        reason = f"could not be classified: {type(error).__name__}: {error}"
    number, version = raw.number_of(body), _plain(headers.get("v", raw.FORMAT))
    return number, [], [raw.Unreadable(body, reason[:REASON_CHARACTERS], number, version)]


def _plain(version: object) -> int | str | None:
    """The version of a format, as it is where it can be sent on, and else as it would be written."""
    if version is None or (isinstance(version, int) and abs(version) < 2**31):
        return version
    return version if isinstance(version, str) and len(version) <= 50 else f"{version!a:.50}"


def _found(batch: raw.Batch, keys_of: KeysOf) -> Found:
    return [(tuple(keys), batch.document(place)) for place, keys in sorted(keys_of(batch).items())]
