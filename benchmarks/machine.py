"""The machine under the benchmarks: its cores, the processor time and the memory of processes. Linux alone."""

import contextlib
import functools
import os
import platform
import resource
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.failure import BenchmarkError

_PROC = Path("/proc")
_SPARE_FILES = 200
"""Open files of a process beside its connections."""


class Cores(NamedTuple):
    """Who runs where."""

    server: int
    """The core of the server under test. It is that of the load where there is no second one; then the figures are
    worth little, and `benchmarks.figures.share_of_core` says so with them."""
    load: int
    """The core of everything else: load, publisher, broker."""
    allowed: frozenset[int]
    """All that this process might use before it was pinned."""


@functools.cache
def cores() -> Cores:
    """The cores that are used, as they were found the first time: `pin` leaves this process one of them."""
    allowed = os.sched_getaffinity(0)
    return Cores(min(allowed), max(allowed), frozenset(allowed))


def pin() -> None:
    """Bring this process, and with it what it starts and does not place itself, to the core of the load."""
    os.sched_setaffinity(0, {cores().load})


@contextlib.contextmanager
def anywhere() -> Iterator[None]:
    """Meanwhile let what this process starts run on all cores that it was allowed."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores().allowed)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def require_files(number: int) -> None:
    """See that this process and those that it starts may have `number` connections each."""
    wanted = number + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise BenchmarkError(
                f"{wanted} open files a process are needed and {hard} are allowed: raise the limit "
                f"(`ulimit -Hn {wanted}` as root) or take --quick"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used so far, in user mode and in the kernel, with all its threads.

    What its threads used that have ended is not in it; no server here ends threads while it is measured.
    """
    total = 0
    for task in (_PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_kb(pid: int) -> int:
    """Resident set size of a process in KiB: with all of what it shares with others."""
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise BenchmarkError("the kernel does not tell how much memory a process has")


def description(node: str | None = None, *, servers_on: str = "") -> dict[str, str]:
    """What the figures were measured with: machine, kernel, versions of everything that took part.

    `servers_on` is where the servers ran, if not on a core of their own.
    """
    on = cores()
    told = {
        "processor": _processor(),
        "cores": f"{len(on.allowed)} (server on {servers_on or f'core {on.server}'}, load on core {on.load})",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }
    for name in ("uvloop", "aiohttp", "python-socketio", "python-engineio", "aio-pika"):
        told[name] = version(name)
    if node is not None:
        told["Node.js"] = subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    return told


def _processor() -> str:
    for line in _lines(_PROC / "cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from path.read_text(errors="replace").splitlines()
