"""A second look at rooms that have just been bound, for what was published while routers did not know of it yet.

The broker tells routers of a binding by an event, which takes milliseconds, and longer where they have much to do.
What they classify until then they do not publish for it, though it came after the gateway's mark and is in no answer
of the archive so far. So the archive is asked again a little later, once for all rooms that were bound meanwhile.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from services.gateway.connection import Connection
from services.gateway.history import History, NoArchiveError
from services.gateway.rooms import Room
from services.gateway.subscriptions.collections import COLLECTIONS
from shared import feed
from shared.events import Document, UnreadableError, collection_of
from shared.history import MAX_LIMIT, LabelsQuery
from shared.labels import Label

log = structlog.get_logger()

LOOKS_S = (1.0, 5.0)
"""When after the binding. Routers know of one within milliseconds when they are idle, and a new router, or one whose
broker was away, within `SNAPSHOT_PATIENCE_S` of two seconds."""

OVERLAP_US = 2_000_000
"""Asked for beside what is newer than the mark: a batch that was refused and published again comes late."""

AT_ONCE = 25
"""Labels of one query: the archive has others to answer between two of them."""

RETRIES = 60
RETRY_S = 1.0
"""How often, and after how long, one looks again where the archive is away just then."""

TURN = 100
"""Documents that are taken in until others have their turn."""


class Bound(NamedTuple):
    """A label that was bound, for a room or, as edits and deletions are, for all of them."""

    label: Label
    room: Room[Connection] | None = None


class Seams:
    """Looks again."""

    def __init__(self, history: History, bring: Callable[[Document, Sequence[Room[Connection]]], None]) -> None:
        """`bring` takes in a tweet that some rooms, or none in particular, should have."""
        self._history = history
        self._bring = bring
        self._due: list[tuple[float, int, Bound, int, int]] = []
        self._numbers = itertools.count()
        self._looking: asyncio.Task[None] | None = None

    def bound(self, bound: Bound, complete_to: int) -> None:
        """A label has been bound, and the mark after it was answered with `complete_to`."""
        now = asyncio.get_running_loop().time()
        for after_s in LOOKS_S:
            self._look_at(now + after_s, bound, max(0, complete_to - OVERLAP_US), RETRIES)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _look_at(self, time: float, bound: Bound, since: int, retries: int) -> None:
        heapq.heappush(self._due, (time, next(self._numbers), bound, since, retries))

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            await asyncio.sleep(max(0.0, self._due[0][0] - loop.time()))
            due: dict[Bound, tuple[int, int]] = {}
            while self._due and self._due[0][0] <= loop.time() and len(due) < AT_ONCE:
                _, _, bound, since, retries = heapq.heappop(self._due)
                if bound.room is None or not bound.room.empty:
                    due[bound] = min(since, due.get(bound, (since, 0))[0]), retries
            if not due:
                continue
            try:
                await self._look_again(list(due), min(since for since, _ in due.values()))
            except NoArchiveError as error:
                log.debug("the archive could not be asked again", reason=str(error))
                for bound, (since, retries) in due.items():
                    if retries:
                        self._look_at(loop.time() + RETRY_S, bound, since, retries - 1)

    async def _look_again(self, due: list[Bound], since: int) -> None:
        await self._history.caught_up()
        labels = tuple(bound.label.key for bound in due)
        rooms = [bound.room for bound in due if bound.room is not None]
        until = None
        while until is None or until > since:
            query = LabelsQuery(labels=labels, since=since, until=until, limit=MAX_LIMIT)
            answer = await self._history.ask(query)
            for number, packed in enumerate(reversed(answer.documents), start=1):
                try:
                    document = feed.unpack_document(packed)
                except UnreadableError as error:
                    log.warning("an unreadable document in the archive", reason=str(error))
                else:
                    collection = COLLECTIONS.get(collection_of(document))
                    facets = collection.facets_of(document) if collection is not None else None
                    matching = [room for room in rooms if facets is not None and room.label.matches(facets)]
                    self._bring(document, matching)
                if number % TURN == 0:
                    await asyncio.sleep(0)
            if until is not None and answer.from_seq >= until:
                # All of these have one `seq`, and there are more of them than an answer takes.
                return
            until = answer.from_seq
