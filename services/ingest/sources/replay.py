"""The source `replay`: a file of recorded posts, at the pace at which they were posted or another.

The file is JSON Lines, plain or gzipped, of any size; `records` says what a line can be.
"""

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import IO, cast

import msgspec
import structlog

from services.ingest.sources import Item, Notes, SourceError
from services.ingest.sources.pacing import Clock, SystemClock
from services.ingest.sources.records import Unreadable, read_line
from services.ingest.sources.report import Report
from services.ingest.sources.unreadable import Unreadables
from shared.events import Event

log = structlog.get_logger()

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longer lines are no records, and would be held in memory whole."""
BATCH_BYTES = 64 * 1024
"""About as much of the file is read and decoded at a time."""
MAX_GAP_S = 60.0
"""A longer silence between two events, in the recording's time, is a pause of the recording itself …"""
PAUSE_S = 1.0
"""… and takes this long."""
MAX_LATE_S = 1.0
"""How far the replay may fall behind and catch up. Held up for longer, it goes on from there."""

_GZIP_MAGIC = b"\x1f\x8b"


class ReplaySource:
    """Reads a file's events in their order, waiting between them as `speed` says.

    The pace is that of the events' `mtime`. An event that is older than the one before it, as on the next
    page of a search, comes at once, and the pace goes on from it.

    Looping, the second and each later pass is a copy with new ids, `<id>~<milliseconds since the epoch at
    which the pass began>`: with the old ids everyone would take them for versions they have seen. Edits and
    deletes within a pass find their posts. The first pass keeps the ids as recorded.
    """

    name = "replay"
    can_wait = True
    demand = None
    one_reader = False

    def __init__(self, *, path: str | Path, speed: float, loop: bool, clock: Clock | None = None) -> None:
        """`speed` 1 is the original pace, 2 twice as fast, 0 as fast as events are taken.

        Raises `SourceError` if there is nothing to read at `path`, or the speed is none.
        """
        if not 0 <= speed < float("inf"):
            raise SourceError(f"ROOST_INGEST_REPLAY_SPEED: {speed} is not a speed (0 is as fast as possible)")
        self._path = Path(path)
        self._loop = loop
        self._clock = clock or SystemClock()
        self._pace = _Pace(speed, self._clock)
        self._unreadables = Unreadables(self.name)
        self.report = Report(self.name, state="live")
        _open(self._path).close()

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        """Every event of the file, again and again if looping, always from its beginning.

        Who brings Roost up again wants to see the file once more, so no cursor is kept: what readers know already
        they know by its version. Ends after a pass in which nothing could be read, also when looping. Raises
        `SourceError` if the file is gone when a pass begins.
        """
        last_pass = 0
        suffix = ""
        while True:
            count = 0
            async with aclosing(self._one_pass()) as events:
                async for event in events:
                    count += 1
                    await self._pace.wait_for(event.mtime)
                    yield Item(msgspec.structs.replace(event, id=event.id + suffix) if suffix else event)
            log.info("replay_pass_ended", path=str(self._path), events=count)
            if not self._loop or not count:
                return
            last_pass = max(last_pass + 1, self._clock.now_ms())
            suffix = f"~{last_pass}"
            self._pace.restart()

    async def _one_pass(self) -> AsyncGenerator[Event, None]:
        """The events of the file from its beginning. Reading and decoding happen in a thread."""
        with _open(self._path) as file:
            lines = self._lines(file)
            while (batch := await asyncio.to_thread(self._next_batch, lines)) is not None:
                for event in batch:
                    yield event

    def _next_batch(self, lines: Iterator[bytes]) -> list[Event] | None:
        """The events of the next lines, `BATCH_BYTES` or one line of them; None at the end of the file."""
        events: list[Event] = []
        size = 0
        for line in lines:
            for item in read_line(line):
                if isinstance(item, Unreadable):
                    self._unreadables.skip(item.reason, item.detail)
                else:
                    events.append(item)
            size += len(line)
            if size >= BATCH_BYTES:
                return events
        return events or None

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        try:
            while line := file.readline(MAX_LINE_BYTES):
                if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    self._unreadables.skip("line_too_long", f"a line is longer than {MAX_LINE_BYTES} bytes")
                else:
                    yield line
        except (OSError, EOFError, zlib.error) as error:
            self._unreadables.skip("damaged_file", str(error))


class _Pace:
    """When each event is due, so that waits do not add up their errors."""

    def __init__(self, speed: float, clock: Clock) -> None:
        self._speed = speed
        self._clock = clock
        self._last_ms: int | None = None
        self._due = 0.0

    def restart(self) -> None:
        """The next event is a first one: it comes at once."""
        self._last_ms = None

    async def wait_for(self, mtime: int) -> None:
        """Come back when the event of that moment is due."""
        if not self._speed:
            return
        now = self._clock.monotonic()
        if self._last_ms is None:
            self._due = now
        else:
            gap = max(0, mtime - self._last_ms) / 1000
            self._due += PAUSE_S if gap > MAX_GAP_S else gap / self._speed
            self._due = max(self._due, now - MAX_LATE_S)
        self._last_ms = mtime
        if self._due > now:
            await self._clock.sleep(self._due - now)


def _open(path: Path) -> IO[bytes]:
    """The file, unpacked if it begins as gzip does, whatever its name; raises `SourceError`."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GZIP_MAGIC))
        if magic:
            return cast(IO[bytes], gzip.open(path) if magic == _GZIP_MAGIC else path.open("rb"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"ROOST_INGEST_REPLAY_PATH: {path} can't be read: {reason}") from None
    raise SourceError(f"ROOST_INGEST_REPLAY_PATH: {path} is empty")
