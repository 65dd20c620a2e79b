"""What clients should have had and did not, had twice, or had though there is no such thing. Pure.

The host's notes say what there was, the clients' notes what they got; both are about the same tweets, by id. A page
keeps of each tweet the newest version that it got, and so does the verdict: repeats on another connection, and older
versions that come late, are no matter.

A room has to show, to whoever was in it all the time, each tweet of which a version belongs to it, in the newest
version; and nothing that was deleted. A tweet that left the room, or went, while something was down nobody had to be
shown: whoever comes, or comes back, is told how things are and not how they were.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.level import AFTERMATH_S, Wait, Window, windows
from tests.chaos.records import Delivery, Fault, Gap, Join, Version

OVERLAP_US = 30_000_000
"""A gap may be this much wider on both sides than it says: what is in it was numbered later than it was posted."""

SETTLED_S = 1.0
"""After a joining every router looks for the room's tweets by then."""

MOST_EXAMPLES = 20


class Finding(NamedTuple):
    """One thing that is wrong."""

    what: str
    """`missing`: a tweet that was not shown. `outdated`: one in an older version. `undead`: one that was deleted and
    is shown. `doubled`: a version that came twice on one connection. `strange`: what never was, or not in that room.
    `gap`: somebody was told that tweets are missing, and none had to be."""
    client: int
    room: int
    at: float
    """When the tweet was made, or the gap was told."""
    id: str = ""


@dataclass
class Verdict:
    """What came of it."""

    counts: Counter[str] = field(default_factory=Counter)
    """Findings by what they are. Those that a gap had told of are `told` instead; tweets that went by while something
    was down are `passed`."""
    examples: list[Finding] = field(default_factory=list)
    """The first few."""
    windows: list[Window] = field(default_factory=list)
    """The faults, with how long each was felt."""

    @property
    def lost(self) -> int:
        """What somebody should have had and has not, and was not told of."""
        return sum(self.counts[what] for what in ("missing", "outdated", "undead"))

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.examples and all(math.isfinite(window.level_s) for window in self.windows)

    def note(self, finding: Finding) -> None:
        """Add one."""
        self.counts[finding.what] += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(finding)


class Story:
    """All versions of one tweet, the newest last."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self.versions = sorted(versions, key=lambda version: (version.mtime, version.gone))
        self.last = self.versions[-1]
        self.checks = {(version.mtime, version.gone): version.check for version in self.versions}

    def belongs(self, room: int) -> bool:
        """Whether any version of it does."""
        return any(room in version.rooms for version in self.versions)

    def in_room(self, room: int) -> tuple[float, float]:
        """From when to when it first belonged to a room."""
        begin = math.inf
        for version in self.versions:
            if room in version.rooms:
                begin = min(begin, version.at)
            elif begin < math.inf:
                return begin, version.at
        return begin, math.inf


def judge(
    *,
    versions: Iterable[Version],
    deliveries: Iterable[Delivery],
    gaps: Sequence[Gap],
    joins: Iterable[Join],
    faults: Sequence[Fault],
    history: bool = True,
    overloaded_until: float = 0.0,
) -> Verdict:
    """The verdict.

    With `history` nothing may be missing from the first tweet on that a client got when it joined, and a gap has no
    reason. Without it nothing may be missing from some time after the joining on, and faults are reasons for gaps. So
    is a machine that was `overloaded_until` a moment.
    """
    return _Judge(versions, deliveries, gaps, joins, faults, history, overloaded_until).verdict


Member = tuple[int, int]
"""Client and room."""


class _Judge:
    def __init__(
        self,
        versions: Iterable[Version],
        deliveries: Iterable[Delivery],
        gaps: Sequence[Gap],
        joins: Iterable[Join],
        faults: Sequence[Fault],
        history: bool,
        overloaded_until: float,
    ) -> None:
        self.verdict = Verdict()
        self._history = history
        by_id: dict[str, list[Version]] = defaultdict(list)
        for version in versions:
            by_id[version.id].append(version)
        self._stories = {id: Story(group) for id, group in by_id.items()}
        self._of_room: dict[int, list[str]] = defaultdict(list)
        for id, story in self._stories.items():
            for room in {room for version in story.versions for room in version.rooms}:
                self._of_room[room].append(id)
        self._got: dict[Member, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            self._got[delivery.client, delivery.room].append(delivery)
        self._gaps: dict[Member, list[Gap]] = defaultdict(list)
        for gap in gaps:
            self._gaps[gap.client, gap.room].append(gap)
        self._waits: list[Wait] = []
        self._doubtful: list[tuple[Finding, tuple[float, float], Version]] = []
        for join in joins:
            self._member(join)
        self.verdict.windows = windows(faults, self._waits)
        for finding, period, version in self._doubtful:
            if any(window.touches(*period) for window in self.verdict.windows):
                self.verdict.counts["passed"] += 1
            else:
                self._lost(finding, version)
        for gap in gaps:
            felt = not history and any(window.touches(gap.at, gap.at) for window in self.verdict.windows)
            if not (felt or gap.at < overloaded_until):
                self.verdict.note(Finding("gap", gap.client, gap.room, gap.at))

    def _member(self, join: Join) -> None:
        got = sorted(self._got[join.client, join.room], key=lambda delivery: delivery.at)
        shown = self._shown(got)
        since = self._since(join, got)
        for id in self._of_room[join.room]:
            story = self._stories[id]
            if id in shown:
                self._compare(join, story, shown[id], since)
            else:
                self._should_have_been_shown(join, story, since)

    def _shown(self, got: Iterable[Delivery]) -> dict[str, list[Delivery]]:
        """What came of each tweet; what is wrong by itself is noted."""
        shown: dict[str, list[Delivery]] = defaultdict(list)
        seen: set[tuple[int, str, int, bool]] = set()
        for delivery in got:
            id, mtime, gone = delivery.id, delivery.mtime, delivery.gone
            story = self._stories.get(id)
            is_known = story is not None and story.checks.get((mtime, gone)) == delivery.check
            if story is None or not is_known or not story.belongs(delivery.room):
                self.verdict.note(Finding("strange", delivery.client, delivery.room, delivery.at, id))
            elif (key := (delivery.connection, id, mtime, gone)) in seen:
                self.verdict.note(Finding("doubled", delivery.client, delivery.room, delivery.at, id))
            else:
                seen.add(key)
            shown[id].append(delivery)
        return shown

    def _since(self, join: Join, got: Iterable[Delivery]) -> float:
        """From when on nothing may be missing: from the first tweet of the history that came, or from the joining."""
        if not self._history:
            return join.at + SETTLED_S
        first = join.at
        for delivery in got:
            if delivery.at > join.at:
                break
            for version in self._versions(delivery.id):
                if version.mtime == delivery.mtime:
                    first = min(first, version.at)
        return first

    def _versions(self, id: str) -> list[Version]:
        return self._stories[id].versions if id in self._stories else []

    def _compare(self, join: Join, story: Story, shown: list[Delivery], since: float) -> None:
        """A tweet that was shown has to be so in its newest version, or gone."""
        last = story.last
        newest = max((delivery.mtime, delivery.gone) for delivery in shown)
        if newest > (last.mtime, last.gone):
            self.verdict.note(Finding("strange", join.client, join.room, shown[-1].at, last.id))
        elif newest < (last.mtime, last.gone):
            what = "undead" if last.gone else "outdated"
            self._lost(Finding(what, join.client, join.room, last.at, last.id), last)
        for made, had in _waits(story.versions, shown, join.room):
            if made >= since and had < math.inf:
                self._waits.append(Wait(max(made, join.at), had))

    def _should_have_been_shown(self, join: Join, story: Story, since: float) -> None:
        last = story.last
        begin, end = story.in_room(join.room)
        finding = Finding("missing", join.client, join.room, begin, last.id)
        if join.room in last.rooms:
            if last.at >= since:
                self._lost(finding, last)
        elif begin >= since and end > join.at + AFTERMATH_S:
            self._doubtful.append((finding, (begin, end), story.last))

    def _lost(self, finding: Finding, version: Version) -> None:
        if self._told(finding, version):
            self.verdict.counts["told"] += 1
        else:
            self.verdict.note(finding)
            self._waits.append(Wait(version.at, math.inf))

    def _told(self, finding: Finding, version: Version) -> bool:
        """Whether a gap has told the client that it may lack this."""
        for gap in self._gaps[finding.client, finding.room]:
            begins = gap.since is None or version.us >= gap.since - OVERLAP_US
            ends = gap.until is None or version.us <= gap.until + OVERLAP_US
            if begins and ends and version.at <= gap.at:
                return True
        return False


def _waits(versions: Iterable[Version], shown: list[Delivery], room: int) -> Iterator[Wait]:
    """For each version from the first that belongs to the room on: when it was made, and when a client had it."""
    belongs = False
    for version in versions:
        belongs |= room in version.rooms
        had = [each.at for each in shown if (each.mtime, each.gone) >= (version.mtime, version.gone)]
        if belongs:
            yield Wait(version.at, min(had, default=math.inf))
