"""Waiting for the proof that all works: a tweet that came through `/nfl`."""

import subprocess
import sys

from deploy.settings import ROOT, Settings


def start_waiting(settings: Settings, within_s: float) -> subprocess.Popen[bytes]:
    """Start `wait_for_tweet.py` on the page of `settings`; it ends with 0 when a tweet has come."""
    # A process of its own: it needs the project's packages and an event loop, this command neither.
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.wait_for_tweet", settings.url, "nfl", str(within_s)], cwd=ROOT
    )
