"""The broker of a benchmark: a private RabbitMQ with Roost's definitions, on the core of the load."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from benchmarks.children import wait_until
from benchmarks.failure import BenchmarkError
from benchmarks.figures import log
from tests.support.broker import Broker, running_broker

_KNOWN_S = 30.0


@contextmanager
def private_broker() -> Iterator[Broker]:
    """A broker of installed binaries; a container would run on cores of its own choice.

    One that is given by `ROOST_TEST_AMQP_URL` is taken instead, as the tests take it.
    """
    os.environ["ROOST_TEST_BROKER"] = "node"
    log.info("starting RabbitMQ")
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(running_broker())
        except AssertionError as error:
            raise BenchmarkError(f"RabbitMQ does not start: {error}") from None
        except (pytest.skip.Exception, pytest.fail.Exception) as error:
            reason = f"{error}; `.venv/bin/python -m deploy.local.packages broker` installs one"
            raise BenchmarkError(reason) from None
        yield broker


def pid_of(broker: Broker) -> int:
    """The process of a broker. It knows its own some seconds after its start."""
    found = 0

    def known() -> bool:
        nonlocal found
        found = int((broker.get("/api/nodes") or [{}])[0].get("os_pid", 0))
        return found > 0

    wait_until(known, within_s=_KNOWN_S, what="the broker tells its process")
    return found
