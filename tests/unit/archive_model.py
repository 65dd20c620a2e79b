"""The archive's store in a folder, fed as messages feed it, and what it should answer by the definition of labels."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack

from services.archive.batches import Batch, read
from services.archive.queries import Queries
from services.archive.store import Store
from services.archive.versions import DESTROYED, Version
from shared import raw
from shared.events import Document, Event
from shared.history import Answer, Place, Query, TweetsQuery
from shared.labels import Label, parse_key

HOUR_US = 3_600_000_000
NOW_US = 1_800_000_000_000_000
"""Now, to who reads a batch: a day early in 2027."""


def batch(*events: tuple[int, Event], link: raw.Link | None = None) -> Batch:
    """What a message with these events, each with its `seq`, brings."""
    body = raw.pack([raw.entry(event, seq) for seq, event in events])
    made, unreadable = read(body, raw.headers(link), now_us=NOW_US)
    assert not unreadable
    return made


class Kept:
    """A store and its readers, without threads."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "keep_us": 24 * HOUR_US,
            "keep_bytes": 2**30,
            "segment_us": HOUR_US,
            "now_us": lambda: 0,
        }
        self.store = Store(folder, **(defaults | settings))
        self.store.lock()
        self.store.open()
        self.queries = Queries(lambda: self.store.state)

    def ask(self, query: Query) -> Answer:
        return self.queries.answer_now(query)

    def tweets(self, label: str, limit: int = 50, **query: Any) -> list[Document]:
        return unpacked(self.ask(TweetsQuery(label=label, limit=limit, **query)))

    def texts(self, label: str, limit: int = 50, **query: Any) -> list[str]:
        return [str(document.get("text", document["action"])) for document in self.tweets(label, limit, **query)]

    def pages(self, label: str, limit: int) -> list[Document]:
        """All of a label, page by page."""
        found: list[Document] = []
        before: Place | None = None
        while True:
            answer = self.ask(TweetsQuery(label=label, limit=limit, before=before))
            page = unpacked(answer)
            found += page
            if answer.from_seq == 0:
                return found
            before = Place(page[-1]["seq"], page[-1]["id"])

    # what happens by itself in time

    def tidy(self) -> None:
        """Let everything that was removed leave the disk."""
        self.store.sweep()
        self.store.sweep()
        self.store.clean()

    def next_file(self) -> None:
        if self.store.state.complete_to < self.store._segments[-1].start:
            return
        self.store._begin_segment(self.store.state.complete_to + 1)
        state = self.store.state
        self.store._publish(state.coverage, state.complete_to, state.beginning)

    def close_chunk(self) -> None:
        newest = self.store._segments[-1]
        with newest.transaction():
            newest.close_chunk()

    def reopen(self) -> None:
        """As after a kill."""
        self.store.open()

    def close(self) -> None:
        self.queries.close()
        self.store.close()


@contextmanager
def kept(folder: Path, **settings: Any) -> Iterator[Kept]:
    """A store that is open."""
    made = Kept(folder, **settings)
    try:
        yield made
    finally:
        made.close()


def unpacked(answer: Answer) -> list[Document]:
    assert answer.error is None, answer.error
    return [msgpack.unpackb(document) for document in answer.documents]


def bytes_of(folder: Path) -> bytes:
    """All that is on the disk."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def expected(versions: Iterable[Version], label: str) -> set[tuple[str, int, int]]:
    """Which version of which tweets a label has, of all that ever came: (id, mtime, rank)."""
    newest: dict[str, Version] = {}
    for version in versions:
        if version.id not in newest or version.age > newest[version.id].age:
            newest[version.id] = version
    wanted = parse_key(label)
    ends = wanted == Label.of("action", "destroy")
    return {
        (version.id, *version.age)
        for version in newest.values()
        if wanted.matches(version.facets) and (ends or version.rank != DESTROYED)
    }
