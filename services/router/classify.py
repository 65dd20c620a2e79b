"""From one raw batch to the messages that are made of it. Pure."""

from collections.abc import Callable
from typing import NamedTuple

import msgpack

from shared import feed, raw
from shared.events import UnreadableError
from shared.labels import Facets


class Dead(NamedTuple):
    """What could not be read, for the dead letters."""

    body: bytes
    reason: str


class Classified(NamedTuple):
    """What became of one raw batch. `events == published + unmatched + len(dead)`, with a dead batch as one."""

    messages: list[feed.Message]
    dead: list[Dead]
    events: int
    published: int
    unmatched: int


def classify(body: bytes, keys_of: Callable[[Facets], list[str]]) -> Classified:
    """Classify the batch in `body`: events with the same keys share a message, bad entries become dead letters."""
    try:
        entries = raw.unpack(body)
    except UnreadableError as error:
        return dead_batch(body, str(error))
    dead: list[Dead] = []
    by_keys: dict[tuple[str, ...], list[bytes]] = {}
    unmatched = 0
    for entry in entries:
        try:
            document, facets = raw.read_entry(entry)
        except UnreadableError as error:
            dead.append(Dead(msgpack.packb(entry), str(error)))
            continue
        keys = tuple(keys_of(facets))
        if keys:
            by_keys.setdefault(keys, []).append(document)
        else:
            unmatched += 1
    messages = [message for keys, documents in by_keys.items() for message in feed.messages(keys, documents)]
    return Classified(messages, dead, len(entries), len(entries) - len(dead) - unmatched, unmatched)


def dead_batch(body: bytes, reason: str) -> Classified:
    """A batch that is a dead letter as a whole."""
    return Classified([], [Dead(body, reason)], events=1, published=0, unmatched=0)
