"""The source `bluesky`: all public posts of Bluesky, live, from the hosts of its Jetstream.

It needs no account. What is missed while ingest is away is caught up with, as far back as hosts keep it (a day or
so) and as the operator wants it.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence

import aiohttp
import structlog

from services.ingest.sources import Item, Notes
from services.ingest.sources.bluesky_api.cursor import MOST_AHEAD_S, Position
from services.ingest.sources.bluesky_api.failures import Failure
from services.ingest.sources.bluesky_api.handles import Authors
from services.ingest.sources.bluesky_api.hosts import read_host
from services.ingest.sources.bluesky_api.payload import SOURCE
from services.ingest.sources.bluesky_api.stream import Stream
from services.ingest.sources.bluesky_api.window import Window
from services.ingest.sources.pacing import Clock, SystemClock
from services.ingest.sources.report import Report
from services.ingest.sources.unreadable import Unreadables
from shared.demand import Demand
from shared.tasks import together

log = structlog.get_logger()

USER_AGENT = "Roost"
_BREATH = 100
"""So many items are handed out before others get to run."""


class BlueskySource:
    """Posts of Bluesky with their edits and deletions, each at least once, in the order in which a host sends them.

    The cursor is a moment of a host's clock in microseconds since the epoch, as decimal digits. An item's cursor
    never lies before that of the item before it.

    It can wait: a host cuts off whoever does not read, and is then asked for what came meanwhile.
    """

    name = SOURCE
    can_wait = True
    one_reader = False
    demand: Demand | None = None

    def __init__(
        self,
        *,
        hosts: Sequence[str],
        api: str,
        max_catch_up_s: float,
        clock: Clock | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
        silence_s: float = 30.0,
    ) -> None:
        """`hosts` are base URLs (`wss://…`), tried in turn; `api` is where authors are looked up (`https://…`).

        Of what came while nobody read, the last `max_catch_up_s` seconds are caught up with. A host that sends
        nothing readable for `silence_s` seconds is left.

        Raises `SourceError` for a host that is no address.
        """
        self._hosts = tuple(map(read_host, dict.fromkeys(hosts)))
        self._api = api
        self._max_catch_up_s = max_catch_up_s
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._silence_s = silence_s
        self._unreadables = Unreadables(SOURCE)
        self.report = Report(SOURCE, clock=self._clock)

    async def read(self, cursor: str | None, notes: Notes) -> AsyncGenerator[Item, None]:
        """Everything from just before `cursor` on, or from now on without one. Never ends and never raises.

        A few items carry only a cursor: what came was no post, or one that was read before.
        """
        self.report.connecting()
        clock = self._clock
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            # Times are measured by our own clock, and are not those of a whole download.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            trace_configs=[_staying()],
        )
        authors = Authors(api=self._api, session=session, clock=clock, jitter=self._jitter)
        window = Window(authors, clock)
        stream = Stream(
            hosts=self._hosts,
            session=session,
            position=Position(self._start_us(cursor)),
            window=window,
            authors=authors,
            report=self.report,
            unreadables=self._unreadables,
            clock=clock,
            jitter=self._jitter,
            max_catch_up_s=self._max_catch_up_s,
            silence_s=self._silence_s,
        )
        work = asyncio.create_task(together(stream.run(), authors.run(), window.run()))
        work.add_done_callback(window.break_off)
        try:
            count = 0
            while True:
                yield await window.take()
                count += 1
                if count % _BREATH == 0:
                    await clock.sleep(0)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await session.close()
            # Whoever reads it no more knows nothing of it: it must not go on saying that it is live.
            self.report.connecting()

    def _start_us(self, cursor: str | None) -> int | None:
        """The place that a kept cursor names."""
        if cursor is None:
            return None
        now_us = self._clock.now_ms() * 1000
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
            log.warning("the kept cursor is none; reading from now on", source=SOURCE, cursor=cursor[:40])
            return None
        if int(cursor) > now_us + MOST_AHEAD_S * 1_000_000:
            log.warning("the kept cursor is in the future; reading from now on", source=SOURCE, cursor=cursor)
            return now_us
        return int(cursor)


def _staying() -> aiohttp.TraceConfig:
    """Makes a redirect a failure: a host or a lookup could lead to any server that this machine can reach, itself
    included. For a WebSocket aiohttp has no other way.
    """

    async def refuse(_: object, __: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:
        redirect.response.close()
        raise Failure("it redirects", status=redirect.response.status)

    staying = aiohttp.TraceConfig()
    staying.on_request_redirect.append(refuse)
    return staying
