"""Waiting for the proof that all works: a tweet that came the whole way, or what services say of themselves."""

import subprocess
import sys
from typing import NamedTuple

from deploy.settings import ROOT, Settings


class Proof(NamedTuple):
    """What shows that Roost works, and what is said when it does not come."""

    command: list[str]
    """Ends with 0 when the proof is there, with 1 when it has not come in time."""
    missing: str


def proof_of(settings: Settings, within_s: float) -> Proof:
    """What to wait for, by the source that is read and by who may see tweets."""
    if settings.asks_for_tokens:
        command = ["deploy.wait_for_readiness", settings.url, str(within_s), *settings.readiness_urls]
        return Proof(command, "Roost was not ready")
    if settings.source == "x":
        # Rules may bring nothing for hours.
        return Proof(["deploy.wait_for_source", settings.url, "x", str(within_s)], "X has not let us in")
    # What is made up is made so that it says "nfl" often; of others nobody knows what they say.
    room = "nfl" if settings.source == "synthetic" else ""
    return Proof(["deploy.wait_for_tweet", settings.url, room, str(within_s)], f"No tweet came through /{room}")


def start_waiting(proof: Proof) -> subprocess.Popen[bytes]:
    """Start what waits for the proof."""
    # A process of its own: it needs the project's packages and an event loop, this command neither.
    return subprocess.Popen([sys.executable, "-m", *proof.command], cwd=ROOT)
