"""Services as real processes, as a user runs them."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from tests.support.broker import ROOT, Broker, free_port
from tests.support.waiting import eventually


class Process:
    """One running service."""

    def __init__(self, name: str, ops_port: int, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.ops_port = ops_port
        self._popen = popen
        self._log = log

    def ready(self) -> bool:
        """Whether its /readyz says yes."""
        assert self._popen.poll() is None, f"{self.name} has ended:\n{self.log()}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels, as its /metrics has it now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def log(self) -> str:
        """All it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._popen.pid

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Meanwhile it does nothing at all, and is there."""
        self._popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: no time to tidy up."""
        self._popen.kill()
        self._popen.wait()

    async def stop(self, within_s: float = 10) -> int:
        """SIGTERM; returns the exit code."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._popen.wait, within_s)


class Processes:
    """Starts services against one broker; each is stopped in the end."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self._started: list[Process] = []

    async def start(self, service: str, **settings: object) -> Process:
        """Start `services.<service>` with settings such as `port=8080`, and wait until it is ready."""
        process = self.spawn(service, **settings)
        await eventually(process.ready, what=f"{service} is ready", within_s=30)
        return process

    def spawn(self, service: str, **settings: object) -> Process:
        """The same, for one that need not become ready."""
        prefix = f"ROOST_{service.upper()}_"
        ops_port = free_port()
        values = {"amqp_url": self._broker.amqp_url(service), "ops_port": ops_port, **settings}
        if service in ("router", "ingest"):
            values.setdefault("management_url", self._broker.management_url(service))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
        environ |= {prefix + name.upper(): str(value) for name, value in values.items()}
        path = self._folder / f"{service}-{len(self._started)}.log"
        with path.open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                cwd=ROOT,
                env={**environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = Process(service, ops_port, popen, path)
        self._started.append(process)
        return process

    async def end(self) -> None:
        """Stop all that still run."""
        await asyncio.gather(*(process.stop() for process in self._started))


@asynccontextmanager
async def processes(broker: Broker) -> AsyncIterator[Processes]:
    """A place to start services from."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="roost-test-logs-"))
        started = Processes(broker, Path(folder))
        stack.push_async_callback(started.end)
        yield started
