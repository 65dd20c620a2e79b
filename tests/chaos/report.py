"""What people and programs are told in the end. Pure."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import table
from tests.chaos.level import worst
from tests.chaos.rooms import ROOMS
from tests.chaos.verdict import Verdict


@dataclass(frozen=True)
class Report:
    """A run and its verdict."""

    verdict: Verdict
    seconds: float
    """For how long there was load."""
    posts: int
    per_s: float
    """Posts a second in the end; fewer than wanted where the machine could not do more."""
    clients: int
    deliveries: int
    ended: dict[str, list[int]]
    """Services that ended by themselves, with their exit codes."""
    level_at_the_end: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.ok and not self.ended and self.level_at_the_end

    def figures(self) -> dict[str, Any]:
        """The last line."""
        counts = self.verdict.counts
        return {
            "lost": self.verdict.lost,
            "doubled": counts["doubled"],
            "level_s": worst(self.verdict.windows),
            "gaps": counts["gap"],
            "told": counts["told"],
            "strange": counts["strange"],
            "ended": sum(map(len, self.ended.values())),
            "posts": self.posts,
            "posts_per_s": self.per_s,
            "deliveries": self.deliveries,
            "clients": self.clients,
            "seconds": round(self.seconds),
        }

    def text(self) -> str:
        """For people."""
        times = Counter(window.fault.name for window in self.verdict.windows)
        rows = []
        for name, level_s in worst(self.verdict.windows).items():
            each = [window.level_s for window in self.verdict.windows if window.fault.name == name]
            rows.append([name, str(times[name]), _seconds(level_s), ", ".join(map(_seconds, each))])
        lines = [table(["fault", "times", "level after at most", "each time"], rows), ""]
        counts = self.verdict.counts
        lines.append(
            f"{self.posts} posts in {self.seconds:.0f} s, {self.per_s:.0f} a second in the end, "
            f"{self.deliveries} deliveries to {self.clients} clients: "
            f"{self.verdict.lost} lost ({counts['missing']} missing, {counts['outdated']} outdated, "
            f"{counts['undead']} deleted and shown), {counts['doubled']} doubled, {counts['strange']} strange, "
            f"{counts['gap']} gaps without a reason, {counts['told']} lacking and told so"
        )
        if not self.level_at_the_end:
            lines.append("In the end not everybody had everything.")
        lines += [f"{name} ended by itself, with {codes}" for name, codes in self.ended.items()]
        for finding in self.verdict.examples:
            lines.append(
                f"{finding.what}: client {finding.client}, /{ROOMS[finding.room].name}, {finding.id or 'gap'}"
            )
        return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return f"{value:.1f} s" if value is not None and math.isfinite(value) else "never"
