"""A gateway or the broker goes and comes back: an open page says so, and goes on by itself."""

import asyncio

import pytest
from playwright.async_api import Browser, expect

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from tests.support.broker import Broker, free_port
from tests.support.chromium import tabs
from tests.support.exchange import publish
from tests.support.services import gateway, router, running, until_ready
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_page_survives_a_restart_of_its_gateway(broker: Broker, chromium: Browser) -> None:
    port = free_port()
    first, second, third = (tweet(f"nfl {number}") for number in ("one", "two", "three"))
    async with router(broker), tabs(chromium) as opened:
        async with gateway(broker, port=port):
            tab = await opened.open(port, "/nfl")
            await publish(broker, first, second, third)
            await tab.shows("nfl three", "nfl two", "nfl one")
            await publish(broker, edited(first, "nfl one, edited"), deleted(third))
            await tab.shows("nfl two", "nfl one, edited")
        await tab.says("Reconnecting…")
        await tab.shows("nfl two", "nfl one, edited")
        async with gateway(broker, port=port):
            await tab.says("Live")
            # This gateway has never heard of those tweets; the page has, and knows better.
            await publish(broker, third, first, second, tweet("nfl four"))
            await tab.shows("nfl four", "nfl two", "nfl one, edited")
            await publish(broker, deleted(first), edited(second, "nfl two, edited"))
            await tab.shows("nfl four", "nfl two, edited")
        assert tab.loads == 1


async def test_a_page_opened_while_the_broker_is_away_waits_for_it(chromium: Browser) -> None:
    app = GatewayApp(GatewaySettings(amqp_url=f"amqp://gateway:gateway@127.0.0.1:{free_port()}/", port=free_port()))
    async with running(app), tabs(chromium) as opened:
        await eventually(lambda: app.health.state()["http"])
        tab = await opened.open(app.port, "/nfl", status="Waiting for the stream")
        await expect(tab.page.locator("#empty-title")).to_have_text("The stream is away")


async def test_a_page_that_found_no_place_gets_one_when_there_is(broker: Broker, chromium: Browser) -> None:
    async with router(broker), gateway(broker, max_rooms=1) as app, tabs(chromium) as opened:
        first = await opened.open(app.port, "/nfl")
        second = await opened.open(app.port, "/nyc", status="Not available")
        await expect(second.page.locator("#empty-title")).to_contain_text("try again later")
        await first.page.goto("about:blank")
        await second.says("Live")
        await expect(second.page.locator("#empty-title")).to_have_text("No tweet with “nyc” yet")
        assert second.loads == 1


@pytest.mark.slow
async def test_a_page_waits_while_the_broker_restarts_and_goes_on(broker: Broker, chromium: Browser) -> None:
    async with router(broker) as routing, gateway(broker) as app, tabs(chromium) as opened:
        tab = await opened.open(app.port, "/nfl")
        await publish(broker, tweet("nfl before"))
        await tab.shows("nfl before")
        restarting = asyncio.create_task(asyncio.to_thread(broker.restart))
        await tab.says("Waiting for the stream")
        await tab.shows("nfl before")
        await restarting
        for service in (routing, app):
            await until_ready(service)
        await tab.says("Live")
        await publish(broker, tweet("nfl after"))
        await expect(tab.texts.first).to_have_text("nfl after")
        assert tab.loads == 1
