"""Pictures of the page to look at, in `tests/artifacts/`, and what of its looks can be asserted."""

from typing import Any, Literal

import pytest
from playwright.async_api import expect

from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from services.ingest.sources.synthetic import SyntheticSource
from tests.browser.conftest import Stage
from tests.support.broker import ROOT
from tests.support.services import running

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOLDER = ROOT / "tests" / "artifacts"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

LAYOUT = """() => ({
  sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  visible: [...document.querySelectorAll("article")].filter((node) => {
    const { top, bottom } = node.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  }).length,
  spilling: [...document.querySelectorAll("article *")].filter((node) => {
    const [inner, outer] = [node, node.closest("article")].map((one) => one.getBoundingClientRect());
    return inner.right > outer.right + 1 || inner.left < outer.left - 1;
  }).length,
  pictures: [...document.images].filter((image) => image.complete && image.naturalWidth > 0).length,
})"""


async def test_screenshots(stage: Stage) -> None:
    FOLDER.mkdir(exist_ok=True)
    source = SyntheticSource(rate=100, seed=1)
    tabs = {"desktop": await stage.open("/nfl", **DESKTOP), "phone": await stage.open("/nfl", **PHONE)}
    async with running(IngestApp(IngestSettings(amqp_url=stage.broker.amqp_url("ingest")), source)):
        for device, tab in tabs.items():
            await expect(tab.articles.nth(11)).to_be_attached()
            for scheme in SCHEMES:
                await tab.page.emulate_media(color_scheme=scheme)
                await tab.page.screenshot(path=FOLDER / f"{device}-{scheme}.png")
                layout = await tab.page.evaluate(LAYOUT)
                assert layout["sideways"] <= 0, (device, scheme)
                assert layout["spilling"] == 0, (device, scheme)
                assert layout["visible"] >= 5, (device, scheme)
                assert layout["pictures"] >= 5, (device, scheme)
