"""Local mode: honcho runs the services of `deploy/Procfile` against a private RabbitMQ node."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path

from deploy import figures, ports, processes
from deploy.failure import Failure
from deploy.figures import Said
from deploy.local import broker, packages
from deploy.printable import printable
from deploy.settings import LOGS, ROOT, RUN, SECRETS, Settings
from deploy.waiting import wait

_KEEP = str(ROOT / "deploy" / "local" / "keep")
_BROKER_LOG = LOGS / "broker.log"
_SERVICES_LOG = LOGS / "services.log"

BROKER_WITHIN_S = 90
TWEET_WITHIN_S = 60


class Local:
    """Roost as processes of this machine."""

    name = "local"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def running(self) -> bool:
        """Whether all parts of it run."""
        return all(processes.find(RUN, role) for role in ("broker", "services"))

    def check(self) -> None:
        """See to the broker's binaries and that the ports are free; raises `Failure`, and has started nothing."""
        packages.require("broker")
        ports.require_free(self.settings.ports)

    def up(self) -> None:
        """Start everything and wait for the first tweet; raises `Failure`, and leaves the rest to `down`."""
        for log in (_BROKER_LOG, _SERVICES_LOG):
            log.unlink(missing_ok=True)
        # What a service is told is known to be wrong before a broker has come up for it.
        environ = self.settings.for_services(RUN)
        self._check(environ)
        self._start_broker()
        self._start_services(environ)

    def down(self) -> None:
        """End every process of it: the services, then the broker, then Erlang's port mapper."""
        for role, within_s in (("services", 14), ("broker", 30), ("epmd", 3)):
            if not processes.stop(RUN, role, within_s=within_s):
                print(f"{role} did not stop within {within_s} s and was killed", file=sys.stderr)
        for name in SECRETS.values():
            (RUN / name).unlink(missing_ok=True)

    def status(self) -> None:
        """Print what runs, which service is ready, and how many messages wait."""
        running = "running" if processes.find(RUN, "broker") else "not running"
        print(f"broker   {running}, {self.settings.amqp_url('consumer')}")
        commands = [process.command for process in processes.find(RUN, "services")]
        for service in self.settings.services:
            alive = any(command.endswith(f"-m services.{service}") for command in commands)
            port = self.settings.port(f"ROOST_{service.upper()}_OPS_PORT")
            state = f"running, {_readiness(port)}" if alive else "not running"
            print(f"{service:8} {state}, http://127.0.0.1:{port}/metrics")

    def ask_archive(self, path: str) -> str | None:
        """The archive's answer on its private port."""
        return self._ask("archive", path)

    def metrics(self, *services: str) -> list[Said]:
        """What the process of each of these services says at `/metrics`."""
        said = [(service, self._ask(service, "/metrics")) for service in services]
        return [Said(service, [None if text is None else figures.values(text)]) for service, text in said]

    def waiting(self) -> int | None:
        """Batches in `router.raw`, also those in the router's hands; None where the broker does not tell."""
        return batches_for_routers(self.settings)

    def logs(self) -> list[str]:
        """The command that follows the logs."""
        return ["tail", "-q", "-n", "40", "-F", str(_SERVICES_LOG), str(_BROKER_LOG)]

    def _ask(self, service: str, path: str) -> str | None:
        """A service's answer on its private port; None where it does not answer with 200."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"http://127.0.0.1:{self.settings.port(f'ROOST_{service.upper()}_OPS_PORT')}{path}"
        try:
            with opener.open(url, timeout=2) as response:
                return str(response.read().decode())
        except (OSError, ValueError):
            return None

    def _start_broker(self) -> None:
        settings = self.settings
        binaries = broker.find_binaries()
        if binaries is None:
            raise Failure("There is no rabbitmq-server on this machine.")
        node = broker.Node(
            folder=RUN / "rabbitmq",
            binaries=binaries,
            amqp_port=settings.port("ROOST_AMQP_PORT"),
            management_port=settings.port("ROOST_MANAGEMENT_PORT"),
            metrics_port=settings.port("ROOST_BROKER_METRICS_PORT"),
            dist_port=settings.port("ROOST_DIST_PORT"),
            epmd_port=settings.port("ROOST_EPMD_PORT"),
        )
        node.prepare()
        environ = node.environment(settings.environ)
        print("Starting a private RabbitMQ node …", flush=True)
        began = time.monotonic()
        processes.start(node.port_mapper(), run=RUN, role="epmd", log=_BROKER_LOG, environ=environ, cwd=node.folder)
        keeper = processes.start(
            [_KEEP, "broker", *node.server()],
            run=RUN,
            role="broker",
            log=_BROKER_LOG,
            environ=environ,
            cwd=node.folder,
        )
        while broker.ask(settings.management_url, "/api/queues/%2F/router.raw") is None:
            waited = time.monotonic() - began
            if keeper.poll() is not None:
                raise _with_log(_BROKER_LOG, "The private RabbitMQ node ended at once")
            if waited > BROKER_WITHIN_S:
                raise _with_log(_BROKER_LOG, f"The private RabbitMQ node was not ready within {BROKER_WITHIN_S} s")
            time.sleep(0.3)
        print(f"RabbitMQ is ready after {time.monotonic() - began:.0f} s", flush=True)

    def _check(self, environ: dict[str, str]) -> None:
        checked = subprocess.run(
            [sys.executable, "-m", "deploy.check_settings", *self.settings.services],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if checked.returncode:
            raise Failure(checked.stdout.strip() or checked.stderr.strip())

    def _start_services(self, environ: dict[str, str]) -> None:
        print(f"Starting {', '.join(self.settings.services)} …", flush=True)
        honcho = processes.start(
            # The settings are complete: honcho shall not read .env once more.
            [
                *(sys.executable, "-m", "honcho", "-e", "/dev/null", "-f", "deploy/Procfile", "start"),
                *self.settings.services,
            ],
            run=RUN,
            role="services",
            log=_SERVICES_LOG,
            environ=environ,
            cwd=ROOT,
        )

        def check() -> None:
            if honcho.poll() is not None:
                raise _with_log(_SERVICES_LOG, "A service ended at once")

        if missing := wait(self.settings, self.ask_archive, check, TWEET_WITHIN_S):
            raise _with_log(_SERVICES_LOG, f"{missing} within {TWEET_WITHIN_S} s")


def _with_log(log: Path, what: str) -> Failure:
    """A failure, after its log's last lines were printed."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            print("".join(deque(lines, maxlen=25)).rstrip(), file=sys.stderr)
    except FileNotFoundError:
        pass
    return Failure(f"{what}; the lines above are the end of {log.relative_to(ROOT)}.")


def _readiness(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return "ready"
    except urllib.error.HTTPError as error:
        try:
            parts = json.load(error)
            parts.pop("ready", None)
            lacks = [name for name, state in parts.items() if state is (name == "draining")]
        except (ValueError, AttributeError, TypeError):
            lacks = []
        return f"not ready ({', '.join(lacks)})" if lacks else "not ready"
    except OSError:
        return "not answering"


def queue_depths(settings: Settings) -> str:
    """How many messages wait in the queues of the broker, on one line."""
    queues = broker.ask(settings.management_url, "/api/queues/%2F?columns=name,messages,exclusive")
    if not isinstance(queues, list):
        return "the broker does not answer"
    # What ingest keeps is no message that waits for anybody.
    queues = [queue for queue in queues if not queue["name"].startswith("ingest.state.")]
    named = {queue["name"]: queue.get("messages", 0) for queue in queues if not queue.get("exclusive")}
    others = [queue.get("messages", 0) for queue in queues if queue.get("exclusive")]
    waiting = [f"{printable(name)} {messages}" for name, messages in sorted(named.items())]
    return ", ".join([*waiting, f"{sum(others)} in {len(others)} of gateways, routers and consumers"])


def batches_for_routers(settings: Settings) -> int | None:
    """How many raw batches no router is done with, as of some seconds ago; None where the broker does not tell."""
    queue = broker.ask(settings.management_url, "/api/queues/%2F/router.raw?columns=messages")
    messages = queue.get("messages") if isinstance(queue, dict) else None
    return messages if isinstance(messages, int) else None
