"""Writes what was measured last into docs/benchmarks.md, between its two marks.

python -m benchmarks.report
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN = "<!-- results: written by `python -m benchmarks.report` -->"
END = "<!-- end of results -->"

_TITLES = {
    "fanout": "Fan-out",
    "connections": "Connections",
    "slow": "Slow clients",
    "subscriptions": "Subscriptions",
    "cluster": "More gateways",
    "archive": "Archive",
    "matching": "Matching",
    "pipeline": "From ingest to consumers",
    "latency": "Latency",
    "activation": "New terms",
}


def results(kept: Mapping[str, Any]) -> str:
    """The saved figures as Markdown: each benchmark's own table, and what they were measured with."""
    parts = []
    versions: dict[str, str] = {}
    for name, title in _TITLES.items():
        if name not in kept:
            continue
        one = kept[name]
        # Of what differs, what the first says: on which core a server ran, where it had one.
        versions |= one["details"]["with"] | versions
        rough = ", with `--quick`: rough" if one["quick"] else ""
        parts.append(f"### {title}\n\n`python -m benchmarks.{name}`, {one['measured']}{rough}:")
        parts.append("\n".join(["```text", *one["table"], "```"]))
    if versions:
        parts.append("Measured with " + ", ".join(f"{what} {version}" for what, version in versions.items()) + ".")
    return "\n\n".join(parts)


def with_results(document: str, text: str) -> str:
    """`document` with `text` between its marks. Raises `ValueError` where it has no marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def main() -> None:
    """Write it."""
    if not RESULTS.exists():
        sys.exit("roost: nothing is saved yet: run the benchmarks with --save")
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_results(document, results(kept)), encoding="utf-8")


if __name__ == "__main__":
    main()
