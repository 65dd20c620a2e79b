"""Tabs of a headless Chromium that remember what they complained about and whom they asked for something."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Dialog, Error, Locator, Page, async_playwright, expect

from tests.support.waiting import eventually

PATIENCE_MS = 15_000
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever a page asks for, nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SERVER_AWAY = re.compile(r"WebSocket connection to|net::ERR_(CONNECTION|EMPTY_RESPONSE|SOCKET)")
"""What the console says when a gateway goes, which no page can keep it from saying."""
NO_ARCHIVE = re.compile(r"status of 503 .* /_/api/rooms/")
"""And where older tweets are asked for and there is no archive."""

expect.set_options(timeout=PATIENCE_MS)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """The installed Chromium, headless. Without any: skips on somebody's machine, fails where `CI` is set."""
    executable = next((path for name in NAMES if (path := shutil.which(name))), None)
    if executable is None:
        reason = "no Chromium: none of " + ", ".join(NAMES)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Chromium's sandbox refuses root; the pages here are ours.
    sandbox = [] if os.getuid() else ["--no-sandbox"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS + sandbox)
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """One page of one gateway, in a browser profile of its own."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        """Console warnings and errors (violations of the page's own policy are some), uncaught errors, dialogs."""
        self.foreign: list[str] = []
        """Addresses on other hosts that were asked for."""
        self.loads = 0
        """How often the page was loaded."""
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)
        page.on("dialog", self._on_dialog)
        page.on("request", lambda request: self._on_address(request.url))
        page.on("websocket", lambda socket: self._on_address(socket.url))
        page.on("load", self._on_load)

    @property
    def articles(self) -> Locator:
        """The tweets on the page, newest first; one that fades away is none any more."""
        return self.page.locator("#feed > article[data-id]")

    @property
    def texts(self) -> Locator:
        """The texts of the tweets on the page, newest first."""
        return self.articles.locator(".text")

    async def shows(self, *texts: str) -> None:
        """Wait until exactly these tweets are on the page, newest first."""
        await expect(self.texts).to_have_text(list(texts))

    async def holds(self, *texts: str) -> None:
        """Wait until exactly these tweets are on the page, in whatever order."""

        async def same() -> bool:
            return sorted(await self.texts.all_text_contents()) == sorted(texts)

        await eventually(same, what=f"the page shows {texts}")

    async def says(self, status: str) -> None:
        """Wait until the page says how it stands: `Live`, `Reconnecting…`, …"""
        await expect(self.page.locator("#status")).to_have_text(status)

    async def focused(self) -> str:
        """The accessible name of what has the focus, as far as these pages need it worked out."""
        name = await self.page.evaluate(
            """() => {
              const at = document.activeElement;
              return at.getAttribute("aria-label") ?? at.labels?.[0]?.textContent ?? at.textContent;
            }"""
        )
        return str(name).strip()

    def _on_console(self, message: ConsoleMessage) -> None:
        about = f"{message.text} {urlsplit(message.location['url']).path}"
        if message.type in ("warning", "error") and not NO_ARCHIVE.search(about):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_error(self, error: Error) -> None:
        self.complaints.append(f"uncaught: {error}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _on_address(self, address: str) -> None:
        if urlsplit(address).hostname not in ("127.0.0.1", None):
            self.foreign.append(address)

    def _on_load(self, _: Page) -> None:
        self.loads += 1


class Tabs:
    """Opens tabs."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.opened: list[Tab] = []

    async def open(self, port: int, path: str, *, status: str = "Live", **options: Any) -> Tab:
        """A tab at a path of the gateway on a port of loopback, once it says `status`.

        `options` are those of a browser context: `viewport`, `color_scheme`, …
        """
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = await self._browser.new_context(base_url=f"http://127.0.0.1:{port}", **options)
        context.set_default_timeout(PATIENCE_MS)
        tab = Tab(await context.new_page())
        self.opened.append(tab)
        await tab.page.goto(path)
        await tab.says(status)
        return tab

    async def close(self) -> None:
        """Close all tabs."""
        for tab in self.opened:
            await tab.page.context.close()


@asynccontextmanager
async def tabs(browser: Browser) -> AsyncIterator[Tabs]:
    """A place to open tabs from. They end well only if none complained or asked another host for anything."""
    opened = Tabs(browser)
    try:
        yield opened
    finally:
        await opened.close()
    for tab in opened.opened:
        assert [words for words in tab.complaints if not SERVER_AWAY.search(words)] == []
        assert tab.foreign == []
