"""Connections to Bluesky's Jetstream, one after the other, from the place where the last one ended."""

from collections.abc import Callable, Sequence

import aiohttp
import structlog

from services.ingest.sources.backoff import Backoff, Growth, Limit
from services.ingest.sources.bluesky_api.cursor import HostClock, Position
from services.ingest.sources.bluesky_api.failures import BehindError, Failure, of_error, of_status
from services.ingest.sources.bluesky_api.handles import Authors
from services.ingest.sources.bluesky_api.hosts import Host
from services.ingest.sources.bluesky_api.payload import COLLECTION, SOURCE, BadRecordError, Message, read_message
from services.ingest.sources.bluesky_api.window import Seen, Window
from services.ingest.sources.pacing import Clock
from services.ingest.sources.report import Report
from services.ingest.sources.times import iso
from services.ingest.sources.unreadable import Unreadables
from shared import metrics
from shared.events import UnreadableError
from shared.tasks import first_of

log = structlog.get_logger()

WANTED_MESSAGE_BYTES = 256 * 1024
"""Hosts are asked to leave out what is larger: a post as an event would not be published either."""
MOST_MESSAGE_BYTES = 1024 * 1024
"""What is larger nevertheless ends the connection."""
PAUSES = Growth(1.0, 60.0)
LIMITS = (Limit(10, 60.0), Limit(60, 15 * 60.0))
"""Attempts to connect, whatever the failures are."""
RAN_WELL_S = 30.0
"""A connection that brought something for so long makes pauses short again."""
SETTLED_S = 3.0
"""After a failure the source is live again when a connection has brought something and stood for so long: a host that
hangs up after each message is away, however often it lets us in."""
CURSOR_INTERVAL_S = 1.0
"""Messages that are none of ours move the cursor for others to see no more often than this."""

_EVER_S = 1e10
"""Nothing is older: three hundred years."""
_TICK_S = 1.0
_BREATH = 50
"""So many messages are read before others get to run."""
_CLOSING_S = 0.1
"""What a host gets to answer our goodbye; there is nothing in it for us."""


class _Connection:
    """What is known of the connection that stands, or is being made."""

    def __init__(self, host: Host, asked_us: int | None, now: float) -> None:
        self.host = host
        self.asked_us = asked_us
        """The cursor that it was asked for, in microseconds of its own clock."""
        self.began = now
        self.first: float | None = None
        """When the first readable message came, and …"""
        self.heard = now
        """… the last one; the beginning, before there was one."""
        self.held_up = False
        """Whether nothing is received because nobody takes what there is: then its silence is ours."""
        self.ahead_told = False


class Stream:
    """Reads one host after the other into a window, without end, whatever happens to them."""

    def __init__(
        self,
        *,
        hosts: Sequence[Host],
        session: aiohttp.ClientSession,
        position: Position,
        window: Window,
        authors: Authors,
        report: Report,
        unreadables: Unreadables,
        clock: Clock,
        jitter: Callable[[float, float], float],
        max_catch_up_s: float,
        silence_s: float,
    ) -> None:
        self._hosts = hosts
        self._session = session
        self._position = position
        self._window = window
        self._authors = authors
        self._report = report
        self._unreadables = unreadables
        self._clock = clock
        self._max_catch_up_us = round(min(max(0.0, max_catch_up_s), _EVER_S) * 1_000_000)
        self._silence_s = silence_s
        self._backoff = Backoff(clock, LIMITS, jitter=jitter)
        self._host_clocks = {host: HostClock() for host in hosts}
        self._not_before: dict[Host, float] = {}
        self._reasons: dict[Host, str] = {}
        self._seen = Seen()
        self._last_put = clock.monotonic() - CURSOR_INTERVAL_S

    async def run(self) -> None:
        """Read, and connect again after each failure; without end."""
        turn = 0
        while True:
            failure = await self._one_connection(self._hosts[turn % len(self._hosts)])
            if not isinstance(failure, BehindError):
                turn += 1
            pause = self._backoff.next_pause_s(PAUSES)
            asked_until = self._not_before.get(self._hosts[turn % len(self._hosts)], 0.0)
            await self._clock.sleep(max(pause, asked_until - self._clock.monotonic()))

    async def _one_connection(self, host: Host) -> Failure:
        """Connect, and read until that ends; says why it has ended."""
        self._leave_out_what_is_too_old()
        host_clock = self._host_clocks[host]
        host_clock.connected()
        connection = _Connection(host, self._position.request_us(host_clock), self._clock.monotonic())
        self._backoff.attempt()
        metrics.SOURCE_CONNECTS.labels(source=SOURCE).inc()
        try:
            await first_of(self._receive(connection), self._watch(connection))
            failure = Failure("the connection ended")  # neither ever returns
        except (Failure, aiohttp.ClientError, OSError) as error:
            failure = of_error(error)
        except Exception as error:  # a mistake of ours must not end the stream
            log.exception("a connection failed in an unforeseen way", source=SOURCE)
            failure = of_error(error)
        self._ended(connection, failure)
        return failure

    def _ended(self, connection: _Connection, failure: Failure) -> None:
        host = connection.host
        if connection.first is not None and connection.heard - connection.began >= RAN_WELL_S:
            self._backoff.worked()
        if failure.at_least_s:
            self._not_before[host] = self._clock.monotonic() + failure.at_least_s
        if isinstance(failure, BehindError):
            log.warning("a host's clock is behind; it is asked for an earlier moment", source=SOURCE, host=host.name)
            return
        if failure.too_large:
            self._unreadables.skip("too_large", f"a message of more than {MOST_MESSAGE_BYTES} bytes")
            if left_out_s := self._position.stuck():
                at_ms = (self._position.at_us or 0) // 1000
                log.warning(
                    "a message is too large to be received: posts are left out to get past it",
                    source=SOURCE,
                    after=iso(at_ms),
                    seconds=left_out_s,
                )
        self._reasons[host] = failure.reason
        shown = [f"{host.name}: {self._reasons[host]}" for host in self._hosts if host in self._reasons]
        self._report.away("; ".join(shown))

    def _leave_out_what_is_too_old(self) -> None:
        now_us = self._clock.now_ms() * 1000
        since_us = now_us - self._max_catch_up_us
        at_us = self._position.at_us
        if at_us is not None and at_us < since_us:
            log.warning(
                "away for longer than is caught up with: posts are left out",
                source=SOURCE,
                after=iso(at_us // 1000),
                until=iso(since_us // 1000),
                seconds=(since_us - at_us) // 1_000_000,
            )
            self._position.move(since_us)

    # One connection

    async def _watch(self, connection: _Connection) -> None:
        """Raise `Failure` when nothing readable has come for too long."""
        while True:
            now = self._clock.monotonic()
            if connection.held_up:
                connection.heard = now
            rest = connection.heard + self._silence_s - now
            if rest <= 0:
                raise Failure(f"nothing came for {self._silence_s:.0f} s")
            if connection.first is not None and now >= connection.first + SETTLED_S:
                self._settled()
            await self._clock.sleep(min(rest, _TICK_S))

    def _settled(self) -> None:
        self._reasons.clear()
        self._report.live()

    async def _receive(self, connection: _Connection) -> None:
        """Connect and receive; ends by raising `Failure` or what aiohttp raises."""
        query = [("wantedCollections", COLLECTION), ("maxMessageSizeBytes", str(WANTED_MESSAGE_BYTES))]
        if connection.asked_us is not None:
            query.append(("cursor", str(connection.asked_us)))
        try:
            opening = self._session.ws_connect(
                connection.host.url.with_query(query),
                max_msg_size=MOST_MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSING_S),
                decode_text=False,
            )
            async with opening as socket:
                self._position.begin(self._clock.now_ms() * 1000)
                await self._receive_all(connection, socket)
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 101:
                raise Failure("it does not speak WebSocket") from None
            raise of_status(error.status, error.headers or {}, now_ms=self._clock.now_ms()) from None

    async def _receive_all(self, connection: _Connection, socket: "aiohttp.ClientWebSocketResponse[bool]") -> None:
        count = 0
        while True:
            if self._window.is_full:
                connection.held_up = True
                await self._window.room()
                connection.held_up = False
                connection.heard = self._clock.monotonic()
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self._read(connection, message.data.encode() if isinstance(message.data, str) else message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                self._unreadables.skip("binary", f"a binary message of {len(message.data)} bytes")
            elif message.type is aiohttp.WSMsgType.ERROR:
                if isinstance(message.data, aiohttp.WebSocketError) and (
                    message.data.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
                ):
                    raise Failure("a message is too large", too_large=True)
                raise Failure("what it sends is not WebSocket")
            else:
                closed = socket.close_code not in (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)
                raise Failure("it closed the connection" if closed else "the connection was cut")
            count += 1
            if count % _BREATH == 0:
                await self._clock.sleep(0)

    def _read(self, connection: _Connection, body: bytes) -> None:
        try:
            message = read_message(body)
        except BadRecordError as error:
            self._unreadables.skip(error.reason, str(error))
            message = error.message
        except UnreadableError as error:
            self._unreadables.skip("bad_message", str(error))
            return
        except Exception as error:  # or it would be met again after each reconnect
            self._unreadables.skip("unforeseen", f"{type(error).__name__}: {error}")
            return
        connection.heard = self._clock.monotonic()
        if connection.first is None:
            connection.first = connection.heard
            if self._report.state == "connecting":
                self._settled()
        self._move(connection, message)
        if message.renamed:
            self._authors.forget(message.did)
        self._hand_on(message, len(body))
        if (
            connection.asked_us is not None
            and message.time_us < connection.asked_us
            and self._host_clocks[connection.host].is_found_behind()
        ):
            raise BehindError("its clock is behind")

    def _move(self, connection: _Connection, message: Message) -> None:
        """Move the cursor to where the message brings us."""
        now_us = self._clock.now_ms() * 1000
        at_us = self._host_clocks[connection.host].believed_us(message.time_us, message.rev_us, now_us)
        if at_us is not None:
            self._position.move(at_us)
        elif not connection.ahead_told:
            connection.ahead_told = True
            log.warning(
                "a host's moments are in the future: by them the cursor is not moved",
                source=SOURCE,
                host=connection.host.name,
                seconds=(message.time_us - now_us) // 1_000_000,
            )

    def _hand_on(self, message: Message, size: int) -> None:
        event = message.event
        if message.key is not None and not self._seen.is_new(message.key):
            metrics.SOURCE_REPEATED.labels(source=SOURCE).inc()
            event = None
        now = self._clock.monotonic()
        if event is None and now < self._last_put + CURSOR_INTERVAL_S:
            return
        self._last_put = now
        self._window.put(event, str(self._position.at_us), size=size if event is not None else 0)
