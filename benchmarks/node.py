"""Node.js and the Socket.IO server for it, installed the first time that a benchmark needs them."""

import json
import logging
import shutil
import subprocess
from pathlib import Path

from benchmarks.failure import BenchmarkError

_HERE = Path(__file__).parent
_BIN = _HERE.parent / ".venv" / "bin"
_MODULES = _HERE / "node_modules"
SCRIPT = _HERE / "servers" / "node.mjs"
"""The server."""
LOOP = SCRIPT.with_name("loop.mjs")
"""The loop over all terms."""

log = logging.getLogger("benchmarks")


def require() -> str:
    """Path of `node`, with what `benchmarks/package-lock.json` names installed in `benchmarks/node_modules`."""
    node, npm = _program("node"), _program("npm")
    if not _installed():
        log.info("Installing benchmarks/package-lock.json …")
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(command, cwd=_HERE, stdout=subprocess.DEVNULL, check=False).returncode:
            raise BenchmarkError(f"npm could not install socket.io for the comparison: `npm ci` in {_HERE.name}/")
        (_MODULES / ".complete").touch()
    return node


def _installed() -> bool:
    complete, lock = _MODULES / ".complete", _HERE / "package-lock.json"
    return complete.exists() and complete.stat().st_mtime >= lock.stat().st_mtime


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(_BIN))
    if found is None:
        raise BenchmarkError(f"no {name}: run `make setup`")
    return found


def socket_io_version() -> str:
    """The version that is compared with."""
    package = json.loads((_MODULES / "socket.io" / "package.json").read_text(encoding="utf-8"))
    return str(package["version"])
