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
from typing import Any

from benchmarks.figures import RESULTS
from benchmarks.servers import NAMES, us_key

PICTURE = Path(__file__).parents[1] / "docs" / "benchmarks.svg"

_ROOST, _PEER, _FLOOR = "#1d6fb8", "#9aa5b1", "#d9dee3"
_COLOURS = {NAMES["roost"]: _ROOST, "readers alone": _ROOST, "100 stalled beside": _ROOST, NAMES["floor"]: _FLOOR}


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
    return panels


def lines(kept: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Bytes from the broker per tweet by number of gateways, for Roost and its peer."""
    if "cluster" not in kept:
        return {}
    numbers = kept["cluster"]["details"]["gateways"]
    figures = kept["cluster"]["figures"]
    return {NAMES[server]: list(zip(numbers, figures[server], strict=True)) for server in ("roost", "aiopika")}


def draw(kept: Mapping[str, Any], path: Path) -> None:
    """Write the picture; the same figures make the same file."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "roost", "font.size": 9})
    pyplot = importlib.import_module("matplotlib.pyplot")
    panels, curves = bars(kept), lines(kept)
    number = len(panels) + bool(curves)
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
    if curves:
        axis = places[len(panels)]
        for name, points in curves.items():
            axis.plot(*zip(*points, strict=True), marker="o", label=name, color=_COLOURS.get(name, _PEER))
        # With room above the curves for their names.
        axis.set_ylim(bottom=0, top=1.5 * max(value for points in curves.values() for _, value in points))
        axis.set_xticks([number for number, _ in next(iter(curves.values()))])
        axis.set_xlabel("gateways")
        axis.legend(frameon=False, loc="upper left")
        _plain(axis, "bytes from the broker per tweet")
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")


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
