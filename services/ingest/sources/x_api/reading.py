"""One reading of X: connects, hands over what comes, and disconnects where it must not go on.

Three things end a connection that X would go on with: the budget is used up, nobody takes what comes, nothing is
wanted. What X sends is paid for, so what can't be passed on must not be asked for.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from services.ingest.sources import Item, Notes
from services.ingest.sources.backoff import Backoff, Growth
from services.ingest.sources.pacing import Clock
from services.ingest.sources.records import Unreadable
from services.ingest.sources.report import Report
from services.ingest.sources.unreadable import Unreadables
from services.ingest.sources.x_api.budget import Budget
from services.ingest.sources.x_api.failures import HTTP, NETWORK, Failure
from services.ingest.sources.x_api.handover import Handover
from services.ingest.sources.x_api.lines import Lines, TooLong
from services.ingest.sources.x_api.messages import Complaint, Message, read_message
from services.ingest.sources.x_api.rulebook import Rulebook
from shared.metrics import SOURCE_CONNECTS, X_POSTS_TODAY
from shared.tasks import first_of, together

log = structlog.get_logger()

GOOD_RUN_S = 60.0
"""A connection that held for so long was a good one: pauses are short again."""
LIVE_AFTER_S = 3.0
"""A first connection that has been open for so long is believed, though nothing has come yet. After a failure only
what comes is believed."""
STALLED_S = 10.0
"""When a post has waited for so long to be taken, nothing more is bought."""
UNNOTED_S = 1.0
"""When posts, or a note of what is set aside for them, have waited for so long, nothing is bought beyond what is set
aside: a crash would forget it."""
MOST_WAITING = 1000
"""Posts that wait to be taken."""
MOST_BACKLOG_BYTES = 2 * 1024 * 1024
"""So much is read from a connection and not looked at yet while something is waited for. It has been paid for."""
LINES_BETWEEN_BREATHS = 20
CUTS_BETWEEN_BREATHS = 1000
"""The same of lines that are only cut off the stream."""
LONG_LINE_BYTES = 16 * 1024
"""Longer lines are read by a thread: one can have thousands of links to be looked at."""
LONGEST_SLEEP_S = 900.0
"""The date is looked at so often while waiting for the next day: clocks are set, machines sleep."""
STALLED = "the broker takes nothing, so nothing is bought"

_AT_ONCE = Growth(0.0, 0.0)
"""No pause but what the limits of attempts ask for."""

Connect = Callable[[Callable[[], None], Callable[[bytes], Awaitable[None]]], Awaitable[None]]
"""Opens the stream once: tells that it is open, then gives each piece that comes. Returns when X ends it properly,
and raises `Failure` otherwise."""


class _SpentError(Exception):
    """The budget is used up, at the latest by what was delivered and is not looked at yet."""


class _StalledError(Exception):
    """Nobody takes what comes."""


class Reading:
    """The state of one `read` of the source."""

    def __init__(
        self,
        connect: Connect,
        rulebook: Rulebook,
        report: Report,
        unreadables: Unreadables,
        *,
        budget: Budget,
        notes: Notes,
        clock: Clock,
        backoff: Backoff,
        silence_s: float,
        hide: Callable[[str], str],
    ) -> None:
        """`silence_s` without a complete line is a connection that is dead. `hide` takes the token out of what X says
        before it is repeated."""
        self.handover = Handover(clock, MOST_WAITING)
        """What was read, for whoever reads the source."""
        self._connect = connect
        self._rulebook = rulebook
        self._report = report
        self._unreadables = unreadables
        self._budget = budget
        self._spent_text = (
            f"the daily budget of {budget.posts_per_day:,} posts is used up; it goes on at 00:00 UTC"
            if budget.posts_per_day
            else "the daily budget is 0 posts: nothing is bought"
        )
        self._notes = notes
        self._clock = clock
        self._backoff = backoff
        self._silence_s = silence_s
        self._hide = hide
        self._connects = SOURCE_CONNECTS.labels(source="x")
        self._lines = Lines()
        self._backlog: deque[bytes | TooLong] = deque()
        """Delivered, and not looked at yet."""
        self._backlog_bytes = 0
        self._delivered = asyncio.Event()
        self._idle = asyncio.Event()
        """Set while there is no backlog."""
        self._opened_at: float | None = None
        self._alive_at = 0.0
        self._no_rules = False
        self._unkept: str | None = None
        """A note that is being kept …"""
        self._set_aside_before = 0
        """… and how many posts could be taken without it."""
        self._keeping: asyncio.Task[None] | None = None
        self._blocked_since: float | None = None

    async def run(self) -> None:
        """Read until cancelled."""
        await together(self._rulebook.run(), self._stream())

    async def leave(self, within_s: float) -> None:
        """After `run`: give back what was set aside of the budget, if that is possible within so many seconds."""
        self._count_backlog()
        try:
            async with asyncio.timeout(within_s):
                if self._keeping is not None:
                    await self._keeping
                await self._notes.keep(self._budget.settled())
        except Exception:
            log.info("what is set aside of today's budget counts as used: it could not be given back", source="x")

    async def _stream(self) -> None:
        while True:
            if self._budget.spent:
                await self._rest()
                continue
            await self._rulebook.wanted.wait()
            await self._set_aside()
            await self._rulebook.compare(again=self._no_rules)
            if self._budget.spent or not self._rulebook.wanted.is_set():
                continue
            pause = await self._connection()
            await self._catch_up()
            if not self._budget.spent:
                await self._clock.sleep(pause)

    async def _connection(self) -> float:
        """Listen once; returns how many seconds to wait before the next time."""
        self._lines = Lines()
        self._opened_at = None
        self._alive_at = self._clock.monotonic()
        self._no_rules = False
        self._idle.set()
        self._backoff.attempt()
        self._connects.inc()
        try:
            await first_of(self._listen(), self._work(), self._watch(), self._rulebook.unwanted.wait())
        except _SpentError:
            pass
        except _StalledError:
            self._report.away(STALLED)
        except Failure as failure:
            self._no_rules = failure.status == 409
            return self._failed(failure)
        except Exception as error:
            # A mistake of ours. What the error says is not repeated: it may know the request, and that the token.
            return self._failed(Failure(f"the stream can't be read: {type(error).__name__}", HTTP))
        finally:
            X_POSTS_TODAY.set(self._budget.used)
        return self._backoff.next_pause_s(_AT_ONCE)

    def _failed(self, failure: Failure) -> float:
        growth = failure.growth
        if self._opened_at is not None and self._clock.monotonic() - self._opened_at >= GOOD_RUN_S:
            self._backoff.worked()
            growth = NETWORK
        self._report.away(failure.reason)
        return self._backoff.next_pause_s(growth, at_least_s=failure.at_least_s)

    async def _listen(self) -> None:
        failure = Failure("X has ended the stream", HTTP)
        try:
            await self._connect(self._opened, self._take)
        except Failure as error:
            failure = error
        # Its last words may say why.
        await self._idle.wait()
        raise failure

    def _opened(self) -> None:
        self._opened_at = self._clock.monotonic()

    async def _take(self, piece: bytes) -> None:
        lines = self._lines.feed(piece)
        told = False
        try:
            for number, line in enumerate(lines, 1):
                self._deliver(line)
                if not (line or told):
                    told = True
                    self._report.live()
                if not number % CUTS_BETWEEN_BREATHS:
                    await self._clock.sleep(0)
        finally:
            # Also where it is cut off in the middle: what was delivered has to be paid for.
            for line in lines:
                self._deliver(line)
        # Each line may be a post, so X must not send another one.
        if len(self._backlog) >= self._budget.left:
            raise _SpentError
        await self._clock.sleep(0)
        if self._backlog_bytes > MOST_BACKLOG_BYTES:
            await self._idle.wait()

    def _deliver(self, line: bytes | TooLong) -> None:
        if line:
            self._backlog.append(line)
            self._backlog_bytes += 0 if isinstance(line, TooLong) else len(line)
            self._delivered.set()
            self._idle.clear()
        if not isinstance(line, TooLong):
            self._alive_at = self._clock.monotonic()

    async def _work(self) -> None:
        while True:
            self._delivered.clear()
            await self._work_off()
            await self._delivered.wait()

    async def _watch(self) -> None:
        """Look at the connection now and then; raises what is wrong with it."""
        while True:
            await self._clock.sleep(min(1.0, self._silence_s / 4))
            now = self._clock.monotonic()
            if self._is_stalled(now):
                raise _StalledError
            if not self._idle.is_set():
                self._alive_at = now  # we are the slow ones
            if now - self._alive_at >= self._silence_s:
                raise Failure("X has fallen silent: not even a sign of life", NETWORK)
            first = self._report.state == "connecting"
            if first and self._opened_at is not None and now - self._opened_at >= LIVE_AFTER_S:
                self._report.live()

    def _is_stalled(self, now: float) -> bool:
        waiting = [since for since in (self.handover.waiting_since(), self._blocked_since) if since is not None]
        waited_s = now - min(waiting, default=now)
        set_aside = self._budget.set_aside if self._unkept is None else self._set_aside_before
        covered = not self._backlog or len(self._backlog) < set_aside
        return waited_s >= (STALLED_S if covered else UNNOTED_S)

    async def _work_off(self) -> None:
        """Look at what was delivered, as far as the budget goes and as fast as it is taken."""
        lines = 0
        while True:
            if self._budget.spent:
                raise _SpentError
            if not self._backlog:
                self._backlog_bytes = 0
                self._idle.set()
                X_POSTS_TODAY.set(self._budget.used)
                return
            await self._set_aside()
            await self.handover.room()
            lines += 1
            if not lines % LINES_BETWEEN_BREATHS:
                await self._clock.sleep(0)
            line = self._backlog.popleft()
            try:
                message = await self._read(line)
            except asyncio.CancelledError:
                # It is paid for: whoever catches up reads it.
                self._backlog.appendleft(line)
                raise
            self._pass_on(message)

    async def _read(self, line: bytes | TooLong) -> Message:
        if isinstance(line, TooLong):
            return Unreadable("too_large", f"a line is longer than {line.most} bytes")
        if len(line) > LONG_LINE_BYTES:
            return await asyncio.to_thread(read_message, line, self._hide)
        return read_message(line, self._hide)

    def _pass_on(self, message: Message) -> None:
        """All that may have been a post counts as one: X counts what it delivers, not what we can read."""
        if isinstance(message, Complaint):
            raise Failure(f"X ends the stream: {message.text or 'it does not say why'}", HTTP)
        if isinstance(message, Unreadable):
            if message.reason != "unknown_kind":
                self._budget.take()
            self._unreadables.skip(message.reason, message.detail)
            return
        self._budget.take()
        self._report.live()
        self.handover.put(Item(event=message))

    async def _catch_up(self) -> None:
        """Between two connections: what was delivered is passed on, and somebody takes it."""
        while self._backlog:
            try:
                await self._work_off()
            except _SpentError:
                break
            except Failure:
                continue  # that connection has ended already
        await self.handover.emptied()

    async def _set_aside(self) -> None:
        """Make sure that what is taken next is noted as used beforehand, so that no crash can forget it."""
        while self._unkept is not None or self._budget.must_wait or self._budget.wants_reserve(len(self._backlog)):
            if self._unkept is None:
                self._set_aside_before = self._budget.set_aside
                self._unkept = self._budget.reserve(len(self._backlog))
            if self._keeping is None:
                self._keeping = asyncio.create_task(self._keep(self._unkept))
            if self._blocked_since is None:
                self._blocked_since = self._clock.monotonic()
            # Whoever waits here may be cut off; the note is on its way all the same.
            await asyncio.shield(self._keeping)

    async def _keep(self, note: str) -> None:
        try:
            await self._notes.keep(note)
            self._unkept = None
            self._blocked_since = None
        finally:
            self._keeping = None

    async def _rest(self) -> None:
        """Wait for the next day."""
        self._count_backlog()
        self._rulebook.rest(True)
        try:
            while self._budget.spent:
                X_POSTS_TODAY.set(self._budget.used)
                self._report.spent(self._spent_text, resumes_in_s=self._budget.resumes_in_s())
                await self._set_aside()  # X may have sent more than the budget allows
                if self._budget.spent:
                    await self._clock.sleep(min(max(self._budget.resumes_in_s(), 0.05), LONGEST_SLEEP_S))
            X_POSTS_TODAY.set(self._budget.used)
        finally:
            self._rulebook.rest(False)
        self._report.connecting()

    def _count_backlog(self) -> None:
        """What is not looked at any more was delivered all the same."""
        self._budget.take(len(self._backlog))
        self._backlog.clear()
