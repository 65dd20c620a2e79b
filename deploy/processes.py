"""The processes that Roost has started on this machine, found again by a mark in their environment.

Every process started here, and so every descendant of it, carries `ROOST_RUN=<the .run folder>` and
`ROOST_ROLE=<role>`. That finds them also when whoever started them is gone, and never a stranger: no list
of process ids that could be out of date, no search by name.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_RUN = "ROOST_RUN"
_ROLE = "ROOST_ROLE"


@dataclass(frozen=True)
class Process:
    """A living process of ours."""

    pid: int
    parent: int
    role: str
    command: str


def start(
    command: Sequence[str], *, run: Path, role: str, log: Path, environ: Mapping[str, str], cwd: Path
) -> subprocess.Popen[bytes]:
    """Start `command` in the background, in a session of its own, its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environ, _RUN: str(run), _ROLE: role},
            cwd=cwd,
            start_new_session=True,
        )


def find(run: Path, role: str | None = None) -> list[Process]:
    """Our living processes, of one role or of all."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            environ = _marks((folder / "environ").read_bytes())
            if environ.get(_RUN) != str(run) or role not in (None, environ.get(_ROLE)):
                continue
            # "pid (name) state ppid …": the name may hold anything, the rest holds no parenthesis.
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(") ")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, ValueError):  # not ours to read, or gone meanwhile
            continue
        if state not in "ZX":
            found.append(Process(int(folder.name), int(parent), environ.get(_ROLE, ""), command))
    return found


def stop(run: Path, role: str, *, within_s: float) -> bool:
    """End all processes of a role: ask the topmost of them, then each of them, and kill what is left.

    Returns whether asking was enough.
    """
    _signal(_topmost(find(run, role)), signal.SIGTERM)
    if _wait_for_none(run, role, within_s / 2):
        return True
    # The one that would have passed the signal on may itself be gone.
    _signal(find(run, role), signal.SIGTERM)
    if _wait_for_none(run, role, within_s / 2):
        return True
    _signal(find(run, role), signal.SIGKILL)
    _wait_for_none(run, role, 5)
    return False


def _marks(environ: bytes) -> dict[str, str]:
    pairs = (item.partition(b"=") for item in environ.split(b"\0"))
    names = (_RUN.encode(), _ROLE.encode())
    return {name.decode(): os.fsdecode(value) for name, _, value in pairs if name in names}


def _topmost(processes: Sequence[Process]) -> list[Process]:
    pids = {process.pid for process in processes}
    return [process for process in processes if process.parent not in pids]


def _signal(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait_for_none(run: Path, role: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while find(run, role):
        if time.monotonic() > deadline:
            return False
        # A child of this very process stays a zombie, which `find` leaves out.
        time.sleep(0.1)
    return True
