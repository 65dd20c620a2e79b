"""What happens to a post at Bluesky or X happens to it on the open page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import expect

from services.ingest.app import IngestApp
from services.ingest.settings import IngestSettings
from services.ingest.sources import Source
from services.ingest.sources.bluesky import BlueskySource
from services.ingest.sources.x import XSource
from tests.browser.conftest import Stage
from tests.support.jetstream_server import did, jetstream_server
from tests.support.services import running
from tests.support.waiting import eventually
from tests.support.x_server import TOKEN, USER, post, x_server

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def reading(stage: Stage, source: Source) -> AsyncIterator[None]:
    """An ingest that reads the source."""
    async with running(IngestApp(IngestSettings(amqp_url=stage.broker.amqp_url("ingest")), source)):
        yield


async def test_a_post_of_bluesky_is_edited_and_deleted_under_the_readers_eyes(stage: Stage) -> None:
    tab = await stage.open("/nfl")
    async with jetstream_server() as host:
        host.people[did("ada")] = {"handle": "ada.example.org", "displayName": "Ada"}
        async with reading(stage, BlueskySource(hosts=[host.url], api=host.api, max_catch_up_s=60)):
            await eventually(lambda: host.clients == 1)
            first, second = host.post("the NFL begins"), host.post("nfl, second down")
            await tab.holds("the NFL begins", "nfl, second down")
            await expect(tab.articles.first.locator(".handle")).to_have_text("@ada.example.org")
            await expect(tab.articles.first.locator(".source")).to_have_text("Bluesky")
            host.edit(first, "the NFL has begun")
            await tab.holds("the NFL has begun", "nfl, second down")
            # The text has lost what it was found by, and changes all the same.
            host.edit(first, "it has begun")
            await tab.holds("it has begun", "nfl, second down")
            host.delete(second)
            await tab.holds("it has begun")


async def test_a_post_of_x_is_edited_under_the_readers_eyes(stage: Stage) -> None:
    tab = await stage.open("/nyc")
    async with x_server() as server:
        source = XSource(bearer_token=TOKEN, rules=["nyc"], wishes=None, budget=100, api=server.url)
        async with reading(stage, source):
            await eventually(lambda: server.streaming)
            users = [USER | {"profile_image_url": "/_/static/favicon.svg"}]
            first = post("nyc in the rain", includes={"users": users})
            await server.push(first)
            await tab.shows("nyc in the rain")
            await expect(tab.articles.first.locator(".source")).to_have_text("X")
            second = post("nyc in the sun", includes={"users": users})
            second["data"]["edit_history_tweet_ids"] = [first["data"]["id"], second["data"]["id"]]
            await server.push(second)
            await tab.shows("nyc in the sun")
            await expect(tab.articles.locator(".edited")).to_have_count(1)
