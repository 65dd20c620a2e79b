"""The tweets of a room page by page over HTTP, as the page and other programs read them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from services.gateway.timeline import PAGES_AT_ONCE
from tests.support.archive import archive
from tests.support.broker import Broker
from tests.support.exchange import publish
from tests.support.services import gateway
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually
from tests.unit.tokens import SECRET, token

Query = dict[str, str | int]


class Api:
    """Asks one gateway."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port

    async def get(
        self, label: str, query: Query | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Status, body and the response itself."""
        url = f"http://localhost:{self._port}/_/api/rooms/{quote(label, safe='')}/tweets"
        async with self._session.get(url, params=query or {}, headers=headers) as response:
            body = await response.json() if response.content_type == "application/json" else await response.text()
            return response.status, body, response

    async def texts(self, label: str, limit: int = 50) -> list[str]:
        """The texts of the newest page."""
        status, body, _ = await self.get(label, {"limit": limit})
        return [one["text"] for one in body["tweets"]] if status == 200 else []


@asynccontextmanager
async def api(broker: Broker, folder: Path | None, **settings: Any) -> AsyncIterator[Api]:
    async with AsyncExitStack() as stack:
        if folder is not None:
            await stack.enter_async_context(archive(broker, folder))
        app = await stack.enter_async_context(gateway(broker, **settings))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        if folder is not None:
            await eventually(app._history._present.is_set, what="the gateway knows of the archive")
        yield Api(session, app.port)


async def test_page_by_page_one_reads_every_tweet_once_newest_first(broker: Broker, tmp_path: Path) -> None:
    async with api(broker, tmp_path) as ask:
        await publish(broker, *(tweet(f"nfl {number}") for number in range(123)), tweet("of something else"))
        await eventually(lambda: ask.texts("term.nfl", limit=1), what="something is archived")

        async def all_archived() -> bool:
            return await ask.texts("all", limit=1) == ["of something else"]

        await eventually(all_archived)
        seen: list[str] = []
        query: Query = {"limit": 50}
        while True:
            _, body, _ = await ask.get("term.nfl", query)
            assert body["whole"] is True
            seen += [one["text"] for one in body["tweets"]]
            if body["before"] is None:
                break
            query["before"] = body["before"]
        assert seen == [f"nfl {number}" for number in reversed(range(123))]


async def test_who_has_the_page_already_is_told_so_until_it_changes(broker: Broker, tmp_path: Path) -> None:
    async with api(broker, tmp_path) as ask:
        first, second = tweet("node.js 1"), tweet("node.js 2")
        await publish(broker, first, second)

        async def both() -> bool:
            return await ask.texts("term.node%2Ejs") == ["node.js 2", "node.js 1"]

        await eventually(both)
        _, _, response = await ask.get("term.node%2Ejs")
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "private, no-cache"
        for sent in (tag, f"W/{tag}", f'"another", {tag}', "*"):
            status, body, again = await ask.get("term.node%2Ejs", headers={"If-None-Match": sent})
            assert (status, body, again.headers["ETag"]) == (304, "", tag)
        await publish(broker, edited(first, "node.js 11"), deleted(second))

        async def changed() -> bool:
            status, body, _ = await ask.get("term.node%2Ejs", headers={"If-None-Match": tag})
            return status == 200 and [one["text"] for one in body["tweets"]] == ["node.js 11"]

        await eventually(changed)


@pytest.mark.parametrize(
    ("label", "query", "code"),
    [
        ("nfl", {}, "bad_room"),
        ("term.", {}, "bad_room"),
        ("term.nfl", {"limit": 0}, "bad_request"),
        ("term.nfl", {"limit": 201}, "bad_request"),
        ("term.nfl", {"limit": "many"}, "bad_request"),
        ("term.nfl", {"limit": "٣"}, "bad_request"),
        ("term.nfl", {"before": "17"}, "bad_request"),
        ("term.nfl", {"before": "x,y"}, "bad_request"),
        ("term.nfl", {"before": "99999999999999999999,x:1"}, "bad_request"),
    ],
)
async def test_what_is_no_request_for_a_page_is_told_why(broker: Broker, label: str, query: Query, code: str) -> None:
    async with api(broker, None) as ask:
        status, body, _ = await ask.get(label, query)
        assert (status, body["error"]["code"]) == (400, code)


async def test_without_an_archive_the_answer_is_that_there_is_none_now(broker: Broker) -> None:
    async with api(broker, None) as ask:
        status, body, response = await ask.get("term.nfl")
        assert (status, body["error"]["code"]) == (503, "no_archive")
        assert int(response.headers["Retry-After"]) > 0


async def test_who_turns_pages_too_fast_is_told_when_to_go_on(broker: Broker) -> None:
    async with api(broker, None) as ask:
        # Wrong requests, which cost the archive nothing, count as well.
        answers = [await ask.get("nfl") for _ in range(PAGES_AT_ONCE + 10)]
        status, body, response = next(answer for answer in answers if answer[0] != 400)
        assert (status, body["error"]["code"]) == (429, "too_fast")
        assert int(response.headers["Retry-After"]) >= 1


async def test_a_token_shows_its_own_rooms_and_no_other(broker: Broker, tmp_path: Path) -> None:
    async with api(broker, tmp_path, auth="jwt", jwt_secret=SECRET) as ask:
        await publish(broker, tweet("nfl"))
        bearer = {"Authorization": f"Bearer {token(rooms=['term.nfl'])}"}

        async def seen() -> bool:
            status, body, _ = await ask.get("term.nfl", headers=bearer)
            return status == 200 and bool(body["tweets"])

        await eventually(seen)
        status, body, _ = await ask.get("term.nyc", headers=bearer)
        assert (status, body["error"]["code"]) == (403, "not_allowed")
        status, body, _ = await ask.get("term.nfl")
        assert (status, body["error"]["code"]) == (401, "token_missing")
