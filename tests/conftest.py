"""Fixtures that more than one kind of test uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.archive import take_all_away
from tests.support.broker import Broker, running_broker

# How long an example takes says more of the machine, which may be busy, than of the code.
settings.register_profile("roost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("roost")


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real RabbitMQ, the same for the whole run."""
    with running_broker() as broker:
        yield broker


@pytest.fixture(autouse=True)
def no_archive_left() -> Iterator[None]:
    """No archive of one test is waited for in another one."""
    yield
    take_all_away()


ORDER = ("unit", "integration", "e2e", "browser", "local", "compose")
"""Fast ones first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the folders of tests in `ORDER`."""
    root = Path(__file__).parent
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(root).parts[0]))
