"""How long a tweet takes at the rate of all of Twitter on an ordinary day."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUSY = 4
"""A machine on which other things go on is given so many times the bound; `make soak` takes it as it is."""


def test_six_thousand_tweets_a_second_arrive_in_time_and_none_is_lost() -> None:
    # A process of its own: it pins itself to a core.
    command = [sys.executable, "-m", "tests.latency", "--seconds", "60"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=False, cwd=root, capture_output=True, text=True, timeout=280)
    found = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    assert found, done.stderr[-2000:]
    assert found["lost"] == 0, found
    assert found["worst_p99_ms"] <= BUSY * 50 or found["worst_p99_ms"] <= found["node_worst_p99_ms"], found
