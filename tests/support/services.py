"""Services run inside the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import REGISTRY

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from shared.lifecycle import Service
from tests.support.broker import Broker
from tests.support.waiting import eventually


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[asyncio.Event]:
    """Run a service; yields the event that tells it to stop, and stops it in the end."""
    stopping = asyncio.Event()
    task = asyncio.create_task(service.run(stopping))
    try:
        yield stopping
    finally:
        service.health.draining = True
        stopping.set()
        await asyncio.wait_for(task, 10)


async def until_ready(service: Service) -> None:
    """Wait until a service can do its work."""
    await eventually(lambda: service.health.ready, what="the service is ready", within_s=30)


@asynccontextmanager
async def router(broker: Broker, **settings: Any) -> AsyncIterator[RouterApp]:
    """A router that is ready."""
    defaults: dict[str, Any] = {
        "amqp_url": broker.amqp_url("router"),
        "management_url": broker.management_url("router"),
    }
    app = RouterApp(RouterSettings(**(defaults | settings)))
    async with running(app):
        await until_ready(app)
        yield app


@asynccontextmanager
async def gateway(broker: Broker, **settings: Any) -> AsyncIterator[GatewayApp]:
    """A gateway that is ready, on a free port."""
    defaults: dict[str, Any] = {"amqp_url": broker.amqp_url("gateway"), "port": 0, "unbind_after_s": 0.2}
    app = GatewayApp(GatewaySettings(**(defaults | settings)))
    async with running(app):
        await until_ready(app)
        yield app


def metric(name: str, **labels: str) -> float:
    """The value of a metric of this process now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
