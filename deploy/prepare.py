"""Makes the virtual environment and fetches the page's client library: what `make setup` runs.

`python3 -m deploy.prepare environment|page`, with any Python from 3.11 on and nothing but its standard library.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence

from deploy.failure import Failure
from deploy.local import packages
from deploy.settings import ROOT

VENV = ROOT / ".venv"
_PYTHON = VENV / "bin" / "python"
_CLIENT = ROOT / "node_modules" / "socket.io-client" / "dist" / "socket.io.esm.min.js"
_VENDOR = ROOT / "services" / "gateway" / "web" / "vendor"


def environment() -> None:
    """Make `.venv`, where there is no working one, and install exactly what `requirements-dev.lock` names."""
    if not _works([str(_PYTHON), "-m", "pip", "--version"]):
        packages.require("venv")
        print("Making the virtual environment .venv …", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)], "Python could not make .venv")
    print("Installing requirements-dev.lock …", flush=True)
    _install("requirements-dev.lock")


def page() -> None:
    """Install the locked npm packages and give the gateway the file that it serves of them."""
    npm = shutil.which("npm")
    if npm is None:
        # PyPI has Node.js as a wheel: it works wherever Python does, also without root.
        print("Installing Node.js into .venv, because there is no npm …", flush=True)
        _install("requirements-node.lock")
        npm = str(VENV / "bin" / "npm")
    print("Installing package-lock.json …", flush=True)
    _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], "npm could not install")
    _VENDOR.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_CLIENT, _VENDOR / _CLIENT.name)


def _install(lock: str) -> None:
    _run(
        [
            *(str(_PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "-r", lock),
        ],
        f"pip could not install {lock}",
    )


def _run(command: Sequence[str], otherwise: str) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise Failure(f"{otherwise}: see the lines above.")


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> None:
    """Run the step that the command line names."""
    try:
        {"environment": environment, "page": page}[sys.argv[1]]()
    except Failure as failure:
        sys.exit(f"roost: {failure}")


if __name__ == "__main__":
    main()
