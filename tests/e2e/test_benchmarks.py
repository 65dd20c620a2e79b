"""The benchmarks run as a user would run them; what comes out is looked at for its shape and not for its size."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import ROOT
from tests.support.waiting import eventually_now

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUICK_S = 45
BUSY = 2
"""A machine that does other things besides may take so much longer."""

PER = (("us", "delivery"), ("us", "tweet"), ("matches", "tweet"), ("encodings", "tweet"))

SHAPES: dict[str, Any] = {
    "fanout": {
        kind: {"roost_us": 0.0, "node_us": 0.0, "python_socketio_us": 0.0, "floor_us": 0.0}
        for kind in ("single", "burst")
    },
    "connections": {f"{peer}_{what}": 0.0 for what in ("kb", "connects_per_s") for peer in ("roost", "stock", "node")}
    | {"drain_s": 0.0},
    "slow": {"p99_ratio": 0.0, "rss_growth_mb": 0.0},
    "subscriptions": {"room": {"us_per_delivery": 0.0, "us_per_tweet": 0.0}}
    | {
        kind: {f"{what}_per_{per}": 0.0 for what, per in PER}
        for kind in ("equal", "different", "one_matches", "labels")
    },
    "cluster": {"roost": [0.0] * 3, "aiopika": [0.0] * 3},
    "archive": dict.fromkeys(
        ("inserts_per_s_one_core", "p50_ms", "p99_ms", "short_p99_ms", "bytes_per_tweet", "restart_s"), 0.0
    ),
    "matching": {"us": dict.fromkeys(("10", "1000", "10000", "100000"), 0.0)}
    | {f"node_{loop}_us": {"1000": 0.0} for loop in ("loop", "regexp", "includes")},
    "pipeline": dict.fromkeys(
        (
            *(f"{of}_per_s" for of in ("tweets", "passthrough", "all_matched", "all_passthrough", "terms_10")),
            *("node_loop_per_s", "node_includes_per_s"),
            *("passthrough_ratio", "all_matched_ratio", "node_loop_ratio", "router_us"),
            *("published", "delivered", "lost"),
        ),
        0.0,
    ),
    "latency": {"lost": 0.0, "node_lost": 0.0}
    | {f"{of}idle": {"p50_ms": 0.0, "p99_ms": 0.0} for of in ("", "node_")}
    | {f"{of}rates": {rate: {"p50_ms": 0.0, "p99_ms": 0.0} for rate in ("1000", "6000")} for of in ("", "node_")},
    "activation": dict.fromkeys(("p50_ms", "p99_ms", "max_ms", "loop_lag_ms", "missed"), 0.0),
}

LOADS = {"archive": "the archive: ", "matching": "one process", "pipeline": "routers: 1", "activation": "new terms"}
"""What tables have that do not say how busy the load generator was."""

NONE_OF = {"pipeline": "lost", "latency": "lost", "activation": "missed"}
"""What has to be nought however busy the machine is."""


def shape(value: Any) -> Any:
    """`value` with every number set to nought."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    return [0.0 for _ in value] if isinstance(value, list) else 0.0 * value


@pytest.mark.parametrize("name", SHAPES)
def test_a_quick_run_ends_soon_with_a_table_and_one_line_of_json(name: str) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=QUICK_S * 3)
    assert run.returncode == 0, run.stderr
    assert time.monotonic() - began < QUICK_S * BUSY
    *table, last = run.stdout.splitlines()
    figures = json.loads(last)
    assert shape(figures) == SHAPES[name]
    if name == "subscriptions":
        equal = figures["equal"]
        assert equal["matches_per_tweet"] == equal["encodings_per_tweet"] == 1, "equal ones share the work"
    if name in NONE_OF:
        assert figures[NONE_OF[name]] == 0
    assert any(LOADS.get(name, "load generator: ") in line for line in table)
    assert len(table) > 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_benchmark_that_is_stopped_leaves_nothing_running(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "benchmarks.fanout", "--quick"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        children = eventually_now(lambda: _children(run.pid, least=5), within_s=60, what="its processes run")
        run.send_signal(number)
        run.wait(30)
    finally:
        run.kill()
        run.wait()
    eventually_now(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), what="all have ended")


def _children(pid: int, *, least: int) -> list[int]:
    listed = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return listed if len(listed) >= least else []
