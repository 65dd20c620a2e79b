"""The rules that X holds for us, kept as they should be: those of the setting, or those that follow from demand."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import structlog

from services.ingest.sources.backoff import Backoff
from services.ingest.sources.pacing import Clock
from services.ingest.sources.report import Report
from services.ingest.sources.x_api.failures import HTTP, Failure
from services.ingest.sources.x_api.messages import complaint_of
from services.ingest.sources.x_api.rules import Rule, Wishes, difference, halves, is_ours
from shared.demand import Demand
from shared.metrics import X_RULES
from shared.tasks import first_of, forever

log = structlog.get_logger()

DEBOUNCE_S = 20.0
"""So long after a first change all that came meanwhile are applied together: X limits requests, and people come and
go in numbers."""
RULE_WORKS_AFTER_S = 20.0
"""So long after a rule was added X sends posts for it."""
LOOK_S = 0.5
"""Demand is looked at no more often than this: a snapshot tells thousands of changes at once."""
LOOK_SHARE = 20
"""And so much longer than a look takes: a hundred thousand labels take more than a second."""
MANY = 1000
"""More keys than this are looked at in a thread."""
RECENT_S = 10.0
"""Rules that were compared so lately are not compared again for a new connection."""
PORTION = 100
"""Rules added or deleted with one request."""
MOST_ROUNDS = 20
"""Attempts to find a set of rules that X takes; each finds at least one expression that it refuses."""


class Api(Protocol):
    """What X offers for rules. Every method raises `Failure`."""

    async def rules(self) -> list[Mapping[str, object]]:
        """All rules there are: `id`, `value` and mostly `tag`."""
        ...

    async def add(self, values: Sequence[str], *, dry_run: bool = False) -> list[Mapping[str, object]]:
        """Add rules, or only have them checked; returns what X says is wrong with some of them."""
        ...

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete the rules with these ids."""
        ...


class Rulebook:
    """Compares the rules at X with those that are wanted, on changes and before each connection.

    Its requests have pauses of their own, and their failures never touch the stream: X goes on sending for the rules
    it has.
    """

    def __init__(
        self,
        api: Api,
        report: Report,
        clock: Clock,
        backoff: Backoff,
        *,
        fixed: Sequence[str] | None,
        wishes: Wishes | None,
    ) -> None:
        """Either `fixed`, the values of all rules there shall ever be, or `wishes`, by which demand is read."""
        assert (fixed is None) != (wishes is None)
        self.demand = None if wishes is None else Demand(changed=self._note_change)
        """Where rules follow from it: what people watch. The application keeps it true."""
        self.wanted = asyncio.Event()
        """Set while there are rules for which to listen …"""
        self.unwanted = asyncio.Event()
        """… and this while there are none, so that no connection is needed."""
        self._api = api
        self._report = report
        self._clock = clock
        self._backoff = backoff
        self._wishes = wishes
        self._planned: tuple[Rule, ...] = tuple(Rule(value, ()) for value in fixed or ())
        self._left: tuple[Rule, ...] = ()
        """Rules of ours that X has, perhaps from an earlier run: what of them is wanted still is not made anew."""
        self._not_asked: tuple[str, ...] = ()
        self._refused: set[str] = set()
        self._there: dict[str, tuple[Rule, float]] = {}
        """Our rules at X by value, and since when each works or will."""
        self._resting = False
        self._changed = False
        self._look_at = 0.0
        self._due: float | None = None
        self._retry_at = self._compared_at = float("-inf")
        self._told = ""
        self._woken = asyncio.Event()
        self._tried = asyncio.Event()
        if fixed:
            self.wanted.set()

    async def run(self) -> None:
        """Keep the rules at X as they should be, until cancelled."""
        self._compared_at = float("-inf")  # who knows what has happened to them between two runs
        if self.demand is not None and self.demand.known:
            self._changed = True
            self._due = self._clock.monotonic()
        while True:
            await self._until_due()
            await self._try()

    async def compare(self, *, again: bool = False) -> None:
        """Before a connection: have the rules compared, and come back after one attempt to do it, good or bad.

        Comes back at once where that was done just now (unless `again`), or X has asked for a pause.
        """
        now = self._clock.monotonic()
        if self._retry_at > now or (now - self._compared_at < RECENT_S and not again):
            return
        self._due = now
        self._woken.set()
        await self._tried.wait()

    def rest(self, resting: bool) -> None:
        """Leave the rules alone for a while, or see to them again: nothing is asked for while nothing may come."""
        self._resting = resting
        self._woken.set()
        self._tell()

    def _note_change(self) -> None:
        self._changed = True
        self._woken.set()

    async def _until_due(self) -> None:
        while True:
            self._woken.clear()
            now = self._clock.monotonic()
            if self._changed and now >= self._look_at:
                await self._look()
                self._tell()
            waits = [self._look_at - now] if self._changed else []
            if self._due is not None and not self._resting:
                if self._due <= now:
                    return
                waits.append(self._due - now)
            await first_of(self._woken.wait(), self._clock.sleep(min(waits)) if waits else forever())

    async def _look(self) -> None:
        """Make the plan that follows from demand; a new one is applied a little later."""
        if self._wishes is None or self.demand is None:
            return
        self._changed = False
        if not self.demand.known:
            # Rules that are there are for people who are there, as far as we know.
            return
        first = not self.wanted.is_set() and not self.unwanted.is_set()
        began = self._clock.monotonic()
        holders, current = self.demand.holders(), self._left if first else self._planned
        if len(holders) < MANY:
            plan = self._wishes.plan(holders, self._refused, current)
        else:
            plan = await asyncio.to_thread(self._wishes.plan, holders, set(self._refused), current)
        now = self._clock.monotonic()
        self._look_at = now + max(LOOK_S, LOOK_SHARE * (now - began))
        self._refused &= set(plan.not_asked)  # what nobody wants any more need not be remembered
        self._not_asked = plan.not_asked
        if plan.rules != self._planned or first:
            self._planned = plan.rules
            if self._due is None:
                # What people watched when ingest came need not wait for what they do next.
                self._due = max(now if first else now + DEBOUNCE_S, self._retry_at)

    async def _try(self) -> None:
        self._due = None
        failure: Failure | None = None
        try:
            await self._sync()
        except Failure as error:
            failure = error
        except Exception as error:
            # A mistake of ours must not end the stream.
            failure = Failure(f"the rules can't be worked out: {type(error).__name__}", HTTP)
        if self._planned:
            self.wanted.set()
            self.unwanted.clear()
        else:
            # Also where the old rules could not be deleted: without a connection they cost nothing.
            self.wanted.clear()
            self.unwanted.set()
        if failure:
            self._failed(failure)
        else:
            self._worked()
        self._tell()
        self._tried.set()
        self._tried = asyncio.Event()

    def _worked(self) -> None:
        self._backoff.worked()
        self._told = ""
        self._retry_at = float("-inf")
        self._compared_at = self._clock.monotonic()
        if not self._planned and self._refused:
            self._report.away("X refuses every rule that it is asked for")
        elif not self._planned:
            self._report.live()

    def _failed(self, failure: Failure) -> None:
        pause = self._backoff.next_pause_s(failure.growth, at_least_s=failure.at_least_s)
        self._retry_at = self._due = self._clock.monotonic() + pause
        if not self._planned:
            self._report.away(failure.reason)
        elif self._report.state == "live" and failure.reason != self._told:
            # While the source is away it has said so itself, and why.
            self._told = failure.reason
            log.warning("the rules at X can't be brought up to date, trying again", source="x", reason=failure.reason)

    async def _sync(self) -> None:
        for _ in range(MOST_ROUNDS):
            self._backoff.attempt()
            there = await self._api.rules()
            self._left = tuple(Rule(str(rule.get("value")), ()) for rule in there if is_ours(rule))
            await self._look()
            self._due = None
            wanted = {rule.value: rule for rule in self._planned}
            change = difference(wanted, there)
            for ids in _portions(change.delete):
                await self._api.delete(ids)
            refused: list[str] = []
            for values in _portions(change.add):
                refused += await self._add(values)
            if not refused:
                self._applied(wanted, added=set(change.add))
                return
            # Where part of the company is refused, rules with company are refused for that and not for their own.
            alone = [value for value in refused if not _has_company(wanted[value])]
            for value in alone or refused:
                await self._find_refused(wanted[value])
        raise Failure("X refuses one rule after the other", HTTP)

    def _applied(self, wanted: Mapping[str, Rule], *, added: set[str]) -> None:
        """The rules at X are `wanted` now."""
        works_at = self._clock.monotonic() + RULE_WORKS_AFTER_S
        # A rule that was there before this ingest was has long begun to work.
        since = {value: entry[1] for value, entry in self._there.items()}
        self._there = {
            value: (rule, works_at if value in added else since.get(value, float("-inf")))
            for value, rule in wanted.items()
        }
        X_RULES.set(len(wanted))

    async def _add(self, values: Sequence[str], *, dry_run: bool = False) -> list[str]:
        """Add rules; returns those of which X says that they are none."""
        rejected = False
        try:
            errors = await self._api.add(values, dry_run=dry_run)
        except Failure as failure:
            if failure.status not in (400, 422) or not any(_says(error, "invalid") for error in failure.errors):
                raise
            rejected, errors = True, list(failure.errors)
        errors = [error for error in errors if not _says(error, "duplicate")]
        invalid = {error.get("value") for error in errors if _says(error, "invalid")}
        if refused := [value for value in values if value in invalid]:
            return refused
        if rejected:
            # X does not say which one it is.
            middle = len(values) // 2
            if not middle:
                return list(values)
            return [
                *await self._add(values[:middle], dry_run=dry_run),
                *await self._add(values[middle:], dry_run=dry_run),
            ]
        if errors:
            raise Failure(f"X does not take the rules: {complaint_of({'errors': errors})}", HTTP)
        return []

    async def _find_refused(self, rule: Rule) -> None:
        """Halve a rule that X refuses until it is known for which labels nothing can be asked; remember these."""
        parts = halves(rule) if rule.labels else None
        refused = [part for part in parts or () if await self._add([part.value], dry_run=True)]
        for part in refused:
            await self._find_refused(part)
        if refused:
            return
        # One expression; or several that X takes in parts and not as a whole, for which there is no better way.
        self._refused.update(rule.labels or [rule.value])
        if not rule.labels:
            self._planned = tuple(other for other in self._planned if other != rule)
            log.warning("X refuses this rule, going on without it", source="x", rule=rule.value)

    def _tell(self) -> None:
        """Say which labels X is being asked for and when that will work, and which it is not."""
        if self.demand is None:
            return
        now = self._clock.monotonic()
        working = {label for rule, works_at in self._there.values() if works_at <= now for label in rule.labels}
        asking: dict[str, float] = {}
        for rule in () if self._resting else self._planned:
            if rule.value in self._there:
                works_at = self._there[rule.value][1]
            else:
                works_at = (now if self._due is None else max(now, self._due)) + RULE_WORKS_AFTER_S
            if works_at > now:
                asking |= dict.fromkeys(set(rule.labels) - working, works_at - now)
        self._report.asks(asking, self._not_asked)


def _portions(some: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(some), PORTION):
        yield some[start : start + PORTION]


def _has_company(rule: Rule) -> bool:
    return any(label in ("has_url", "has_media") or label.startswith("lang.") for label in rule.labels)


def _says(error: Mapping[str, object], word: str) -> bool:
    """Whether an error of X is of a kind: `…/problems/invalid-rules`, `DuplicateRule`, …"""
    return word in f"{error.get('type')} {error.get('title')}".lower()
