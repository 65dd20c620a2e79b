"""Debian's packages that local mode and the tests use: what is missing is said, then installed.

Runs before there is a virtual environment: `python3 -m deploy.local.packages broker`.
"""

import ctypes.util
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.failure import Failure
from deploy.local.broker import find_binaries
from deploy.settings import LOGS

_INSTALL = Path(__file__).with_name("apt-install")


@dataclass(frozen=True)
class Need:
    """A thing that a Debian package gives. `otherwise` tells people of other systems what to install."""

    package: str
    purpose: str
    present: Callable[[], bool]
    otherwise: str


def _has_browser() -> bool:
    return any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))


NEEDS = {
    "venv": Need(
        "python3-venv",
        "for the project's virtual environment",
        lambda: importlib.util.find_spec("ensurepip") is not None,
        "install Python 3.11 or newer with its venv module",
    ),
    "broker": Need(
        "rabbitmq-server",
        "for a private broker; the system's own is not started or touched",
        lambda: find_binaries() is not None,
        "install Docker with Compose v2, or RabbitMQ 3.10 or newer",
    ),
    "browser": Need(
        "chromium",
        "for the tests in a browser",
        _has_browser,
        "install Chromium",
    ),
    "driver": Need(
        "libatomic1",
        "for Playwright, which drives the browser",
        lambda: ctypes.util.find_library("atomic") is not None,
        "install libatomic",
    ),
}


def require(*names: str) -> None:
    """See that the named needs (keys of `NEEDS`) are met, with apt-get where they are not.

    Raises `Failure` where that can't be done.
    """
    missing = [NEEDS[name] for name in names if not NEEDS[name].present()]
    if not missing:
        return
    packages = [need.package for need in missing]
    as_root = _as_root()
    if shutil.which("apt-get") is None or as_root is None:
        why = "this is not Debian" if shutil.which("apt-get") is None else "there is neither root nor sudo here"
        raise Failure(
            f"No {' and no '.join(packages)} found, and {why}: {'; '.join(need.otherwise for need in missing)}."
        )
    for need in missing:
        print(f"Installing Debian's package {need.package} ({need.purpose}) …", flush=True)
    log = LOGS / "apt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        result = subprocess.run(
            [*as_root, "bash", str(_INSTALL), *packages],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    importlib.invalidate_caches()
    if result.returncode or not all(need.present() for need in missing):
        print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)
        raise Failure(f"apt-get could not install {' '.join(packages)}: see {log}.")


def _as_root() -> list[str] | None:
    """What to put before a command so that root runs it; None where that can't be."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    if sys.stdin.isatty():  # sudo can ask for the password, on the terminal itself
        return [sudo, "-p", "[sudo] password for %u, to install packages: "]
    can = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0
    return [sudo, "-n"] if can else None


def main() -> None:
    """`python3 -m deploy.local.packages NEED...`; with `--if-possible` a lack is told but is no failure."""
    names = [name for name in sys.argv[1:] if name != "--if-possible"]
    try:
        require(*names)
    except Failure as failure:
        if "--if-possible" not in sys.argv:
            sys.exit(f"roost: {failure}")
        print(f"roost: {failure} Tests that need it will not run.", file=sys.stderr)


if __name__ == "__main__":
    main()
