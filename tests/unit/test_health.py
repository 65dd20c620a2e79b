"""Health: a load balancer asks whether a service lives, an operator whether it can work."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from shared import ops
from shared.health import Health


def test_ready_is_when_every_part_is_there() -> None:
    health = Health("broker", "demand")
    assert health.alive
    assert not health.ready
    health.set("broker", True)
    assert not health.ready
    health.set("demand", True)
    assert health.ready
    health.set("broker", False)
    assert not health.ready
    assert health.alive, "an outage of the broker must not take the pages down"


def test_who_stops_is_neither_alive_nor_ready() -> None:
    health = Health("broker")
    health.set("broker", True)
    health.draining = True
    assert not health.alive
    assert not health.ready
    assert health.state() == {"broker": True, "draining": True}


def test_a_part_that_was_not_announced_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Health("broker").set("brocker", True)


class TestPrivatePort:
    @pytest.fixture
    async def served(self) -> AsyncIterator[tuple[Health, str]]:
        health = Health("broker")
        async with ops.serve(health, host="127.0.0.1", port=0, setting="") as port:
            yield health, f"http://127.0.0.1:{port}"

    async def statuses(self, base: str) -> tuple[int, int]:
        async with aiohttp.ClientSession() as session:
            async with session.get(base + "/healthz") as health:
                pass
            async with session.get(base + "/readyz") as ready:
                pass
            return health.status, ready.status

    async def test_it_says_by_status_what_health_says(self, served: tuple[Health, str]) -> None:
        health, base = served
        assert await self.statuses(base) == (200, 503)
        health.set("broker", True)
        assert await self.statuses(base) == (200, 200)
        health.draining = True
        assert await self.statuses(base) == (503, 503)

    async def test_it_names_what_is_missing(self, served: tuple[Health, str]) -> None:
        async with aiohttp.ClientSession() as session, session.get(served[1] + "/readyz") as response:
            assert await response.json() == {"ready": False, "broker": False, "draining": False}

    async def test_it_shows_the_metrics(self, served: tuple[Health, str]) -> None:
        async with aiohttp.ClientSession() as session, session.get(served[1] + "/metrics") as response:
            assert response.status == 200
            assert "# HELP roost_source_events_total Events read from the source." in await response.text()
