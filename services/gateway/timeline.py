"""The tweets of a room page by page, newest first: `/_/api/rooms/<label>/tweets?limit=50&before=<seq>,<id>`."""

import asyncio
import hashlib
import math
import re

from aiohttp import web

from services.gateway import frames
from services.gateway.addresses import client_address
from services.gateway.auth import Grant
from services.gateway.catchup import documents_of
from services.gateway.history import History, NoArchiveError
from services.gateway.limits import PacePerAddress
from services.gateway.settings import GatewaySettings
from shared import metrics
from shared.events import COLLECTION, Document, collection_of
from shared.history import MAX_ID_CHARACTERS, Answer, Place, TweetsQuery
from shared.labels import LabelError, parse_key

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

PAGES_PER_S = 5.0
PAGES_AT_ONCE = 50
"""How fast one address may turn pages. Each is a query of the archive, which has one for all gateways."""

ARCHIVE_PATIENCE_S = 3.0
RETRY_AFTER_S = 5

_PLACE = re.compile(r"([0-9]{1,18}),(.*)", re.DOTALL)


class Timeline:
    """Answers with pages from the archive. People who ask for the same page at the same time share a query."""

    def __init__(self, history: History, settings: GatewaySettings) -> None:
        self._history = history
        self._proxies = settings.proxies
        self._paces = PacePerAddress(PAGES_PER_S, PAGES_AT_ONCE)
        self._asking: dict[TweetsQuery, asyncio.Task[Answer]] = {}

    async def answer(self, request: web.Request, grant: Grant) -> web.Response:
        """One page, as JSON, or what is wrong with the request."""
        self._pace(request)
        query = _query(request, grant)
        try:
            answer = await self._ask(query)
        except NoArchiveError as error:
            raise _refused(
                web.HTTPServiceUnavailable, "no_archive", f"older tweets can't be had now: {error}", RETRY_AFTER_S
            ) from None
        return await asyncio.to_thread(_page, answer, request.headers.get("If-None-Match", ""))

    async def _ask(self, query: TweetsQuery) -> Answer:
        if not await self._history.here(ARCHIVE_PATIENCE_S):
            raise NoArchiveError("there is no archive")
        asking = self._asking.get(query)
        if asking is None:
            asking = self._asking[query] = asyncio.create_task(self._history.ask(query))
            asking.add_done_callback(lambda _: self._asking.pop(query, None))
        # Whoever hangs up must not take the answer from the others.
        return await asyncio.shield(asking)

    def _pace(self, request: web.Request) -> None:
        forwarded_for = request.headers.getall("X-Forwarded-For", ())
        address = client_address(request.remote, forwarded_for, self._proxies)
        now = asyncio.get_running_loop().time()
        if not self._paces.take(address, now):
            wait_s = math.ceil(self._paces.wait_s(address, now))
            raise _refused(web.HTTPTooManyRequests, "too_fast", f"too many requests; again in {wait_s} s", wait_s)


def _query(request: web.Request, grant: Grant) -> TweetsQuery:
    try:
        label = parse_key(request.match_info["label"])
    except LabelError as error:
        raise _refused(web.HTTPBadRequest, "bad_room", str(error)) from None
    if not grant.allows(label):
        raise _refused(web.HTTPForbidden, "not_allowed", "your token does not grant this room")
    limit = request.query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,5}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise _refused(web.HTTPBadRequest, "bad_request", f"limit is a number from 1 to {MAX_LIMIT}")
    before = request.query.get("before")
    place = None
    if before is not None:
        match = _PLACE.fullmatch(before)
        if match is None or len(match[2]) > MAX_ID_CHARACTERS:
            raise _refused(web.HTTPBadRequest, "bad_request", "before is the seq and the id of a tweet: 123,x:456")
        place = Place(int(match[1]), match[2])
    return TweetsQuery(label=label.key, limit=int(limit), before=place)


def _page(answer: Answer, known: str) -> web.Response:
    documents = list(documents_of([answer]))
    documents.reverse()
    more = answer.from_seq > 0
    # Where the archive has looked for long and found nothing, the next page goes on from there.
    oldest = Place(documents[-1]["seq"], documents[-1]["id"]) if documents else Place(answer.from_seq + 1, "")
    page = {
        "tweets": [document for document in documents if _is_tweet(document)],
        "before": f"{oldest.seq},{oldest.id}" if more else None,
        "whole": answer.whole,
        "complete_to": answer.complete_to,
    }
    # A page is the same page as long as its tweets are, however far the archive has got meanwhile.
    tag = f'"{hashlib.blake2b(frames.json(page | {"complete_to": 0}), digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in {one.strip().removeprefix("W/") for one in known.split(",")} or known.strip() == "*":
        return web.Response(status=304, headers=headers)
    return web.Response(body=frames.json(page), content_type="application/json", headers=headers)


def _is_tweet(document: Document) -> bool:
    """Whether it can be shown: what cannot must not hide the others."""
    try:
        frames.json(document)
    except (TypeError, RecursionError):
        return False
    return collection_of(document) == COLLECTION


def _refused(
    kind: type[web.HTTPException], code: str, message: str, retry_after_s: int | None = None
) -> web.HTTPException:
    metrics.GATEWAY_REFUSED.labels(code=code).inc()
    return kind(
        text=frames.json({"error": {"code": code, "message": message}}).decode(),
        content_type="application/json",
        headers={"Retry-After": str(retry_after_s)} if retry_after_s is not None else {},
    )
