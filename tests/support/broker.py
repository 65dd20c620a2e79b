"""A real RabbitMQ for the tests: one that is given, one in a container, or a private node of installed binaries."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

from deploy.local.broker import Node, ask, find_binaries
from tests.support.waiting import eventually_now

ROOT = Path(__file__).parents[2]
IMAGE = "rabbitmq:4.3-management"
START_S = 90.0

_STOPPED = b"Management plugin: to stop collect_statistics."
"""The last that a node of RabbitMQ 3 logs when it is told to stop: connections, queues and stores are closed.

Its management plugin asks somebody then who waits for it, for five seconds, each time.
"""


@dataclass
class Broker:
    """A running RabbitMQ with Roost's definitions loaded."""

    kind: str
    host: str
    amqp_port: int
    management_port: int
    restart: Callable[[], None]
    """Stops it in good order and starts it again with its data."""
    ctl: Callable[..., None]
    """`rabbitmqctl` with these arguments."""

    def amqp_url(self, user: str) -> str:
        """For one of the development users."""
        return f"amqp://{user}:{user}@{self.host}:{self.amqp_port}/"

    def management_url(self, user: str = "admin") -> str:
        """The management API for one of the development users."""
        return f"http://{user}:{user}@{self.host}:{self.management_port}"

    def get(self, path: str) -> Any:
        """GET a path of the management API as the administrator; None if it does not answer."""
        return ask(self.management_url(), path)

    def bindings(self) -> set[tuple[str, str]]:
        """(destination, routing key) of every binding of the exchange `tweets`, as the broker has them now."""
        rows = self.get("/api/exchanges/%2F/tweets/bindings/source")
        return {(row["destination"], row["routing_key"]) for row in rows or ()}

    def version(self) -> str:
        """The broker's version."""
        return str((self.get("/api/overview") or {}).get("rabbitmq_version"))


@contextmanager
def running_broker() -> Iterator[Broker]:
    """The broker for this test run. Without any: skips on somebody's machine, fails where `CI` is set.

    `ROOST_TEST_BROKER` (`container` or `node`) takes one of the last two and no other.
    """
    wanted = os.environ.get("ROOST_TEST_BROKER", "any")
    with ExitStack() as stack:
        if url := os.environ.get("ROOST_TEST_AMQP_URL"):
            yield _given(url)
        elif wanted in ("any", "container") and docker_answers():
            yield stack.enter_context(_container())
        elif wanted in ("any", "node") and (binaries := find_binaries()):
            yield stack.enter_context(_node(binaries))
        else:
            _none()


def free_port() -> int:
    """A TCP port that nobody has at the moment, and that nobody gets who does not ask for it by number.

    Ports that the kernel hands out are taken by any outgoing connection before a broker, which takes seconds to
    start, comes to listen on them: those of Linux begin at 32768, of others higher.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def _none() -> NoReturn:
    reason = "no RabbitMQ: neither ROOST_TEST_AMQP_URL nor Docker nor installed binaries"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _given(url: str) -> Broker:
    parts = urlsplit(url)
    management = urlsplit(os.environ.get("ROOST_TEST_MANAGEMENT_URL", f"http://{parts.hostname}:15672"))

    def restart() -> None:
        pytest.skip("a broker that was given is not restarted")

    def ctl(*arguments: str) -> None:
        pytest.skip(f"rabbitmqctl {arguments[0]} is not for a broker that was given")

    port = parts.port or 5672
    return Broker("given", parts.hostname or "localhost", port, management.port or 15672, restart, ctl)


def docker_answers() -> bool:
    """Whether there is a Docker engine."""
    return (
        bool(shutil.which("docker"))
        and not subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode
    )


@contextmanager
def _container() -> Iterator[Broker]:
    from testcontainers.core.container import DockerContainer

    files = ROOT / "deploy" / "rabbitmq"
    # Ports of our choice: a restarted container would get others.
    amqp_port, management_port = free_port(), free_port()
    container = DockerContainer(IMAGE, hostname="roost-test").with_bind_ports(5672, amqp_port)
    container = container.with_bind_ports(15672, management_port)
    for source, target in {
        "definitions.json": "definitions.json",
        "enabled_plugins": "enabled_plugins",
        "rabbitmq.conf": "conf.d/20-roost.conf",
        "container.conf": "conf.d/30-container.conf",
    }.items():
        container = container.with_volume_mapping(str(files / source), f"/etc/rabbitmq/{target}", "ro")
    with container:

        def restart() -> None:
            container.get_wrapped_container().restart(timeout=20)
            _wait_until_ready(broker)

        def ctl(*arguments: str) -> None:
            exit_code, output = container.get_wrapped_container().exec_run(["rabbitmqctl", *arguments])
            assert exit_code == 0, output.decode(errors="replace")

        broker = Broker("container", container.get_container_host_ip(), amqp_port, management_port, restart, ctl)
        _wait_until_ready(broker)
        yield broker


@contextmanager
def _node(binaries: Path) -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="roost-test-broker-") as name:
        folder = Path(name)
        node = Node(folder, binaries, *(free_port() for _ in range(5)))
        node.prepare()
        environ = node.environment(os.environ)
        log = (folder / "log" / "node.log").open("ab")
        processes: list[subprocess.Popen[bytes]] = []

        def start(command: list[str]) -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def restart() -> None:
            path = folder / "log" / "node.log"
            server, said = processes[-1], path.stat().st_size
            server.terminate()
            eventually_now(
                lambda: server.poll() is not None or _STOPPED in path.read_bytes()[said:],
                within_s=30,
                what="the broker has stopped in good order",
            )
            kill()
            processes.append(start(node.server()))
            _wait_until_ready(broker)

        def kill() -> None:
            server = processes.pop()
            # The server's own process: what was started is a script that waits for it.
            for path in (folder / "data").glob("*.pid"):
                number = path.read_text()
                path.unlink()
                with contextlib.suppress(ProcessLookupError, ValueError):
                    os.kill(int(number), signal.SIGKILL)
            _end(server)

        def ctl(*arguments: str) -> None:
            command = [str(binaries / "rabbitmqctl"), *arguments]
            done = subprocess.run(
                command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
            )
            assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")

        broker = Broker("node", "127.0.0.1", node.amqp_port, node.management_port, restart, ctl)
        processes.append(start(node.port_mapper()))
        try:
            processes.append(start(node.server()))
            _wait_until_ready(broker)
            yield broker
        finally:
            # In no order at all: its data go with it.
            if len(processes) > 1:
                kill()
            for process in reversed(processes):
                _end(process)
            log.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(broker: Broker) -> None:
    def ready() -> bool:
        try:
            socket.create_connection((broker.host, broker.amqp_port), 1).close()
        except OSError:
            return False
        return broker.get("/api/queues/%2F/router.raw") is not None

    eventually_now(ready, within_s=START_S, what=f"the broker ({broker.kind}) is ready")
