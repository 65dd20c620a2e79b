"""Fixtures that more than one kind of test uses."""

from collections.abc import Iterator

import pytest

from tests.support.broker import Broker, running_broker


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real RabbitMQ, the same for the whole run."""
    with running_broker() as broker:
        yield broker
