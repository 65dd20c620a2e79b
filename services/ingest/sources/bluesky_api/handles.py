"""Who wrote it: posts on Bluesky come with their author's permanent id (DID); the handle has to be looked up.

That is done for many at once and one request at a time, is remembered, and never holds up a post for long: whoever
waits does so only while there is hope.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard
from urllib.parse import quote

import aiohttp
import msgspec
import structlog
import yarl

from services.ingest.sources.backoff import Backoff, Growth, Limit
from services.ingest.sources.bluesky_api.failures import Failure, of_error, of_status
from services.ingest.sources.bluesky_api.payload import Author, is_did, valid_handle
from services.ingest.sources.pacing import Clock
from shared.metrics import BLUESKY_HANDLES
from shared.tasks import first_of

log = structlog.get_logger()

BATCH = 25
"""Authors in one request; Bluesky takes no more."""
INTERVAL_S = 0.2
"""Time from one request to the next."""
PATIENCE_S = 5.0
"""An answer that takes longer is none."""
REMEMBERED = 50_000
KNOWN_FOR_S = 24 * 3600.0
UNKNOWN_FOR_S = 600.0
"""After so long an author whom Bluesky could not name is asked for again."""
MOST_WANTED = 1000
"""Authors to be looked up; when there are more, those that have waited longest are shown by their DID."""
MOST_ANSWER_BYTES = 4 * 1024 * 1024
MOST_NAME_CHARACTERS = 640
MOST_AVATAR_CHARACTERS = 2000
"""An address that is longer is none: it is remembered with its author, and goes with each of the posts."""

_PAUSES = Growth(1.0, 60.0)
_LIMITS = (Limit(300, 60.0),)
"""Requests, those that succeed among them."""

Waiter = asyncio.Future[Author | None]


class Authors:
    """The authors that are known, and a task that asks for those that are not."""

    def __init__(
        self, *, api: str, session: aiohttp.ClientSession, clock: Clock, jitter: Callable[[float, float], float]
    ) -> None:
        """`api` is the base URL of a Bluesky AppView."""
        self._url = f"{api.rstrip('/')}/xrpc/app.bsky.actor.getProfiles"
        self._session = session
        self._clock = clock
        self._cache: OrderedDict[str, tuple[Author | None, float]] = OrderedDict()
        self._wanted: OrderedDict[str, list[Waiter]] = OrderedDict()
        self._asked: dict[str, list[Waiter]] = {}
        self._smaller: list[list[str]] = []
        self._wake = asyncio.Event()
        self._backoff = Backoff(clock, _LIMITS, jitter=jitter)
        self._resting = False
        self._told = ""

    def author(self, did: str) -> Waiter | Author | None:
        """The author, None where there is no hope for a name at present, or a future that will be one of the two."""
        found = self._cache.get(did)
        now = self._clock.monotonic()
        if found is not None and found[1] > now:
            self._cache.move_to_end(did)
            BLUESKY_HANDLES.labels(outcome="failed" if found[0] is None else "hit").inc()
            return found[0]
        if self._resting:
            BLUESKY_HANDLES.labels(outcome="failed").inc()
            self._want(did)  # for the next post
            return None
        waiter: Waiter = asyncio.get_running_loop().create_future()
        if did in self._asked:
            self._asked[did].append(waiter)
        else:
            self._want(did).append(waiter)
        return waiter

    def forget(self, did: str) -> None:
        """What is known of the account may be true no longer; what is being asked about it is asked again."""
        self._cache.pop(did, None)
        if did in self._asked:
            self._want(did).extend(self._asked.pop(did))

    def lapse(self, waiter: Waiter) -> None:
        """Whoever waits there has waited long enough."""
        _tell([waiter], None)

    async def run(self) -> None:
        """Look up whoever is wanted, without end."""
        while True:
            if not (self._wanted or self._smaller):
                self._wake.clear()
                await self._wake.wait()
            began = self._clock.monotonic()
            pause = await self._ask(self._take())
            if pause:
                self._resting = True
                self._give_up()
                await self._clock.sleep(pause)
                self._resting = False
            else:
                await self._clock.sleep(max(0.0, began + INTERVAL_S - self._clock.monotonic()))

    def _want(self, did: str) -> list[Waiter]:
        waiters = self._wanted.setdefault(did, [])
        self._wake.set()
        while len(self._wanted) > MOST_WANTED:
            _, dropped = self._wanted.popitem(last=False)
            _tell(dropped, None)
        return waiters

    def _take(self) -> list[str]:
        """Whom to ask for next: the newest, whose posts still wait, before those whose posts are gone already."""
        if self._smaller:
            return self._smaller.pop()
        batch: list[str] = []
        while self._wanted and len(batch) < BATCH:
            did, waiters = self._wanted.popitem()
            self._asked[did] = waiters
            batch.append(did)
        return batch

    async def _ask(self, batch: list[str]) -> float:
        """Ask for the authors of a batch; seconds to pause if that failed."""
        self._backoff.attempt()
        failure: Failure | None = None
        try:
            profiles = await self._profiles(batch)
        except Failure as error:
            failure = error
        except Exception as error:  # whatever an answer does to us, the next one may be better
            failure = of_error(error)
        if failure is None:
            self._backoff.worked()
            self._told = ""
            for did in batch:
                self._learn(did, profiles.get(did))
            return 0.0
        if failure.status == 400 and len(batch) > 1:
            # One of them is bad, and spoils it for the others.
            half = len(batch) // 2
            self._smaller += [batch[:half], batch[half:]]
            return 0.0
        if failure.status in (400, 404):
            for did in batch:
                self._learn(did, None)
            return 0.0
        for did in batch:
            _tell(self._asked.pop(did, []), None)
        if failure.reason != self._told:
            self._told = failure.reason
            log.warning("authors can't be looked up; they are shown by their ids", reason=failure.reason)
        return self._backoff.next_pause_s(_PAUSES, at_least_s=failure.at_least_s)

    async def _profiles(self, batch: list[str]) -> dict[str, Author]:
        found: dict[str, Author] = {}

        async def ask() -> None:
            query = "&".join(f"actors={quote(did, safe=':')}" for did in batch)
            url = yarl.URL(f"{self._url}?{query}", encoded=True)
            async with self._session.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise of_status(answer.status, answer.headers, now_ms=self._clock.now_ms())
                body = await answer.content.read(MOST_ANSWER_BYTES)
                while len(body) < MOST_ANSWER_BYTES and (more := await answer.content.read(MOST_ANSWER_BYTES)):
                    body += more
            found.update(read_profiles(body))

        async def lose_patience() -> None:
            await self._clock.sleep(PATIENCE_S)
            raise Failure("no answer in time")

        await first_of(ask(), lose_patience())
        return found

    def _learn(self, did: str, author: Author | None) -> None:
        if did not in self._asked:
            return  # forgotten meanwhile: the answer may be older than that
        known_for = UNKNOWN_FOR_S if author is None else KNOWN_FOR_S
        self._cache[did] = (author, self._clock.monotonic() + known_for)
        self._cache.move_to_end(did)
        while len(self._cache) > REMEMBERED:
            self._cache.popitem(last=False)
        _tell(self._asked.pop(did), author)

    def _give_up(self) -> None:
        """Nobody waits while there is no hope."""
        for waiters in (*self._wanted.values(), *self._asked.values()):
            _tell(waiters, None)
            waiters.clear()


def read_profiles(body: bytes) -> dict[str, Author]:
    """The authors in an answer, by DID, without those that can't be read; raises `Failure` where it is none."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure("the answer is not JSON") from None
    profiles = answer.get("profiles") if isinstance(answer, dict) else None
    if not isinstance(profiles, list):
        raise Failure("the answer has no profiles")
    return {did: author for did, author in map(_read_profile, profiles[:BATCH]) if author is not None}


def _read_profile(profile: object) -> tuple[str, Author | None]:
    fields: Mapping[str, Any] = profile if isinstance(profile, dict) else {}
    did, handle = fields.get("did"), valid_handle(fields.get("handle"))
    if not isinstance(did, str) or not is_did(did) or handle is None:
        return "", None
    name, avatar = fields.get("displayName"), fields.get("avatar")
    return did, Author(
        handle=handle,
        name=name.strip()[:MOST_NAME_CHARACTERS] or None if isinstance(name, str) else None,
        avatar=avatar if _is_avatar(avatar) else None,
    )


def _is_avatar(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.startswith("https://") and len(value) <= MOST_AVATAR_CHARACTERS


def _tell(waiters: list[Waiter], author: Author | None) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(author)
            BLUESKY_HANDLES.labels(outcome="failed" if author is None else "found").inc()
