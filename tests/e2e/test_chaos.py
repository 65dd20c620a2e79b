"""Everything is killed in turn under load, and nobody loses anything. `make chaos` says how it goes meanwhile."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.run import Plan, run
from tests.integration.conftest import empty_queues
from tests.support.archive import take_away
from tests.support.broker import ROOT, Broker

__all__ = ["empty_queues"]

FAULTS = {"gateway", "router", "ingest", "archive"}


@pytest.fixture
def archive_goes(broker: Broker) -> Iterator[None]:
    """The broker of all tests is left as it was."""
    yield
    take_away(broker)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("empty_queues", "archive_goes")
async def test_everything_is_killed_once_and_nobody_loses_anything(broker: Broker, tmp_path: Path) -> None:
    own = broker.kind != "given"
    report = await run(broker, tmp_path, Plan(seconds=0, calm_s=0.3, broker=own))
    assert report.ok, report.text()
    assert set(report.figures()["level_s"]) == FAULTS | ({"broker"} if own else set())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_minutes_of_it() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seconds", "120"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=580)
    assert made.returncode == 0, made.stdout + made.stderr
    figures = json.loads(made.stdout.splitlines()[-1])
    assert (figures["lost"], figures["doubled"], figures["gaps"]) == (0, 0, 0)
    assert set(figures["level_s"]) > FAULTS
    assert figures["deliveries"] > figures["posts"]
