"""A gateway that asks for a token: the page asks its reader, keeps what it is given, and says what was refused."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from services.gateway.app import GatewayApp
from tests.browser.test_access import FAULTS, PALE
from tests.browser.test_screenshots import DESKTOP, FOLDER, LAYOUT, PHONE, SCHEMES
from tests.support.broker import Broker
from tests.support.chromium import Tab, tabs
from tests.support.exchange import publish
from tests.support.services import gateway, metric, router
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.wire import visiting
from tests.unit.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def locked(broker: Broker, **settings: Any) -> AsyncIterator[GatewayApp]:
    """A gateway that asks for a token that is signed with the secret."""
    async with gateway(broker, auth="jwt", jwt_secret=SECRET, **settings) as app:
        yield app


@pytest_asyncio.fixture(loop_scope="session")
async def app(broker: Broker) -> AsyncIterator[GatewayApp]:
    async with locked(broker) as app:
        yield app


def valid(*, for_s: float = 600, **claims: Any) -> str:
    """A token that holds from now on."""
    return token(exp=time.time() + for_s, **claims)


def form(tab: Tab) -> Locator:
    return tab.page.locator("#token")


async def give(tab: Tab, given: str) -> None:
    """Type a token into the page."""
    await expect(form(tab)).to_be_visible()
    await tab.page.locator("#token-box").fill(given)
    await tab.page.keyboard.press("Enter")


async def test_the_page_asks_for_a_token_and_keeps_it_for_its_tab(
    broker: Broker, app: GatewayApp, chromium: Browser
) -> None:
    given = valid(rooms=["term.*"])
    async with router(broker), tabs(chromium) as opened:
        tab = await opened.open(app.port, "/nfl", status="Token needed")
        addresses: list[str] = []
        tab.page.on("request", lambda request: addresses.append(request.url))
        tab.page.on("websocket", lambda socket: addresses.append(socket.url))
        await expect(tab.page.locator("#token-title")).to_have_text("A token is needed here")
        await expect(tab.page.locator("#token-box")).to_be_focused()
        await expect(tab.page.locator("#token-box")).to_have_attribute("type", "password")
        await expect(tab.page.locator("#empty")).to_be_hidden()
        await give(tab, f" {given} ")
        await tab.says("Live")
        await expect(form(tab)).to_be_hidden()
        await eventually(lambda: metric("roost_router_wanted_keys") == 3)
        await publish(broker, tweet("nfl for whoever has a token"))
        await tab.shows("nfl for whoever has a token")
        await tab.page.goto("/nyc")
        await tab.says("Live")
        assert len(addresses) > 3
        assert not [address for address in addresses if given in address]
        other = await opened.open(app.port, "/nfl", status="Token needed")
        await expect(form(other)).to_be_visible()


async def test_a_token_that_is_not_taken_is_asked_for_again_with_the_reason(
    app: GatewayApp, chromium: Browser
) -> None:
    async with tabs(chromium) as opened:
        tab = await opened.open(app.port, "/nfl", status="Token needed")
        await expect(tab.page.locator("#token-box")).to_have_attribute("aria-invalid", "false")
        await give(tab, "nonsense")
        await expect(tab.page.locator("#token-title")).to_have_text("This token was not taken")
        await expect(tab.page.locator("#token .why")).to_have_text("This is no JSON Web Token.")
        await expect(tab.page.locator("#token-box")).to_have_attribute("aria-invalid", "true")
        await expect(tab.page.locator("#token-box")).to_be_focused()
        await give(tab, valid())
        await tab.says("Live")
        assert tab.loads == 1


async def test_when_a_token_has_expired_the_page_asks_for_another(app: GatewayApp, chromium: Browser) -> None:
    async with tabs(chromium) as opened:
        tab = await opened.open(app.port, "/nfl", status="Token needed")
        expired = metric("roost_gateway_refused_total", code="token_expired")
        await give(tab, valid(for_s=3))
        await tab.says("Live")
        await tab.says("Token needed")
        await expect(tab.page.locator("#token-title")).to_have_text("Your token has expired")
        missing = metric("roost_gateway_refused_total", code="token_missing")
        await give(tab, valid())
        await tab.says("Live")
        assert metric("roost_gateway_refused_total", code="token_expired") == expired + 1
        assert metric("roost_gateway_refused_total", code="token_missing") == missing, "it waits for its reader"
        assert tab.loads == 1


async def test_a_room_that_the_token_does_not_grant_says_so(app: GatewayApp, chromium: Browser) -> None:
    async with tabs(chromium) as opened:
        tab = await opened.open(app.port, "/nfl", status="Token needed")
        await give(tab, valid(rooms=["tag.*"]))
        await tab.says("Not available")
        await expect(tab.page.locator("#empty-title")).to_have_text("your token does not grant this room")
        await tab.page.get_by_role("button", name="Use another token").click()
        await expect(tab.page.locator("#token-box")).to_be_focused()
        await expect(tab.page.locator("#token-title")).to_have_text("Use another token")
        await give(tab, valid(rooms=["term.NFL"]))
        await tab.says("Live")


async def test_what_passes_by_itself_is_tried_again(broker: Broker, chromium: Browser) -> None:
    limits = {"max_connections_per_address": 2, "max_rooms_per_address": 2}
    async with locked(broker, **limits) as app, visiting() as visits, tabs(chromium) as opened:
        one, two = [await visits.connected(app, token=valid()) for _ in range(2)]
        assert [await one.join(room) for room in ("nyc", "url")] == [True, True]
        tab = await opened.open(app.port, "/nfl", status="Not available")
        title, hint = tab.page.locator("#empty-title"), tab.page.locator("#empty-hint")
        await expect(title).to_have_text("your address has all the connections that it may have: 2")
        await expect(hint).to_have_text("It is tried again by itself.")
        await two.wire.send("1")
        await tab.says("Token needed")
        await give(tab, valid())
        await expect(title).to_have_text("your address is in all the rooms that it may be in: 2")
        await expect(hint).to_have_text("It is tried again by itself.")
        assert await one.ask("unsubscribe", "nyc") is True
        await tab.says("Live")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_everybody_can_use_the_form(
    app: GatewayApp, chromium: Browser, scheme: Literal["light", "dark"]
) -> None:
    FOLDER.mkdir(exist_ok=True)
    async with tabs(chromium) as opened:
        for device, options in {"desktop": DESKTOP, "phone": PHONE}.items():
            tab = await opened.open(
                app.port, "/nfl", status="Token needed", color_scheme=scheme, reduced_motion="reduce", **options
            )
            await give(tab, "nonsense")
            await expect(tab.page.locator("#token .why")).not_to_be_empty()
            assert await tab.page.evaluate(FAULTS) == []
            assert await tab.page.evaluate(PALE) == []
            assert (await tab.page.evaluate(LAYOUT))["sideways"] <= 0
            await tab.page.screenshot(path=FOLDER / f"token-{device}-{scheme}.png")
