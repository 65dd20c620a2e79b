"""What is done to the system, one after the other."""

import itertools
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple

from tests.chaos.supervisor import Service
from tests.chaos.system import System


class Step(NamedTuple):
    """One thing to do."""

    name: str
    do: Callable[[], Awaitable[float]]
    """Returns the moment at which it was done, or began."""
    is_last: bool
    """Whether everything has had its turn then."""


def steps(system: System, *, broker: bool) -> Iterator[Step]:
    """What to do, without end: everything in turn, and of replicas another one each time.

    Every second time the archive dies together with the gateway whose clients need it, and the broker, where it can
    be, is killed instead of restarted. It is left alone unless `broker`.
    """
    for turn in itertools.count():
        odd = turn % 2 == 1
        gateway, router, archive = system.gateways[turn % 2], system.routers[turn % 2], system.archive
        todo: list[tuple[str, Callable[[], Awaitable[float]]]] = [("gateway", gateway.kill)]
        if odd and archive is not None:
            todo = [("gateway_and_archive", partial(_kill, gateway, archive))]
        todo += [("router", router.kill), ("ingest", system.ingest.kill)]
        if archive is not None:
            todo.append(("archive", archive.kill))
        if broker and odd and system.broker_can_be_killed:
            todo.append(("broker_killed", system.kill_broker))
        elif broker:
            todo.append(("broker", system.restart_broker))
        for number, (name, do) in enumerate(todo, 1):
            yield Step(name, do, number == len(todo))


async def _kill(*services: Service) -> float:
    """All of them at once."""
    return min([await service.kill() for service in services])
