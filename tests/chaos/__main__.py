"""Make a run from the command line: progress, a table, and one JSON object as the last line.

The exit code is 0 only if nothing was lost, doubled, strange, and no gap was told without a reason.
"""

import argparse
import asyncio
import json
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from tests.chaos.run import ChaosError, Plan, run
from tests.support.broker import running_broker


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill everything in turn, under load.")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="how long (default %(default).0f)")
    parser.add_argument("--rate", type=float, default=Plan.per_s, help="posts a second (default %(default).0f)")
    parser.add_argument("--calm", type=float, default=Plan.calm_s, help="seconds between two faults")
    parser.add_argument("--no-faults", action="store_true", help="only the load")
    parser.add_argument(
        "--no-archive", action="store_true", help="without an archive: what is missing has to be told"
    )
    parser.add_argument("--json", action="store_true", help="only table and JSON: no progress on standard error")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING if options.json else logging.INFO)
    signal.signal(signal.SIGTERM, _stop)
    plan = Plan(
        seconds=options.seconds,
        per_s=options.rate,
        calm_s=options.calm,
        faults=not options.no_faults,
        archive=not options.no_archive,
    )
    folder = Path(tempfile.mkdtemp(prefix="roost-chaos-"))
    is_kept = False
    try:
        with running_broker() as broker:
            report = asyncio.run(run(broker, folder, plan))
        is_kept = not report.ok
    except KeyboardInterrupt:
        return 130
    except (ChaosError, AssertionError, pytest.skip.Exception, pytest.fail.Exception) as error:
        is_kept = True
        print(f"roost: {error}", file=sys.stderr)
        return 2
    finally:
        if is_kept:
            print(f"logs and notes are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    print(report.text())
    print(json.dumps(report.figures()))
    return 0 if report.ok else 1


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
