"""Compose mode: the same services as containers."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploy import figures, ports
from deploy.failure import Failure
from deploy.figures import Said, Values
from deploy.local.mode import batches_for_routers
from deploy.settings import ROOT, Settings
from deploy.waiting import wait

TWEET_WITHIN_S = 120
_RESTARTS_TOLD_AFTER = 5
ANSWER_WITHIN_S = 15
ASKED_AT_ONCE = 8
_ASK = """
import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9100" + sys.argv[1], timeout=2).read().decode())
"""


def docker_is_reachable() -> bool:
    """Whether there is a Docker engine for this user, and Compose v2."""
    return all(_succeeds(["docker", *arguments]) for arguments in (["info"], ["compose", "version"]))


class Composed:
    """Roost as the containers of `compose.yaml`."""

    name = "compose"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def running(self) -> bool:
        """Whether all parts of it run."""
        states = self._states()
        return bool(states) and all(state == "running" for state in states.values())

    def exists(self) -> bool:
        """Whether there is any container of it, running or not."""
        return bool(self._states())

    def check(self) -> None:
        """See that the ports are free; raises `Failure`, and has started nothing."""
        if not self.exists():
            ports.require_free(self.settings.ports)

    def up(self) -> None:
        """Build, start, and wait for the first tweet; raises `Failure`, and leaves the rest to `down`."""
        scale = [] if "archive" in self.settings.services else ["--scale", "archive=0"]
        if self._compose("up", "--build", "--detach", "--remove-orphans", *scale):
            raise Failure("`docker compose up` failed, as said above; without Docker: ROOST_MODE=local make up.")
        restarting = 0

        def check() -> None:
            nonlocal restarting
            again = [name for name, state in self._states().items() if state == "restarting"]
            restarting = restarting + 1 if again else 0
            if restarting >= _RESTARTS_TOLD_AFTER:
                self._compose("logs", "--tail", "10", *again)
                raise Failure(f"{' and '.join(again)} can't start: see the lines above.")

        if missing := wait(self.settings, self.ask_archive, check, TWEET_WITHIN_S):
            self._compose("logs", "--tail", "10")
            raise Failure(f"{missing} within {TWEET_WITHIN_S} s; the logs' ends are above.")

    def down(self) -> None:
        """End and remove the containers; what the broker and the archive have stored stays in their volumes."""
        if self._compose("down", "--remove-orphans"):
            raise Failure("`docker compose down` failed, as said above.")

    def status(self) -> None:
        """Print what runs and which service is ready."""
        self._compose("ps", "--all", "--format", "table {{.Service}}\t{{.Name}}\t{{.Status}}\t{{.Ports}}")

    def ask_archive(self, path: str) -> str | None:
        """The archive's answer on its private port, which is not open to this machine."""
        result = self._asked("exec", "-T", "archive", "python", "-c", _ASK, path)
        return None if result.returncode else result.stdout

    def metrics(self, *services: str) -> list[Said]:
        """What each container of these services says at `/metrics`, all asked at the same time."""
        containers = [row for row in self._containers() if row["Service"] in services]
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            said = list(zip(containers, pool.map(self._values, containers), strict=True))
        return [
            Said(service, [values for container, values in said if container["Service"] == service])
            for service in services
        ]

    def waiting(self) -> int | None:
        """Batches in `router.raw`, also those in routers' hands; None where the broker does not tell."""
        return batches_for_routers(self.settings)

    def logs(self) -> list[str]:
        """The command that follows the logs."""
        return ["docker", "compose", "logs", "--follow", "--tail", "40"]

    def _compose(self, *arguments: str) -> int:
        sys.stdout.flush()
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=ROOT,
            env=self.settings.for_compose(),
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode

    def _asked(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=ROOT,
            env=self.settings.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _values(self, container: dict[str, Any]) -> Values | None:
        """What a container says at `/metrics`; None if it does not."""
        command = ["docker", "exec", container["Name"], "python", "-c", _ASK, "/metrics"]
        try:
            result = subprocess.run(
                command,
                env=self.settings.environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=ANSWER_WITHIN_S,
            )
        except subprocess.TimeoutExpired:
            return None
        return None if result.returncode else figures.values(result.stdout)

    def _states(self) -> dict[str, str]:
        """The state of each service's container, by the name of the service."""
        return {container["Service"]: container["State"] for container in self._containers()}

    def _containers(self) -> list[dict[str, Any]]:
        """All containers, running or not, as `docker compose ps` describes them."""
        result = self._asked("ps", "--all", "--format", "json")
        # One object a line; releases before 2.21 print one array.
        rows = [json.loads(line) for line in result.stdout.splitlines() if line.strip()]
        return rows[0] if rows and isinstance(rows[0], list) else rows


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=15, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
