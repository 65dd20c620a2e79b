"""One Chromium for all tests here, and for most of them one router and one gateway that pages are opened from."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser

from shared.events import Event
from shared.labels import LabelError, parse_path
from tests.integration.conftest import empty_queues
from tests.support.broker import Broker
from tests.support.chromium import Tab, Tabs, running_chromium, tabs
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.waiting import eventually

__all__ = ["empty_queues"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The browser. It belongs to one event loop, so every test that uses it runs in the session's."""
    async with running_chromium() as browser:
        yield browser


class Stage:
    """A running router and gateway, a browser before them, and a source behind them."""

    def __init__(self, broker: Broker, port: int, tabs: Tabs) -> None:
        self.broker = broker
        self.port = port
        self._tabs = tabs
        self._keys = {"action.update", "action.destroy"}

    async def open(self, path: str, *, status: str = "Live", **options: Any) -> Tab:
        """A tab in a room, once what is published reaches it. `options` are those of a browser context."""
        tab = await self._tabs.open(self.port, path, status=status, **options)
        await self.wanted(path)
        return tab

    async def visit(self, tab: Tab, path: str) -> None:
        """Go to another room in a tab, by its address."""
        await tab.page.goto(path)
        await tab.says("Live")
        await self.wanted(path)

    async def wanted(self, path: str) -> None:
        """Wait until the router has heard of a room that a tab is in; nobody has to for one that is refused."""
        try:
            self._keys.add(parse_path(path.removeprefix("/")).key)
        except LabelError:
            return
        await eventually(lambda: metric("roost_router_wanted_keys") == len(self._keys), what=f"{path} is wanted")

    async def publish(self, *events: Event) -> None:
        """Publish events as one raw batch."""
        await publish(self.broker, *events)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(broker: Broker, chromium: Browser) -> AsyncIterator[Stage]:
    """Everything between a source and a browser. Rooms stay bound until the end, so that tests can count on them."""
    async with router(broker), gateway(broker, unbind_after_s=600) as app, tabs(chromium) as opened:
        yield Stage(broker, app.port, opened)
