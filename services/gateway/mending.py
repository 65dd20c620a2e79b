"""What a gateway itself has lost, brought to its rooms from the archive; or told, where it is not to be had."""

import asyncio
from collections.abc import Callable

import structlog

from services.gateway.catchup import CHANGES, OVERLAP_US, CatchUp
from services.gateway.connection import Connection
from services.gateway.history import History, NoArchiveError
from services.gateway.holes import Hole
from services.gateway.rooms import Room, Rooms
from services.gateway.seams import Bound

log = structlog.get_logger()

PATIENCE_S = 30.0
"""How long one waits for an archive that was there before, until rooms are told that something is missing. One that
is there and lags behind is waited for."""

RETRY_S = 1.0


class Mending:
    """Mends all rooms at once, one time after the other."""

    def __init__(
        self,
        catchup: CatchUp,
        history: History,
        rooms: Rooms[Connection],
        tell_gap: Callable[[Room[Connection], Hole], None],
        tell_changes_lost: Callable[[Hole], None],
    ) -> None:
        """`tell_changes_lost` is called where edits and deletions may be missing, of whatever tweets."""
        self._catchup = catchup
        self._history = history
        self._rooms = rooms
        self._tell_gap = tell_gap
        self._tell_changes_lost = tell_changes_lost
        self._changes_lost_from: int | None = None
        self._just_bound = False
        self._wanted = False
        self._task: asyncio.Task[None] | None = None
        catchup.lagged = self._start

    def fell_into(self, hole: Hole) -> None:
        """The broker has dropped some from the full queue: get them from the archive, or say that there is a gap."""
        if hole.from_seq is None:
            for room in self._rooms.all():
                self._tell_gap(room, hole)
            self._tell_changes_lost(hole)
            return
        self._tear(hole.from_seq, hole.to_seq)
        self._start()

    def unbound(self) -> None:
        """The queue is lost, and with it what would have come next."""
        self._catchup.unbound()
        if self._task is not None:
            self._task.cancel()
        if (newest := self._catchup.newest) is not None:
            self._tear(newest, None)

    def bound(self) -> None:
        """A fresh queue is bound to all that is wanted: get what was lost until now."""
        self._catchup.bound()
        self._just_bound = True
        self._start()

    async def stop(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _tear(self, from_seq: int, to_seq: int | None) -> None:
        for room in self._rooms.all():
            room.recent.lost(from_seq, to_seq)
        self._lose_changes(from_seq)

    def _lose_changes(self, from_seq: int) -> None:
        lost_from = self._changes_lost_from
        self._changes_lost_from = from_seq if lost_from is None else min(lost_from, from_seq)

    def _start(self) -> None:
        self._wanted = True
        if self._task is None or self._task.done() or self._task.cancelling():
            self._task = asyncio.create_task(self._mend())

    async def _mend(self) -> None:
        while self._wanted:
            self._wanted = False
            torn = []
            for room in self._rooms.all():
                if room.empty:
                    # Nobody lacks anything, and who comes asks anew.
                    room.recent.unknown()
                elif room.recent.hole_from is not None:
                    torn.append(room)
            if not torn and self._changes_lost_from is None and not self._just_bound:
                continue
            complete_to = await self._caught_up()
            if complete_to is None:
                self._give_up(torn)
                if self._changes_lost_from is not None:
                    self._tell_changes_lost(Hole(self._changes_lost_from, None))
                self._changes_lost_from = None
                continue
            if self._just_bound:
                self._just_bound = False
                for label in CHANGES:
                    self._catchup.seams.bound(Bound(label), complete_to)
            await asyncio.gather(self._get_changes(), *map(self._mend_room, torn))

    async def _caught_up(self) -> int | None:
        """Wait until the archive has all that was published; returns its newest `seq`, None where it is not there."""
        while await self._history.here(PATIENCE_S):
            try:
                return await self._history.caught_up()
            except NoArchiveError:
                await asyncio.sleep(RETRY_S)
        return None

    async def _mend_room(self, room: Room[Connection]) -> None:
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while (hole_from := room.recent.hole_from) is not None:
            # Lag is no reason to ask again and again: that would make it worse.
            covered = await self._catchup.cover(
                room, since=hole_from, least=0, patience_s=PATIENCE_S, caught_up_within_s=None
            )
            if covered:
                return
            if asyncio.get_running_loop().time() > until:
                self._give_up([room])
                return
            await asyncio.sleep(RETRY_S)

    async def _get_changes(self) -> None:
        """What has become of tweets that rooms were shown before: it need not match what they match."""
        lost_from, self._changes_lost_from = self._changes_lost_from, None
        if lost_from is None:
            return
        until = asyncio.get_running_loop().time() + PATIENCE_S
        try:
            while asyncio.get_running_loop().time() < until:
                try:
                    await self._catchup.bring_changes(max(0, lost_from - OVERLAP_US))
                except NoArchiveError:
                    await asyncio.sleep(RETRY_S)
                else:
                    return
        except asyncio.CancelledError:
            self._lose_changes(lost_from)
            raise
        log.warning("edits and deletions may have been missed: the archive could not be asked for them")
        self._tell_changes_lost(Hole(lost_from, None))

    def _give_up(self, torn: list[Room[Connection]]) -> None:
        if torn:
            log.warning("what was lost could not be had from the archive", rooms=len(torn))
        for room in torn:
            if room.recent.hole_from is not None:
                self._tell_gap(room, Hole(room.recent.hole_from, room.recent.hole_to))
                room.recent.unknown()
