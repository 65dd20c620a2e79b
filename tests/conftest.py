"""Fixtures that more than one kind of test uses."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.archive import take_all_away
from tests.support.broker import Broker, running_broker

# How long an example takes says more of the machine, which may be busy, than of the code.
settings.register_profile("roost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("roost")


@pytest.fixture(autouse=True, scope="module")
def _others_garbage_is_not_looked_through() -> None:
    """Freeze what all tests before have left, as a service does with what it is made of.

    The collector took half a second to look through it, and who waited for that seemed held up by what is tested.
    """
    gc.collect()
    gc.freeze()


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


ON_BROKER = [
    *(f"tests/integration/test_{name}.py" for name in ("archive", "bindings", "healing", "history", "ingest")),
    *(f"tests/integration/test_{name}.py" for name in ("ingest_state", "overflow", "rights", "router", "burst")),
    "tests/integration/test_dead_letters.py",
    "tests/e2e/test_stream.py",
]
"""Tests of what depends on the broker most: of the version that is there, and of how it does what."""


def pytest_configure(config: pytest.Config) -> None:
    """Have a marker for them."""
    config.addinivalue_line("markers", "on_broker: depends on the broker most; CI runs it on two versions of it")


ORDER = ("unit", "integration", "e2e", "browser", "local", "compose")
"""Fast ones first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `ON_BROKER`, and run the folders of tests in `ORDER`."""
    root = Path(__file__).parent
    for item in items:
        if item.path.relative_to(root.parent).as_posix() in ON_BROKER:
            item.add_marker("on_broker")
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(root).parts[0]))
