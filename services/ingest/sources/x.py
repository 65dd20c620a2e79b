"""The source `x`: X's filtered stream, by tweepy, as far as it goes.

tweepy knows the requests and their parameters. How it fails is not for a service that runs for months: it reconnects
at once after a proper end, for ever; ends at a line that is no JSON; logs the bearer token at level debug. So the two
methods that touch the network, `request` and `_connect`, are written anew here, and `x_api.reading` decides when.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
from tweepy import StreamRule  # type: ignore[import-untyped]
from tweepy.asynchronous import AsyncStreamingClient  # type: ignore[import-untyped]

from services.ingest.sources import Item, Notes, SourceError
from services.ingest.sources.backoff import Backoff
from services.ingest.sources.pacing import Clock, SystemClock
from services.ingest.sources.report import Report
from services.ingest.sources.unreadable import Unreadables
from services.ingest.sources.x_api.budget import Budget
from services.ingest.sources.x_api.failures import HTTP, LIMITS, Failure, of_network, of_status
from services.ingest.sources.x_api.messages import complaint_of, hidden
from services.ingest.sources.x_api.payload import EXPANSIONS, MEDIA_FIELDS, SOURCE, TWEET_FIELDS, USER_FIELDS
from services.ingest.sources.x_api.reading import Reading
from services.ingest.sources.x_api.rulebook import Rulebook
from services.ingest.sources.x_api.rules import TAG, Wishes
from shared.metrics import X_BUDGET

CONNECT_S = 20.0
"""Patience until a connection stands."""
REQUEST_S = 30.0
"""Patience for a whole request about rules."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A thousand rules are about 2 MiB."""
MAX_ERROR_BYTES = 64 * 1024
LEAVE_S = 1.0
"""How long stopping may take to note what was used of the budget."""

_NETWORK_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


class XSource:
    """Posts of X that match our rules, as they come. It can't be resumed: what was missed is missed.

    Either the rules are given, or they follow from what people watch (`demand`). No more posts than the budget
    allows are taken on a day, over any number of restarts, because each portion is noted before it is taken.
    """

    name = SOURCE
    can_wait = True
    one_reader = True

    def __init__(
        self,
        *,
        bearer_token: str,
        rules: Sequence[str] | None,
        wishes: Wishes | None,
        budget: int,
        api: str = "https://api.x.com",
        clock: Clock | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
        silence_s: float = 45.0,
    ) -> None:
        """`rules` is the list of them, or None where `wishes` says how they follow from demand. `budget` is in posts
        a day (UTC). A connection on which no line is completed for `silence_s` is given up.

        Raises `SourceError` where the token can't be one.
        """
        token = bearer_token.strip()
        if not (token and token.isascii() and token.isprintable() and " " not in token):
            raise SourceError("ROOST_INGEST_X_BEARER_TOKEN: not a bearer token (it is empty, or has spaces in it)")
        self._clock = clock or SystemClock()
        self._budget = budget
        self._jitter = jitter
        self._silence_s = silence_s
        self._client = _Client(token, api.rstrip("/"), self._clock)
        self._unreadables = Unreadables(self.name)
        self.report = Report(self.name, clock=self._clock)
        self._rulebook = Rulebook(self._client, self.report, self._clock, self._backoff(), fixed=rules, wishes=wishes)
        self.demand = self._rulebook.demand
        X_BUDGET.set(budget)

    def __repr__(self) -> str:
        return f"<XSource {self.report.state}>"

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        """Posts without end. `cursor` is of no use; `notes` remember the budget. To be read by one at a time."""
        self.report.connecting()
        reading = Reading(
            self._client.listen,
            self._rulebook,
            self.report,
            self._unreadables,
            budget=Budget(self._budget, note=notes.text, now_ms=self._clock.now_ms),
            notes=notes,
            clock=self._clock,
            backoff=self._backoff(),
            silence_s=self._silence_s,
            hide=self._client.hide,
        )
        runner = asyncio.create_task(reading.run())
        runner.add_done_callback(lambda _: reading.handover.close())
        try:
            while (item := await reading.handover.get()) is not None:
                yield item
            await runner
        finally:
            runner.cancel()
            try:
                await asyncio.gather(runner, return_exceptions=True)
                await reading.leave(LEAVE_S)
            finally:
                # Whoever does not read must not go on saying how it was.
                self.report.connecting()

    def _backoff(self) -> Backoff:
        return Backoff(self._clock, LIMITS, jitter=self._jitter)


class _Answer:
    """What tweepy wants of a response."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    async def json(self) -> dict[str, Any]:
        """The object in the body."""
        return self._content


class _Client(AsyncStreamingClient):  # type: ignore[misc]
    """X, as `rulebook` and `reading` need it. Every method raises `Failure`, and none with the token in it."""

    def __init__(self, token: str, api: str, clock: Clock) -> None:
        super().__init__(token, return_type=dict)
        self._api = api
        self._clock = clock
        self._on_open: Callable[[], None] = lambda: None
        self._on_piece: Callable[[bytes], Awaitable[None]]

    async def rules(self) -> list[Mapping[str, object]]:
        """All rules there are."""
        data = (await self.get_rules()).get("data") or []
        if not (isinstance(data, list) and all(isinstance(rule, dict) and "id" in rule for rule in data)):
            raise Failure("X answers with something that is no list of rules", HTTP)
        return data

    async def add(self, values: Sequence[str], *, dry_run: bool = False) -> list[Mapping[str, object]]:
        """Add rules under our tag; returns what X says is wrong with some of them."""
        # aiohttp takes no bool for a parameter.
        options = {"dry_run": "true"} if dry_run else {}
        answer = await self.add_rules([StreamRule(value=value, tag=TAG) for value in values], **options)
        return _errors(hidden(answer, self.hide))

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete the rules with these ids."""
        await self.delete_rules(list(ids))

    async def listen(self, opened: Callable[[], None], take: Callable[[bytes], Awaitable[None]]) -> None:
        """Open the stream once; `take` gets each piece. Returns when X ends it properly."""
        self._on_open, self._on_piece = opened, take
        await self.filter(
            tweet_fields=list(TWEET_FIELDS),
            user_fields=list(USER_FIELDS),
            media_fields=list(MEDIA_FIELDS),
            expansions=list(EXPANSIONS),
        )

    async def request(
        self,
        method: str,
        route: str,
        params: Mapping[str, str] | None = None,
        json: object = None,
        user_auth: bool = False,
    ) -> _Answer:
        """One request and its whole answer: what tweepy's methods for rules are made of."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_S, connect=CONNECT_S)
        failure: Failure
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    method,
                    self._api + route,
                    params=params,
                    json=json,
                    headers=self._headers(),
                    allow_redirects=False,
                ) as response,
            ):
                body = await _beginning(response, MAX_ANSWER_BYTES)
        except _NETWORK_ERRORS as error:
            failure = of_network(error)
        else:
            content = _object(body)
            if 200 <= response.status < 300 and content is not None:
                return _Answer(content)
            if 200 <= response.status < 300:
                failure = Failure(f"X answers {response.status} with something that is no JSON object", HTTP)
            else:
                failure = self._refusal(response, content)
        # Raised here and not above, so that it does not carry the library's error, which knows the headers.
        raise failure

    async def _connect(self, method: str, endpoint: str, params: Mapping[str, str] | None = None) -> None:
        """One connection to the stream; `filter` makes a task of this."""
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S)
        failure: Failure
        try:
            async with (
                # What is packed is not unpacked: a few bytes could become gigabytes.
                aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
                session.request(
                    method,
                    f"{self._api}/2/tweets/{endpoint}/stream",
                    params=params,
                    # Few bytes are saved, and a line would wait for the rest of its compressed block.
                    headers=self._headers() | {"Accept-Encoding": "identity"},
                    allow_redirects=False,
                ) as response,
            ):
                if response.status != 200:
                    failure = self._refusal(response, _object(await _beginning(response, MAX_ERROR_BYTES)))
                elif response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                    failure = Failure("X sends the stream in an encoding that was not asked for", HTTP)
                else:
                    self._on_open()
                    async for piece in response.content.iter_any():
                        await self._on_piece(piece)
                    return
        except _NETWORK_ERRORS as error:
            failure = of_network(error)
        raise failure

    def hide(self, text: str) -> str:
        """`text` without the token, where somebody has put it in."""
        return str(text.replace(self.bearer_token, "[the token]"))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.bearer_token}", "User-Agent": self.user_agent}

    def _refusal(self, response: aiohttp.ClientResponse, content: dict[str, Any] | None) -> Failure:
        # Before anything is cut off what X says, so that no part of the token stays.
        content = hidden(content, self.hide)
        return of_status(
            response.status,
            response.headers,
            now_ms=self._clock.now_ms(),
            complaint=complaint_of(content),
            errors=(*_errors(content), content) if content else (),
        )


async def _beginning(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body, or so many bytes of it."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= most:
            break
    return bytes(body[:most])


def _object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body; None where there is none."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _errors(content: Mapping[str, object]) -> list[Mapping[str, object]]:
    errors = content.get("errors")
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
