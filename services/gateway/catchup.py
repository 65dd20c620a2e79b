"""What a room has missed, from the archive: before somebody came, or while the broker was away from the gateway.

What the archive brings is taken in like what the broker brings, by version: nothing is shown twice, and nothing that
is gone. So it does not matter how much the two overlap, and we ask for a little more than may be missing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import structlog

from services.gateway.connection import Connection
from services.gateway.fanout import Fanout
from services.gateway.history import History, NoArchiveError
from services.gateway.holes import Hole
from services.gateway.rooms import Room
from services.gateway.seams import Bound, Seams
from services.gateway.versions import Versions
from services.gateway.views import View
from shared import feed, metrics
from shared.events import Action, Document, UnreadableError
from shared.history import MAX_IDS, MAX_LIMIT, Answer, Place, StatesQuery, TweetsQuery
from shared.labels import Label

log = structlog.get_logger()

OVERLAP_US = 30_000_000
"""Messages come in nearly the order of `seq`: what is older than the newest by more has come, or is lost."""

SLACK_US = 30_000_000
"""Asked for beside that, for the sake of others who come back to the same room and have seen a little less."""

CAUGHT_UP_WITHIN_S = 2.0
"""How long who enters a room waits for an archive that lags behind; what it lacks by then comes later."""

RETRY_S = 0.2
"""Pause before an archive that has failed to answer is asked again."""

STATES_WITHIN_S = 5.0
"""How long who comes back waits for what has become of tweets that nobody here knows."""

MAX_PAST = 2_000
"""Tweets of a room that are fetched for who comes back: more than it can be sent at once."""

TURN = 200
"""Documents that are taken in until others have their turn."""

CHANGES = (Label.of("action", Action.UPDATE), Label.of("action", Action.DESTROY))
"""They are wanted whatever they match: they may concern tweets that were shown."""


class _Question(NamedTuple):
    task: asyncio.Task[bool]
    since: int | None
    least: int

    def is_as_good_as(self, since: int | None, least: int) -> bool:
        """Whether its answer is also the best that there is for this one, however far the archive reaches."""
        reaches = since is None if self.since is None else since is None or self.since - SLACK_US <= since
        return reaches and self.least >= least


class CatchUp:
    """Brings rooms what they lack."""

    def __init__(
        self,
        history: History,
        versions: Versions[View],
        fanout: Fanout,
        *,
        received: Callable[[], int | None],
    ) -> None:
        """`received` tells the greatest `seq` that came from the broker, if any."""
        self._history = history
        self._versions = versions
        self._fanout = fanout
        self._received = received
        self._asking: dict[Room[Connection], _Question] = {}
        self._states_wanted: dict[str, asyncio.Future[bool]] = {}
        self._asking_states: asyncio.Task[None] | None = None
        self._noting: set[asyncio.Task[None]] = set()
        self._is_bound = asyncio.Event()
        self.lagged: Callable[[], None] = lambda: None
        """Called when a room was given less than it lacks, because the archive lags behind."""
        self.seams = Seams(history, self.bring)

    @property
    def newest(self) -> int | None:
        """The greatest `seq` that the gateway has heard of, if any."""
        return max((seq for seq in (self._received(), self._history.newest) if seq is not None), default=None)

    def opening(self, room: Room[Connection]) -> None:
        """A room is about to be bound."""
        room.recent.opened_after = self.newest

    def opened(self, room: Room[Connection]) -> None:
        """Somebody has come into a room: note from where on it is complete, if that is not known."""
        if room.recent.covered_from is not None:
            return
        if not self._is_bound.is_set():
            # The broker is away. What comes meanwhile the room is brought with what the others have lost.
            if room.recent.hole_from is None and (newest := self.newest) is not None:
                room.recent.lost(newest, None)
        elif room not in self._asking:
            task = asyncio.create_task(self._note(room))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _note(self, room: Room[Connection]) -> None:
        noted = await self.cover(room, since=None, least=0, patience_s=0)
        if not noted and self._history.expected and room.recent.covered_from is None:
            # It is away just now: what nobody knows of yet is brought when it is back.
            self._left_behind(room, room.recent.opened_after)

    async def cover(
        self,
        room: Room[Connection],
        *,
        since: int | None,
        least: int,
        patience_s: float,
        caught_up_within_s: float | None = CAUGHT_UP_WITHIN_S,
    ) -> bool:
        """Have all tweets of a room above `since`, if it is given, and the `least` newest, as far as there are any.

        Returns whether the archive was there for it, `patience_s` at most after it was last heard. Of one that lags
        further behind than `caught_up_within_s` (None: however far), one has what it has, and the rest comes later.
        Those who ask for the same room at the same time share an answer.
        """
        recent = room.recent
        until = None if caught_up_within_s is None else _now() + patience_s + caught_up_within_s
        while not recent.covers(since=since, least=least):
            question = self._asking.get(room)
            mine = question is None
            if question is None:
                if not await self._can_ask(patience_s):
                    return False
                if room in self._asking:
                    continue
                task = asyncio.create_task(self._ask(room, since, least, caught_up_within_s))
                question = self._asking[room] = _Question(task, since, least)
                task.add_done_callback(lambda _: self._asking.pop(room, None))
            # Somebody else's question may be a patient one.
            task = question.task
            await asyncio.wait([task], timeout=None if mine or until is None else max(0.0, until - _now()))
            if not task.done():
                return False
            if not task.result():
                # It seemed to be there when it was asked. `_can_ask` tells whether to wait until it is back.
                if until is None or _now() > until:
                    return False
                await asyncio.sleep(RETRY_S)
            elif mine or question.is_as_good_as(since, least):
                return True
        return True

    async def know(self, ids: Iterable[str]) -> bool:
        """Have the newest versions of tweets in memory, as far as the archive knows them.

        Returns whether it was there for those that nobody here knows.
        """
        unknown = [id for id in ids if self._versions.get(id) is None]
        if not unknown:
            return True
        if not await self._history.here(STATES_WITHIN_S):
            return False
        loop = asyncio.get_running_loop()
        waiting = [self._states_wanted.setdefault(id, loop.create_future()) for id in unknown]
        if self._asking_states is None or self._asking_states.done():
            self._asking_states = asyncio.create_task(self._ask_states())
        done, pending = await asyncio.wait(waiting, timeout=STATES_WITHIN_S)
        return not pending and all(each.result() for each in done)

    def unbound(self) -> None:
        """The gateway is not bound any more: until `bound` nobody can say what it lacks."""
        self._is_bound.clear()

    def bound(self) -> None:
        """The gateway is bound to all that is wanted."""
        self._is_bound.set()

    async def stop(self) -> None:
        """End what is under way."""
        tasks = [*self._noting, *(question.task for question in self._asking.values())]
        tasks += [self._asking_states] if self._asking_states else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.seams.stop()

    async def bring_changes(self, since: int) -> None:
        """Take in all edits and deletions that are newer than `since`; raises `NoArchiveError`."""
        for label in CHANGES:
            async for answer in self._pages(label.key, since):
                await self._take_in(documents_of([answer]), ())

    def bring(self, document: Document, rooms: Sequence[Room[Connection]]) -> None:
        """Take in one tweet that rooms should have. Those who lack it are told."""
        metrics.GATEWAY_FROM_ARCHIVE.inc()
        try:
            self._fanout.take(document, rooms, from_past=True)
        except (TypeError, RecursionError):
            metrics.GATEWAY_UNREADABLE.inc()

    async def _can_ask(self, patience_s: float) -> bool:
        """Whether the archive is there and the gateway bound, or both are before long."""
        if not await self._history.here(patience_s):
            return False
        if not self._is_bound.is_set():
            try:
                await asyncio.wait_for(self._is_bound.wait(), patience_s)
            except TimeoutError:
                return False
        return True

    async def _ask(
        self, room: Room[Connection], since: int | None, least: int, caught_up_within_s: float | None
    ) -> bool:
        """Ask the archive for what a room lacks; returns whether it answered."""
        recent = room.recent
        asked = recent.asking()
        try:
            complete_to = None
            unsure = recent.covered_from is None or recent.hole_from is not None
            if unsure:
                complete_to = await self._mark(caught_up_within_s)
                if complete_to is not None:
                    self.seams.bound(Bound(room.label, room), complete_to)
            if since is None and recent.hole_from is None and not least:
                if complete_to is not None:
                    recent.covered(asked, complete_to, None)
                else:
                    self._left_behind(room, recent.opened_after)
                return True
            await self._fill(room, asked, since, least)
        except NoArchiveError as error:
            log.debug("the archive could not be asked", room=room.name, reason=str(error))
            return False
        if unsure and complete_to is None:
            # Between what the archive has stored and what the gateway was bound to, something may lie.
            self._left_behind(room, self._history.newest)
        return True

    async def _fill(self, room: Room[Connection], asked: int, since: int | None, least: int) -> None:
        """Ask for what a room lacks and take it in."""
        recent = room.recent
        hole_from = recent.hole_from
        if hole_from is not None:
            since = max(0, min(hole_from - OVERLAP_US, hole_from if since is None else since))
        elif since is not None:
            since = max(0, since - SLACK_US)
        if since is None:
            answers = [await self._history.ask(TweetsQuery(label=room.key, limit=least))]
        else:
            most = MAX_PAST if hole_from is None else MAX_LIMIT
            answers = [answer async for answer in self._pages(room.key, since, least=least, most=most)]
        await self._take_in(documents_of(answers), (room,))
        from_seq, missing = answers[-1].from_seq, _hull(answers)
        if hole_from is not None and recent.hole_from is not None:
            if missing is not None and missing[1] > hole_from:
                self._fanout.tell_gap(room, Hole(*missing))
            elif from_seq > hole_from:
                self._fanout.tell_gap(room, Hole(hole_from, from_seq))
        recent.covered(asked, from_seq, missing)

    async def _mark(self, within_s: float | None) -> int | None:
        """Wait for the archive to have what was published until now; None where it lags behind for too long."""
        try:
            return await asyncio.wait_for(self._history.caught_up(), within_s)
        except TimeoutError:
            return None

    def _left_behind(self, room: Room[Connection], from_seq: int | None) -> None:
        room.recent.lost(from_seq or 0, None)
        self.lagged()

    async def _pages(self, key: str, since: int, *, least: int = 0, most: int | None = None) -> AsyncIterator[Answer]:
        """All of a label above `since` and the `least` newest, newest first, up to `most`."""
        before: Place | None = None
        number = 0
        while True:
            limit = MAX_LIMIT if most is None else min(MAX_LIMIT, most - number)
            query = TweetsQuery(label=key, limit=limit, before=before, since=since, least=max(0, least - number))
            answer = await self._history.ask(query)
            yield answer
            number += len(answer.documents)
            if answer.from_seq <= since or (most is not None and number >= most):
                return
            if before is not None and answer.from_seq + 1 >= before.seq:
                raise NoArchiveError("it does not get ahead")
            before = Place(answer.from_seq + 1, "")

    async def _take_in(self, documents: Iterable[Document], rooms: Sequence[Room[Connection]]) -> None:
        for number, document in enumerate(documents, start=1):
            self.bring(document, rooms)
            if number % TURN == 0:
                await asyncio.sleep(0)

    async def _ask_states(self) -> None:
        while self._states_wanted:
            ids = list(self._states_wanted)[:MAX_IDS]
            known = False
            try:
                answer = await self._states(ids)
                await self._take_in(documents_of([answer]), ())
                known = True
            except NoArchiveError as error:
                log.debug("the archive could not be asked", reason=str(error))
            except Exception:
                # Others wait behind this one.
                log.exception("the states of tweets could not be asked for")
            finally:
                for id in ids:
                    self._states_wanted.pop(id).set_result(known)

    async def _states(self, ids: list[str]) -> Answer:
        until = _now() + STATES_WITHIN_S
        while True:
            try:
                return await self._history.ask(StatesQuery(ids=tuple(ids)))
            except NoArchiveError:
                if _now() > until:
                    raise
                await asyncio.sleep(RETRY_S)


def documents_of(answers: list[Answer]) -> Iterator[Document]:
    """The documents of answers about one label, of which each goes on where the one before ended: oldest first."""
    for answer in reversed(answers):
        for packed in reversed(answer.documents):
            try:
                yield feed.unpack_document(packed)
            except UnreadableError:
                metrics.GATEWAY_UNREADABLE.inc()


def _hull(answers: list[Answer]) -> tuple[int, int] | None:
    missing = [answer.missing for answer in answers if answer.missing is not None]
    return (min(begin for begin, _ in missing), max(end for _, end in missing)) if missing else None


def _now() -> float:
    return asyncio.get_running_loop().time()
