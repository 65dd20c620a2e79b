"""All of Roost for the run: a broker of its own, an ingest, two routers, two gateways, an archive."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.chaos.supervisor import Service
from tests.support.broker import Broker, free_port

HAVE_SOMEBODY = 10_000
"""Limits for one address: here all clients have the same."""


class System:
    """Everything that can be killed."""

    def __init__(self, broker: Broker, folder: Path, *, stream: str, archive: bool) -> None:
        """`stream` is the host and port of Bluesky's stream. Starts everything."""
        self.broker = broker
        self._folder = folder
        self.ingest = self._start(
            "ingest",
            source="bluesky",
            bluesky_hosts=f"ws://{stream}",
            bluesky_api=f"http://{stream}",
            management_url=broker.management_url("ingest"),
        )
        self.archive = self._start("archive", folder=folder / "archive") if archive else None
        self.routers = [
            self._start("router", number, management_url=broker.management_url("router")) for number in range(2)
        ]
        self.gateways = [
            self._start(
                "gateway",
                number,
                port=free_port(),
                max_connections_per_address=HAVE_SOMEBODY,
                max_rooms_per_address=HAVE_SOMEBODY,
                subscribes_per_s=HAVE_SOMEBODY,
            )
            for number in range(2)
        ]

    @property
    def services(self) -> list[Service]:
        """All of them."""
        return [self.ingest, *([self.archive] if self.archive else []), *self.routers, *self.gateways]

    async def ready(self) -> bool:
        """Whether every service says that it can do its work."""
        return all(await asyncio.gather(*(service.ready() for service in self.services)))

    async def restart_broker(self) -> float:
        """Stop it in good order and start it again; returns the moment at which that began."""
        at = time.monotonic()
        await asyncio.to_thread(self.broker.restart)
        return at

    @property
    def broker_can_be_killed(self) -> bool:
        """Whether it is a process of ours on this machine."""
        return self.broker.kind == "node"

    async def kill_broker(self) -> float:
        """SIGKILL, and start it again with what it has on its disk; returns the moment."""
        nodes = await asyncio.to_thread(self.broker.get, "/api/nodes?columns=os_pid")
        at = time.monotonic()
        os.kill(int(nodes[0]["os_pid"]), signal.SIGKILL)
        await asyncio.to_thread(self.broker.restart)
        return at

    async def stop(self) -> None:
        """End all services in good order."""
        await asyncio.gather(*(service.stop() for service in self.services))

    def _start(self, kind: str, number: int | None = None, **settings: object) -> Service:
        name = kind if number is None else f"{kind}-{number}"
        given = {"amqp_url": self.broker.amqp_url(kind), "ops_port": free_port(), **settings}
        return Service(name, kind, given, self._folder / f"{name}.log")
