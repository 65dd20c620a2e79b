"""The run itself: everything is started, killed in turn under load, and looked at."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.clients import memberships
from tests.chaos.faults import steps
from tests.chaos.lines import Line, Talker
from tests.chaos.records import Delivery, Fault, Gap, Join, Version, read
from tests.chaos.report import Report
from tests.chaos.system import System
from tests.chaos.verdict import judge
from tests.support.broker import Broker

Condition = Callable[[], bool] | Callable[[], Awaitable[bool]]

log = logging.getLogger("chaos")
"""What goes on, for who waits."""

LEVEL_LAG_S = 0.7
"""Roll calls younger than this need not have been heard for all to be level."""
START_S = 60.0
END_S = 60.0
"""In the end, when nobody posts any more, everybody has to have everything by then."""
SLOWER_AFTER_S = 25.0
"""When not everybody has everything for so long, there are half as many posts: the machine may have more to do."""
TIMES_SLOWER = 3
"""How often. Then the run ends."""
QUIET_S = 1.0
"""In the end nothing has come for so long."""
LOST_S = 40.0
"""Who hears what is new, and for so long not what was before, will not hear it any more: gateways give up sooner."""
TELL_EVERY_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What the run can be told."""

    seconds: float = 120.0
    """For how long faults go on; each kind has its turn, however long that takes."""
    per_s: float = 1000.0
    """Posts a second."""
    clients: int = 200
    calm_s: float = 2.0
    """Between one fault's end and the next fault."""
    faults: bool = True
    archive: bool = True
    broker: bool = True
    """Whether the broker has its turn."""


class ChaosError(Exception):
    """The run could not be made. Says why, in one line."""


class TooLateError(ChaosError):
    """Something did not come to be in time."""


class LostError(ChaosError):
    """Somebody does not get what they have missed."""


class _Watch:
    """What host and clients say of themselves, now."""

    def __init__(self, expected: int) -> None:
        """`expected` memberships."""
        self.host: Line = {}
        self.clients: Line = {}
        self.talkers: list[Talker] = []
        """Their processes."""
        self._expected = expected
        self._began = self._gets_on_at = time.monotonic()

    def on_host(self, line: Line) -> None:
        self.host |= line

    def on_clients(self, line: Line) -> None:
        gets_on = line["heard"] != self.clients.get("heard")
        self.clients = line
        hears = line["in"] == self._expected and 0 < self.called <= line["newest"]
        if gets_on or not hears or self.level():
            self._gets_on_at = time.monotonic()

    @property
    def called(self) -> int:
        """The newest roll call that everybody should have heard."""
        calls = self.host.get("calls", [])
        return max((number for number, at in calls if at <= time.monotonic() - LEVEL_LAG_S), default=0)

    @property
    def next_call(self) -> int:
        """A roll call that was not made yet."""
        return max((number for number, _ in self.host.get("calls", [])), default=0) + 2

    def level(self) -> bool:
        """Whether everybody is there and has heard all."""
        return self.clients.get("in") == self._expected and 0 < self.called <= self.clients["heard"]

    async def until(self, condition: Condition, within_s: float, what: str) -> None:
        """Wait until `condition()` is true.

        Raises `TooLateError`; `LostError` where nothing is to be waited for; `ChaosError` where nobody is left.
        """
        deadline = time.monotonic() + within_s
        while True:
            outcome = condition()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            if not all(talker.alive for talker in self.talkers):
                raise ChaosError("the host or the clients have ended by themselves")
            now = time.monotonic()
            if self.clients and now > self._gets_on_at + LOST_S:
                raise LostError("somebody has missed something and does not get it")
            if now > deadline:
                raise TooLateError(f"not within {within_s:.0f} s: {what}")
            await asyncio.sleep(0.05)

    def tell(self, what: str = "") -> None:
        """A line for people."""
        standing, refused = self.clients.get("in", 0), self.clients.get("refused") or "none"
        log.info(
            "%4.0f s  %7d posts, %8d deliveries, %d of %d memberships, heard up to %s of %s, gaps %d, refused %s%s",
            time.monotonic() - self._began,
            self.host.get("posts", 0),
            self.clients.get("deliveries", 0),
            standing,
            self._expected,
            self.clients.get("heard", "-"),
            self.host["calls"][-1][0] if self.host.get("calls") else "-",
            self.clients.get("gaps", 0),
            refused,
            f"  {what}" if what else "",
        )


class _Pace:
    """How many posts a second there are."""

    def __init__(self, watch: _Watch, host: Talker, per_s: float) -> None:
        self._watch = watch
        self._host = host
        self.per_s = per_s

    async def until(self, condition: Condition, what: str) -> None:
        """Wait for `condition()`, and make it easier if need be; raises `ChaosError`."""
        for _ in range(TIMES_SLOWER):
            try:
                return await self._watch.until(condition, SLOWER_AFTER_S, what)
            except TooLateError:
                self.per_s /= 2
                self._host.tell(str(self.per_s))
                log.warning("too much for this machine as it is now: from here on %.0f posts a second", self.per_s)
        return await self._watch.until(condition, SLOWER_AFTER_S, what)


async def run(broker: Broker, folder: Path, plan: Plan) -> Report:
    """Make the run with a broker that nobody else uses; raises `ChaosError`. Logs and notes stay in `folder`."""
    watch = _Watch(memberships(plan.clients))
    faults: list[Fault] = []
    async with contextlib.AsyncExitStack() as stack:
        host = await Talker.start(
            "tests.chaos.host",
            folder / "versions",
            plan.per_s,
            log=folder / "host.log",
            on_line=watch.on_host,
        )
        stack.push_async_callback(host.end)
        watch.talkers.append(host)
        await watch.until(lambda: "port" in watch.host, START_S, "the host listens")
        system = System(broker, folder, stream=f"127.0.0.1:{watch.host['port']}", archive=plan.archive)
        stack.push_async_callback(system.stop)
        await watch.until(system.ready, START_S, "every service is ready")
        ports = [gateway.port for gateway in system.gateways]
        clients = await Talker.start(
            "tests.chaos.clients", folder, plan.clients, *ports, log=folder / "clients.log", on_line=watch.on_clients
        )
        stack.push_async_callback(clients.end)
        watch.talkers.append(clients)
        await stack.enter_async_context(_telling(watch))
        pace = _Pace(watch, host, plan.per_s)
        await pace.until(watch.level, "everybody is in their rooms and has everything")
        began = time.monotonic()
        overloaded_until = began if pace.per_s < plan.per_s else 0.0
        await _go_on(system, watch, plan, pace, faults)
        seconds = time.monotonic() - began
        at_the_end = await _come_to_an_end(host, watch)
    log.info("       looking at what everybody has had")
    verdict = judge(
        versions=read(Version, folder / "versions"),
        deliveries=read(Delivery, folder / "deliveries"),
        gaps=list(read(Gap, folder / "gaps")),
        joins=read(Join, folder / "joins"),
        faults=faults,
        history=plan.archive,
        overloaded_until=overloaded_until,
    )
    return Report(
        verdict=verdict,
        seconds=seconds,
        posts=watch.host["posts"],
        per_s=pace.per_s,
        clients=plan.clients,
        deliveries=watch.clients["deliveries"],
        ended={service.name: service.ended for service in system.services if service.ended},
        level_at_the_end=at_the_end,
    )


async def _go_on(system: System, watch: _Watch, plan: Plan, pace: _Pace, faults: list[Fault]) -> None:
    """One fault after the other, until the time is over and each kind had its turn."""
    until = time.monotonic() + plan.seconds
    if not plan.faults:
        await asyncio.sleep(plan.seconds)
        return
    all_had_their_turn = False
    for step in steps(system, broker=plan.broker):
        await asyncio.sleep(plan.calm_s)
        watch.tell(f"fault: {step.name}")
        at = await step.do()
        faults.append(Fault(step.name, at))
        # What was said before the fault is no sign that it is over.
        wanted = watch.next_call

        async def over(wanted: int = wanted) -> bool:
            return watch.level() and watch.clients["heard"] >= wanted and await system.ready()

        try:
            await pace.until(over, "everything is well again")
        except (TooLateError, LostError) as error:
            watch.tell(str(error))
            return
        watch.tell(f"level {time.monotonic() - at:.1f} s after: {step.name}")
        all_had_their_turn |= step.is_last
        if all_had_their_turn and time.monotonic() > until:
            return


async def _come_to_an_end(host: Talker, watch: _Watch) -> bool:
    """Post no more; returns whether everybody had the last roll call in time, and nothing came after that."""
    host.tell()
    last_change, deliveries = time.monotonic(), -1

    def quiet() -> bool:
        nonlocal last_change, deliveries
        if watch.clients["deliveries"] != deliveries:
            last_change, deliveries = time.monotonic(), watch.clients["deliveries"]
        return time.monotonic() - last_change > QUIET_S and watch.clients["heard"] >= watch.host.get("over", 1e9)

    try:
        await watch.until(quiet, END_S, "everybody has heard the last roll call")
    except (TooLateError, LostError) as error:
        watch.tell(str(error))
        return False
    return True


@asynccontextmanager
async def _telling(watch: _Watch) -> AsyncIterator[None]:
    """Say now and then how it goes."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            watch.tell()

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
