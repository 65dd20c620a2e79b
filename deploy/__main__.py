"""`python -m deploy up|down|status|logs|…`: what the Makefile's targets call."""

import argparse
import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy import archive, processes, sources
from deploy.composed import Composed, docker_is_reachable
from deploy.failure import Failure
from deploy.local.mode import Local, queue_depths
from deploy.settings import ROOT, RUN, Settings, environment
from deploy.status import lines as status_lines

Mode = Local | Composed
_MODES: dict[str, type[Local] | type[Composed]] = {"local": Local, "compose": Composed}
_STATE = RUN / "up.json"
_NOT_UP = "Roost is not up; `make up` starts it."


def up() -> None:
    """Bring Roost up, unless it is; what was started of a failed attempt is ended."""
    mode = _remembered()
    if mode and mode.running():
        print(f"Roost is already up ({mode.name} mode).\n{mode.settings.url}/nfl")
        return
    if mode:
        print("Roost is half up: ending that first")
        mode.down()
    mode = _chosen()
    mode.check()
    # Written first, so that `make down` knows what to end however far this comes.
    _remember(mode)
    try:
        mode.up()
    except BaseException:
        print("Ending what was started …", file=sys.stderr)
        _end(mode)
        raise
    print(f"Roost is up. `make logs` follows it, `make status` tells, `make down` ends it.\n{mode.settings.url}/nfl")


def down() -> None:
    """End whatever of Roost runs; nothing running is fine."""
    mode = _remembered()
    if mode is None:
        print("Roost is not up.")
        return
    _end(mode)
    print("Roost is down.")


def status() -> None:
    """Tell what runs, and what has become of all that was ingested."""
    mode = _remembered()
    if mode is None:
        print(_NOT_UP)
        return
    print(f"mode     {mode.name}\npage     {mode.settings.url}/nfl", flush=True)
    mode.status()
    print(f"queues   {queue_depths(mode.settings)}")
    if "archive" in mode.settings.services:
        print(archive.line(mode.ask_archive))
    for line in [*status_lines(mode), *sources.lines(sources.ask(mode.settings.url))]:
        print(line)


def logs() -> None:
    """Follow the logs until interrupted."""
    mode = _remembered()
    if mode is None:
        raise Failure(_NOT_UP)
    command = mode.logs()
    os.chdir(ROOT)
    os.execvpe(command[0], command, mode.settings.environ)


def amqp_url(user: str) -> None:
    """Print the broker's address for one of its users, seen from this machine."""
    # Services have addresses of their own, which need not be those from here; an operator has only this one.
    given = environment().get("ROOST_OPERATOR_AMQP_URL") if user == "operator" else None
    if given:
        print(given)
        return
    mode = _remembered()
    if mode is None:
        raise Failure(_NOT_UP)
    print(mode.settings.amqp_url(user))


def management_url() -> None:
    """Print the address of the broker's management API for a user who may look, seen from this machine."""
    mode = _remembered()
    if mode is None:
        raise Failure(_NOT_UP)
    print(mode.settings.management_url)


def _chosen() -> Mode:
    environ = environment()
    wanted = environ.get("ROOST_MODE", "")
    if wanted not in ("", *_MODES):
        raise Failure(f"ROOST_MODE is local or compose, not {wanted!r}.")
    reachable = wanted != "local" and docker_is_reachable()
    if wanted == "compose" and not reachable:
        raise Failure("ROOST_MODE is compose, but there is no Docker engine with Compose v2 to be reached.")
    if not reachable and not Path("/proc/self/environ").exists():
        raise Failure("Without a Docker engine Roost runs on Linux only: install Docker with Compose v2.")
    name = "compose" if reachable else "local"
    print(
        {
            "compose": "Bringing Roost up with Docker Compose …",
            "local": "Bringing Roost up as local processes"
            + (" …" if wanted else " (no Docker engine with Compose v2 to be reached) …"),
        }[name],
        flush=True,
    )
    return _MODES[name](Settings(name, environ))


def _remembered() -> Mode | None:
    """What is up, if anything, with the settings it was brought up with."""
    try:
        state = json.loads(_STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        # Perhaps the folder was cleaned under a running Roost, or somebody called `docker compose up`.
        environ = environment()
        if processes.find(RUN):
            return Local(Settings("local", environ))
        composed = Composed(Settings("compose", environ))
        return composed if docker_is_reachable() and composed.exists() else None
    environ = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    return _MODES[state["mode"]](Settings(state["mode"], {**environ, **state["settings"]}))


def _remember(mode: Mode) -> None:
    settings = {name: value for name, value in mode.settings.environ.items() if _is_setting(name)}
    _STATE.unlink(missing_ok=True)
    _STATE.touch(mode=0o600)  # addresses of brokers hold passwords
    _STATE.write_text(json.dumps({"mode": mode.name, "settings": settings}, indent=1), encoding="utf-8")


def _is_setting(name: str) -> bool:
    return name.startswith(("ROOST_", "COMPOSE_"))


def _end(mode: Mode) -> None:
    mode.down()
    _STATE.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Only one `up` or `down` at a time; raises `Failure` when another is at it."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    if RUN.stat().st_uid != os.geteuid():
        raise Failure(f"{RUN} belongs to {RUN.owner()}: bring Roost up and down as that user, or remove the folder.")
    with (RUN / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure("Another `make up` or `make down` is at work here.") from None
        yield


def main() -> None:
    """Run the command that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m deploy", description="Bring Roost up and down.")
    parser.add_argument("command", choices=("up", "down", "status", "logs", "amqp-url", "management-url"))
    parser.add_argument("user", nargs="?", default="consumer", help="amqp-url: the broker's user (consumer)")
    arguments = parser.parse_args()
    command = arguments.command
    # So that what was started is ended also then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if command in ("up", "down"):
            with _alone():
                {"up": up, "down": down}[command]()
        elif command == "amqp-url":
            amqp_url(arguments.user)
        else:
            {"status": status, "logs": logs, "management-url": management_url}[command]()
    except Failure as failure:
        sys.exit(f"roost: {failure}")
    except PermissionError as error:
        sys.exit(f"roost: {error.filename} belongs to another user: was Roost brought up as root?")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
