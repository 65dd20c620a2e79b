"""From the command line to a running service and back: signals, the event loop, the private port, a deadline."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
from typing import Protocol

import structlog
import uvloop

from shared import lag, logging, ops
from shared.health import Health
from shared.settings import BadSettingError, ServiceSettings, variable
from shared.tasks import first_of

log = structlog.get_logger()

FULL_COLLECTION_AFTER = 100
"""Collections of the middle generation before a full one, where Python has 10. Measured at a gateway with 1,000 quiet
rooms beside two busy ones: the 99th percentile of the quiet ones grew fivefold with 10, and by 1.4 without any."""

STOP_DEADLINE_S = 9.0
"""From SIGTERM to the end, whatever hangs; container engines kill after 10 s."""


class StartError(Exception):
    """The service can't start or go on until somebody changes something; the message says what."""


class Service(Protocol):
    """A service: it runs until it is told to stop, and knows how it is."""

    health: Health

    async def run(self, stopping: asyncio.Event) -> None:
        """Do the work; once `stopping` is set, finish what is under way and return."""
        ...


def run(service: Service, settings: ServiceSettings, *, name: str) -> None:
    """Run `service` until SIGTERM or SIGINT and end the process: 0 after a clean stop, 1 with one line if not."""
    logging.configure(level=settings.log_level, json=settings.log_format == "json", service=name)
    _allow_many_files()
    # A full collection stops everything for 50 to 100 ms. What was imported is here to stay and not looked at again;
    # of the rest next to nothing is in cycles, but for some objects of each client that has gone: they can wait.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_AFTER)
    try:
        uvloop.run(_run(service, settings))
    except (StartError, BadSettingError) as error:
        log.error("can't run", reason=str(error))
        sys.exit(1)


def _allow_many_files() -> None:
    """Take as many open files as the system lets us have: each browser is one, and shells begin with about 1,000."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(service: Service, settings: ServiceSettings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not stopping.is_set():
            log.info("stopping")
            service.health.draining = True
            stopping.set()
            loop.call_later(STOP_DEADLINE_S, _give_up)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    setting = variable(type(settings), "ops_port")
    async with ops.serve(service.health, host=settings.ops_host, port=settings.ops_port, setting=setting) as port:
        log.info("starting", ops_port=port)
        await first_of(service.run(stopping), lag.watch())
    log.info("stopped")


def _give_up() -> None:
    log.error("did not stop in time", deadline_s=STOP_DEADLINE_S)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(1)
