"""Draws what was measured last.

    python -m benchmarks.plot [benchmarks/results.json [docs/benchmarks.svg]]

It needs matplotlib, which nothing else here does:
`.venv/bin/python -m pip install --require-hashes -r benchmarks/plot.lock`.
"""

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import RESULTS
from benchmarks.servers import NAMES, us_key

PICTURE = Path(__file__).parents[1] / "docs" / "benchmarks.svg"

_ROOST, _PEER, _FLOOR = "#1d6fb8", "#9aa5b1", "#d9dee3"
_COLOURS = {NAMES["roost"]: _ROOST, "readers alone": _ROOST, "100 stalled beside": _ROOST, NAMES["floor"]: _FLOOR}
_PERCENTILES = {"p50_ms": ("p50", ":"), "p99_ms": ("p99", "-")}
"""What a percentile is called, and how its line is drawn."""


class Curves(NamedTuple):
    """One panel with curves."""

    title: str
    across: str
    """What goes from left to right."""
    points: dict[str, list[tuple[float, float]]]
    logarithmic: bool = False


def bars(kept: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """(title, value by name) of each panel with bars, for what there is."""
    panels = []
    if "fanout" in kept:
        figures = kept["fanout"]["figures"]
        for kind, title in (("single", "tweets one by one"), ("burst", "20 tweets at once")):
            values = {NAMES[server]: figures[kind][us_key(server)] for server in ("roost", "node", "stock", "floor")}
            panels.append((f"µs of processor per delivery: {title}", values))
    if "connections" in kept:
        figures = kept["connections"]["figures"]
        for key, title in (
            ("kb", "KiB of memory per idle connection"),
            ("connects_per_s", "new connections a second"),
        ):
            panels.append(
                (title, {NAMES[server]: figures[f"{server}_{key}"] for server in ("roost", "node", "stock")})
            )
    if "slow" in kept:
        details = kept["slow"]["details"]
        names = {"without": "readers alone", "beside": "100 stalled beside"}
        panels.append(
            ("ms to arrival, 99th percentile", {name: details[kind]["p99_ms"] for kind, name in names.items()})
        )
    if "pipeline" in kept:
        figures = kept["pipeline"]["figures"]
        names = {
            "tweets_per_s": NAMES["roost"],
            "passthrough_per_s": "the same, not looking",
            "node_includes_per_s": "Node.js, includes",
            "node_loop_per_s": "Node.js, match",
        }
        panels.append(("tweets a second, 1,000 terms", {name: figures[key] for key, name in names.items()}))
    return panels


def curves(kept: Mapping[str, Any]) -> list[Curves]:
    """Each panel with curves, for what there is."""
    panels = []
    if "cluster" in kept:
        numbers, figures = kept["cluster"]["details"]["gateways"], kept["cluster"]["figures"]
        points = {NAMES[server]: list(zip(numbers, figures[server], strict=True)) for server in ("roost", "aiopika")}
        panels.append(Curves("bytes from the broker per tweet", "gateways", points))
    if "matching" in kept:
        us = kept["matching"]["figures"]["us"]
        points = {NAMES["roost"]: [(int(number), value) for number, value in us.items()]}
        panels.append(Curves("µs of processor to classify a tweet", "terms", points, logarithmic=True))
    if "latency" in kept:
        figures = kept["latency"]["figures"]
        points = {
            f"{NAMES[server]}, {name}": [(int(rate), one[key]) for rate, one in figures[rates].items()]
            for server, rates in (("roost", "rates"), ("node", "node_rates"))
            for key, (name, _) in _PERCENTILES.items()
        }
        panels.append(Curves("ms from ingest to the browser", "tweets a second", points))
    return panels


def draw(kept: Mapping[str, Any], path: Path) -> None:
    """Write the picture; the same figures make the same file."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "roost", "font.size": 9})
    pyplot = importlib.import_module("matplotlib.pyplot")
    panels, lines = bars(kept), curves(kept)
    number = len(panels) + len(lines)
    rows = -(-number // 2)
    figure, axes = pyplot.subplots(rows, 2, figsize=(9, 2.1 * rows), squeeze=False, layout="constrained")
    places = list(axes.flat)
    for axis in places[number:]:
        axis.remove()
    for axis, (title, values) in zip(places, panels, strict=False):
        drawn = axis.barh(list(values), list(values.values()), color=[_COLOURS.get(name, _PEER) for name in values])
        axis.bar_label(
            drawn, [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values.values()], padding=3
        )
        axis.margins(x=0.15)
        axis.invert_yaxis()
        _plain(axis, title)
        axis.get_xaxis().set_visible(False)
        axis.spines["bottom"].set_visible(False)
    for axis, panel in zip(places[len(panels) :], lines, strict=False):
        _draw_curves(axis, panel)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")


def _draw_curves(axis: Any, panel: Curves) -> None:  # noqa: ANN401 - matplotlib is not installed everywhere
    styles = dict(_PERCENTILES.values())
    for name, points in panel.points.items():
        of, _, percentile = name.partition(", ")
        colour, style = _COLOURS.get(of, _PEER), styles.get(percentile, "-")
        axis.plot(*zip(*points, strict=True), marker="o", label=name, color=colour, linestyle=style)
    most = max(value for points in panel.points.values() for _, value in points)
    if panel.logarithmic:
        axis.set_xscale("log")
        axis.set_yscale("log")
    else:
        # With room above the curves for their names.
        axis.set_ylim(bottom=0, top=1.5 * most)
        axis.set_xticks([number for number, _ in next(iter(panel.points.values()))])
    axis.set_xlabel(panel.across)
    if len(panel.points) > 1:
        axis.legend(frameon=False, loc="upper left", ncols=len(panel.points) // 2)
    _plain(axis, panel.title)


def _plain(axis: Any, title: str) -> None:  # noqa: ANN401 - matplotlib is not installed everywhere
    axis.set_title(title, loc="left", fontsize=9)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def main() -> None:
    """Draw from the file and into the file that the command line names."""
    source, picture = [Path(argument) for argument in sys.argv[1:3]] + [RESULTS, PICTURE][len(sys.argv[1:3]) :]
    try:
        draw(json.loads(source.read_text(encoding="utf-8")), picture)
    except FileNotFoundError as error:
        sys.exit(f"roost: {error.filename} is not there: run the benchmarks with --save")
    except ModuleNotFoundError as error:
        sys.exit(f"roost: {error.name} is missing: `pip install --require-hashes -r benchmarks/plot.lock`")


if __name__ == "__main__":
    main()
