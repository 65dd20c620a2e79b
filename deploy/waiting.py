"""Waiting for the proof that all works: a tweet that came the whole way, or what services say of themselves."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from deploy import archive
from deploy.settings import ROOT, Settings

_LOOK_EVERY_S = 0.5


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


def wait(settings: Settings, ask_archive: archive.Ask, check: Callable[[], None], within_s: float) -> str:
    """Wait for the proof and for the archive; returns what was not there in time, which is nothing if all is well.

    `check` is called all the while; what it raises ends the waiting.
    """
    deadline = time.monotonic() + within_s
    proof = proof_of(settings, within_s)
    # A process of its own: it needs the project's packages and an event loop, this command neither.
    waiter = subprocess.Popen([sys.executable, "-m", *proof.command], cwd=ROOT)
    try:
        while waiter.poll() is None:
            check()
            time.sleep(_LOOK_EVERY_S)
    finally:
        if waiter.poll() is None:
            waiter.terminate()
            waiter.wait()
    if waiter.returncode:
        return proof.missing
    # A tweet comes without the archive, too.
    while "archive" in settings.services and not archive.is_ready(ask_archive):
        if time.monotonic() > deadline:
            return "The archive was not ready"
        check()
        time.sleep(_LOOK_EVERY_S)
    return ""
