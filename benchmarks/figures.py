"""Figures: percentiles, medians, the table for people, the last line for programs, the file they are kept in."""

import argparse
import json
import logging
import signal
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmarks.failure import BenchmarkError
from benchmarks.machine import Cores, pin

RESULTS = Path(__file__).with_name("results.json")
"""What was measured last, with `--save`."""

log = logging.getLogger("benchmarks")
"""What goes on, for who waits."""

BUSIEST_LOAD = 0.9
"""A load generator that uses more of its core than this may be what is measured."""


class Options(argparse.Namespace):
    """What every benchmark can be told."""

    quick: bool
    json: bool
    save: bool
    routers: int = 1
    """How many share the work; `pipeline` alone can be told."""


class Outcome:
    """What a benchmark has found."""

    def __init__(self, figures: Mapping[str, Any], table: str, details: Mapping[str, Any]) -> None:
        self.figures = figures
        """The object of the last line."""
        self.table = table
        self.details = details
        """What else is worth keeping: with what it was measured, how busy the load generator was."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value of an ordered, non-empty sample that `percent` of it do not pass (nearest rank)."""
    if not ordered:
        raise ValueError("nothing was measured")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def rounded(value: float, digits: int = 3) -> float:
    """`value` with so many significant digits, as far as it has them before the point."""
    return float(f"{value:.{digits}g}") if abs(value) < 10**digits else round(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns for people: the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = []
    for line in (head, ["-" * width for width in widths], *rows):
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def share_of_core(what: str, share: float, on: Cores) -> str:
    """A line that says how busy a load generator was, loudly if the figures can't be trusted.

    That is so where it was too busy, and where it had to share the core of the server.
    """
    line = f"{what}: {share:.0%} of its core at most"
    if share > BUSIEST_LOAD:
        line += f"\nWARNING: {what} was the bottleneck or near it: figures may be its own and not the server's"
    if on.server == on.load:
        line += f"\nWARNING: server and {what} had to share one core: take these figures for nothing but a try"
    return line


def run(
    name: str,
    about: str,
    measure: Callable[[Options], Outcome],
    *,
    more: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> None:
    """Run a benchmark from the command line: table, and one JSON object as the last line.

    `more` adds what this one can be told besides. Ends with one line on standard error and the exit code 1 where it
    can't be run.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: under 45 s, and rough")
    parser.add_argument("--json", action="store_true", help="only table and JSON: no progress on standard error")
    parser.add_argument(
        "--save", action="store_true", help=f"keep the figures in benchmarks/{RESULTS.name}, for docs and plot"
    )
    more(parser)
    options = parser.parse_args(namespace=Options())
    # What goes on, for who waits: on standard error.
    logging.basicConfig(format="%(message)s", level=logging.WARNING if options.json else logging.INFO)
    signal.signal(signal.SIGTERM, _stop)
    try:
        if sys.platform != "linux":
            raise BenchmarkError("Linux is needed: processes are pinned to cores and read from /proc")
        pin()
        outcome = measure(options)
        if options.save:
            save(name, outcome, RESULTS, quick=options.quick)
    except BenchmarkError as error:
        sys.exit(f"roost: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(outcome.table)
    print(json.dumps(outcome.figures))


def save(name: str, outcome: Outcome, path: Path, *, quick: bool) -> None:
    """Keep the figures of one benchmark beside those of the others."""
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[name] = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "quick": quick,
        "figures": outcome.figures,
        "details": outcome.details,
        "table": outcome.table.splitlines(),
    }
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    sys.exit(128 + number)
