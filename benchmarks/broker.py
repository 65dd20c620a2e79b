"""The broker of a benchmark: a private RabbitMQ with Roost's definitions, on the core of the load."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from benchmarks.failure import BenchmarkError
from benchmarks.figures import log
from tests.support.broker import Broker, running_broker


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
