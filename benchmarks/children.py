"""The processes that a benchmark starts: each on its core, told what to do by lines, ended with the benchmark."""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import node
from benchmarks.failure import BenchmarkError
from benchmarks.machine import cores
from tests.support.broker import Broker, free_port

ROOT = Path(__file__).parents[1]
ANSWER_S = 60.0
START_S = 30.0
_PR_SET_PDEATHSIG = 1
_END_S = 12.0


class Process:
    """One process, on one core, in a session of its own so that Ctrl-C reaches the benchmark alone."""

    def __init__(
        self, command: Sequence[str], *, core: int | None, name: str, settings: Mapping[str, str] | None = None
    ) -> None:
        """Start it; without a `core` it may run on all of them.

        With `settings`, environment variables, it is a service of Roost, which logs and is told nothing. The caller's
        own settings of Roost are not handed on.
        """
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
        self.name = name
        self._obedient = settings is None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ | dict(settings or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self._obedient else self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=_bound_to(core),  # noqa: PLW1509 - a benchmark has one thread
        )
        self._unread = b""
        self.pid = self._popen.pid
        """Where its processor time and memory are counted; what a wrapper runs says its own."""

    def log(self) -> str:
        """The end of what it has printed."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]

    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def tell(self, do: str, **arguments: Any) -> None:  # noqa: ANN401 - whatever JSON has
        """Give a command; `answer` has what comes of it."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError(f"{self.name} has ended: {self.log()}") from None

    def answer(self, within_s: float = ANSWER_S) -> dict[str, Any]:
        """The next line that the process says."""
        assert self._popen.stdout is not None
        output = self._popen.stdout.fileno()
        deadline = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise BenchmarkError(f"{self.name} has not answered within {within_s:.0f} s: {self.log()}")
                data = os.read(output, 65536)
                if not data:
                    raise BenchmarkError(f"{self.name} has ended: {self.log()}")
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, do: str, within_s: float = ANSWER_S, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401
        """Give a command and wait for its answer."""
        self.tell(do, **arguments)
        return self.answer(within_s)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self.alive():
            self._popen.send_signal(signal.SIGTERM)

    def wait(self, within_s: float) -> None:
        """Wait until it has ended."""
        try:
            self._popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{self.name} has not ended within {within_s:.0f} s: {self.log()}") from None

    def end(self) -> None:
        """End it, whatever it does."""
        assert self._popen.stdin is not None
        with suppress(OSError):
            self._popen.stdin.close()
        if self._obedient:
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(_END_S / 4)
        self.terminate()
        try:
            self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        self._log.close()


class Children:
    """Starts processes; all of them end when the benchmark does."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def load(self) -> Process:
        """Start the load generator."""
        return self._module("benchmarks.load", core=cores().load, name="the load generator")[0]

    def publisher(self, amqp_url: str) -> Process:
        """Start the publisher, beside the load."""
        return self._module("benchmarks.publisher", amqp_url, core=cores().load, name="the publisher")[0]

    def relay(self, host: str, port: int) -> tuple[Process, int]:
        """Start the relay to a broker, beside the load; returns it and its port."""
        return self._module("benchmarks.relay", host, str(port), core=cores().load, name="the relay")

    def server(self, name: str) -> tuple[Process, int]:
        """Start one of `benchmarks.servers` on the core of the server; returns it and its port."""
        core = cores().server
        if name == "node":
            return _introduced(self._started(Process([node.require(), str(node.SCRIPT)], core=core, name=name)))
        return self._module(f"benchmarks.servers.{name}", core=core, name=name)

    def loop(self) -> Process:
        """Start the loop over all terms in Node.js, on the core of the server."""
        command = [node.require(), str(node.LOOP)]
        return _introduced(self._started(Process(command, core=cores().server, name="the loop")))[0]

    def gateway(self, amqp_url: str, *, anywhere: bool = False) -> tuple[Process, int]:
        """Start a gateway as its users do, with its default settings, on the core of the server or on any.

        Returns it, ready, and its port.
        """
        process, port, ops_port = self._gateway(amqp_url, None if anywhere else cores().server)
        _await_ready(process, ops_port)
        return process, port

    def gateways(self, number: int, amqp_url: str) -> list[int]:
        """Start several, on any core; returns their ports."""
        started = [self._gateway(amqp_url, None) for _ in range(number)]
        for process, _, ops_port in started:
            _await_ready(process, ops_port)
        return [port for _, port, _ in started]

    def stocks(self, number: int, amqp_url: str) -> list[int]:
        """Start several of the peer that share their rooms by a broker, on any core; returns their ports."""
        command = [sys.executable, "-m", "benchmarks.servers.stock", amqp_url]
        started = [self._started(Process(command, core=None, name="stock")) for _ in range(number)]
        return [_introduced(process)[1] for process in started]

    def feeder(self, amqp_url: str) -> Process:
        """Start what publishes raw batches, on any core."""
        return self._module("benchmarks.feeder", amqp_url, core=None, name="the generator")[0]

    def counter(self, amqp_url: str) -> Process:
        """Start what consumes a queue of its own and counts tweets, on any core."""
        return self._module("benchmarks.counter", amqp_url, core=None, name="the consumer")[0]

    def ingest(self, amqp_url: str) -> Process:
        """Start ingest with a source that is told what to yield, on any core. It is publishing."""
        return self._module("benchmarks.servers.ingest", amqp_url, core=None, name="ingest")[0]

    def router(self, broker: Broker, *, instead: Path | None = None) -> tuple[Process, int]:
        """Start a router as its users do, with its default settings, on any core.

        Returns it, ready, and its private port. With the path of saved batches it looks for no terms, but takes
        `instead` those tweets from each of these batches that have some.
        """
        ops_port = free_port()
        values = {
            "amqp_url": broker.amqp_url("router"),
            "management_url": broker.management_url("router"),
            "ops_port": ops_port,
            "log_level": "warning",
        }
        module = ["services.router"] if instead is None else ["benchmarks.servers.passthrough", str(instead)]
        settings = {f"ROOST_ROUTER_{name.upper()}": str(value) for name, value in values.items()}
        process = self._started(
            Process([sys.executable, "-m", *module], core=None, name="the router", settings=settings)
        )
        _await_ready(process, ops_port)
        return process, ops_port

    def _module(self, module: str, *arguments: str, core: int | None, name: str) -> tuple[Process, int]:
        command = [sys.executable, "-m", module, *arguments]
        return _introduced(self._started(Process(command, core=core, name=name)))

    def _gateway(self, amqp_url: str, core: int | None) -> tuple[Process, int, int]:
        port, ops_port = free_port(), free_port()
        values = {"amqp_url": amqp_url, "port": port, "ops_port": ops_port, "log_level": "warning"}
        settings = {f"ROOST_GATEWAY_{name.upper()}": str(value) for name, value in values.items()}
        command = [sys.executable, "-m", "services.gateway"]
        return self._started(Process(command, core=core, name="gateway", settings=settings)), port, ops_port

    def _started(self, process: Process) -> Process:
        self._stack.callback(process.end)
        return process


@contextmanager
def children() -> Iterator[Children]:
    """A place to start processes from."""
    with ExitStack() as stack:
        yield Children(stack)


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.02)


def _introduced(process: Process) -> tuple[Process, int]:
    where = process.answer(START_S)
    process.pid = int(where["pid"])
    return process, int(where["port"])


def _await_ready(process: Process, ops_port: int) -> None:
    wait_until(lambda: _ready(process, ops_port), within_s=START_S, what=f"{process.name} is ready")


def _ready(process: Process, ops_port: int) -> bool:
    if not process.alive():
        raise BenchmarkError(f"{process.name} has ended: {process.log()}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ops_port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _bound_to(core: int | None) -> Callable[[], None]:
    """What the child does before it becomes another program: go to its core, and die with its parent."""
    libc = ctypes.CDLL(None)
    allowed = cores().allowed if core is None else {core}

    def prepare() -> None:
        os.sched_setaffinity(0, allowed)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return prepare
