"""The archive as a gateway sees it: what it is asked, whether it is there, and how long one waits for it."""

import asyncio
import contextlib
import math
import secrets
import uuid
from typing import Any, NamedTuple

import structlog

from shared import metrics
from shared.broker import BrokerLostError, Channel, Message, NotFoundError, UnroutableError, connect
from shared.events import UnreadableError
from shared.history import (
    MARK_KEY,
    MARK_TYPE,
    QUERY_KEY,
    QUERY_TYPE,
    Answer,
    Query,
    StatesQuery,
    pack,
    unpack_answer,
)
from shared.tasks import first_of, forever
from shared.topology import ANSWERS_EXCHANGE, ARCHIVE_EXCHANGE

log = structlog.get_logger()

ANSWER_WITHIN_S = 2.0
"""An archive that answers takes milliseconds. One that has answered nothing for so long is asked whether it is there,
and is away if it does not answer that within as long again."""

QUERY_WITHIN_S = 10.0
"""Beyond that a single query is given up, also of an archive that is there."""

MARK_AGAIN_S = 10.0
"""A mark waits behind all tweets that the archive has yet to store, and may be lost with the oldest of them: then
there is another one. Whichever is answered first is good for those before it, too."""

PROBE_EVERY_S = 0.5
"""How often an archive that is away is looked for."""

FIRST_ANSWER_WITHIN_S = 1.0
"""How long a gateway that has just started takes to know whether there is an archive at all."""

MAX_UNDER_WAY = 16
"""Queries at the same time; the others wait here."""

RETRY_S = 1.0
"""Pause before a connection that failed by itself is opened again."""


class NoArchiveError(Exception):
    """The archive is not there, or can't answer."""


class _Request(NamedTuple):
    key: str
    type: str
    body: bytes
    number: str


class History:
    """Asks the archive. A gateway works without one; then nobody waits for it."""

    def __init__(self) -> None:
        self._present = asyncio.Event()
        # Set as soon as the broker could be asked whether there is one.
        self._inquired = asyncio.Event()
        self._expected = False
        self._away_since = -math.inf
        self._heard_at = -math.inf
        self.newest: int | None = None
        """The greatest `seq` that the archive has spoken of."""
        self._outgoing: asyncio.Queue[_Request] | None = None
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._turns = asyncio.Semaphore(MAX_UNDER_WAY)
        self._marking: list[asyncio.Future[int]] = []
        self._marker: asyncio.Task[None] | None = None

    async def listen(self, amqp_url: str) -> None:
        """Be connected, until cancelled.

        On a connection of its own: a broker that raises an alarm blocks those that publish, and one that lacks the
        exchanges closes them. Live tweets do not need the archive.
        """
        told = ""
        while True:
            try:
                await self._session(amqp_url)
            except BrokerLostError as error:
                if str(error) != told:
                    told = str(error)
                    log.warning(_why_not(error), reason=told)
            await asyncio.sleep(RETRY_S)

    async def here(self, patience_s: float) -> bool:
        """Whether the archive is there, or comes back within so many seconds of when it was heard last."""
        if not self._inquired.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._inquired.wait(), patience_s)
        while not self._present.is_set():
            # A gateway that has just started does not know yet whether an archive is to be expected.
            left_s = self._away_since + (patience_s if self._expected else FIRST_ANSWER_WITHIN_S) - _now()
            if left_s <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._present.wait(), left_s)
        return True

    @property
    def expected(self) -> bool:
        """Whether there was an archive before, so that it is worth waiting for."""
        return self._expected

    async def ask(self, query: Query) -> Answer:
        """The answer to a query, from what the archive has now; raises `NoArchiveError`."""
        async with self._turns:
            if not self._present.is_set():
                raise NoArchiveError("the archive is away")
            metrics.GATEWAY_ASKED.labels(what=str(query.__struct_config__.tag)).inc()
            return await self._request(QUERY_KEY, QUERY_TYPE, pack(query), QUERY_WITHIN_S)

    async def caught_up(self) -> int:
        """Wait until the archive has all that ingest had published before this call; raises `NoArchiveError`.

        Returns the newest `seq` that it has then. However many wait, one mark at a time is under way.
        """
        if not self._present.is_set():
            raise NoArchiveError("the archive is away")
        waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._marking.append(waiting)
        if self._marker is None or self._marker.done():
            self._marker = asyncio.create_task(self._send_marks())
        return await waiting

    async def _send_marks(self) -> None:
        while self._marking:
            # Those that come from now on need a later mark.
            taken, self._marking = self._marking, []
            marks: set[asyncio.Future[Answer]] = set()
            try:
                while not any(mark.done() for mark in marks):
                    metrics.GATEWAY_ASKED.labels(what=MARK_TYPE).inc()
                    marks.add(self._send_off(MARK_KEY, MARK_TYPE, b""))
                    await asyncio.wait(marks, timeout=MARK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
                complete_to = next(mark for mark in marks if mark.done()).result().complete_to
            except NoArchiveError as error:
                for waiting in taken:
                    if not waiting.done():
                        waiting.set_exception(error)
            else:
                for waiting in taken:
                    if not waiting.done():
                        waiting.set_result(complete_to)
            finally:
                for mark in marks:
                    # Those that are answered later are nobody's.
                    if not mark.cancel() and not mark.cancelled():
                        mark.exception()

    async def _request(self, key: str, type: str, body: bytes, within_s: float) -> Answer:
        try:
            answer = await asyncio.wait_for(self._send_off(key, type, body), within_s)
        except TimeoutError:
            raise NoArchiveError("the archive does not answer") from None
        if answer.error is not None:
            raise NoArchiveError(answer.error)
        return answer

    def _send_off(self, key: str, type: str, body: bytes) -> asyncio.Future[Answer]:
        """Ask without waiting for the answer; raises `NoArchiveError` where there is no connection to ask by."""
        if self._outgoing is None:
            raise NoArchiveError("there is no connection to the archive")
        # Nobody else on the broker shall be able to answer in the place of the archive.
        number = secrets.token_hex(12)
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        waiting.add_done_callback(lambda _: self._waiting.pop(number, None))
        self._outgoing.put_nowait(_Request(key, type, body, number))
        return waiting

    async def _session(self, amqp_url: str) -> None:
        async with connect(amqp_url, name="gateway, of the archive") as connection:
            name = f"gateway.answers.{uuid.uuid4().hex}"
            queue = await (await connection.channel()).declare_exclusive_queue(name)
            await queue.bind(ANSWERS_EXCHANGE, name)
            await queue.consume(self._answered, ack=False)
            publishing = await connection.channel()
            outgoing = self._outgoing = asyncio.Queue()
            try:
                await first_of(
                    connection.lost(),
                    self._inquire(await connection.channel(confirms=True)),
                    connection.keep_bound((name, ANSWERS_EXCHANGE, name)),
                    self._send(outgoing, publishing, name),
                    self._look_for_it(),
                )
            finally:
                self._outgoing = None
                self._away()

    async def _inquire(self, channel: Channel) -> None:
        """Find out whether an archive has left its queue: then there was one, and it may be starting as we are."""
        with contextlib.suppress(UnroutableError):
            nobody = pack(StatesQuery(ids=()))
            await channel.publish(
                ARCHIVE_EXCHANGE, nobody, routing_key=QUERY_KEY, type=QUERY_TYPE, to_some_queue=True
            )
            self._expected = True
        if not self._inquired.is_set():
            self._away_since = _now()
            self._inquired.set()
        await forever()

    async def _send(self, outgoing: asyncio.Queue[_Request], channel: Channel, reply_to: str) -> None:
        # A task of its own: who gives up waiting must not break off a publish, and with it the channel.
        while True:
            key, type, body, number = await outgoing.get()
            await channel.publish(
                ARCHIVE_EXCHANGE, body, routing_key=key, type=type, reply_to=reply_to, correlation_id=number
            )

    async def _look_for_it(self) -> None:
        while True:
            silent = bool(self._waiting) and self._heard_at < _now() - ANSWER_WITHIN_S
            if silent or not self._present.is_set():
                try:
                    await self._request(QUERY_KEY, QUERY_TYPE, pack(StatesQuery(ids=())), ANSWER_WITHIN_S)
                except NoArchiveError as error:
                    # One that is there and can't read its disk is of no use either.
                    if self._present.is_set():
                        log.warning("the archive is away", reason=str(error))
                    self._away()
                else:
                    self._found()
            await asyncio.sleep(PROBE_EVERY_S)

    def _found(self) -> None:
        if not self._present.is_set():
            log.info("the archive is there")
            self._present.set()
            self._expected = True
            metrics.GATEWAY_ARCHIVE.set(1)

    async def _answered(self, message: Message) -> None:
        self._heard_at = _now()
        waiting = self._waiting.get(message.correlation_id)
        if waiting is None or waiting.done():
            return
        try:
            answer = unpack_answer(message.body)
        except UnreadableError as error:
            waiting.set_exception(NoArchiveError(f"its answer can't be read: {error}"))
        else:
            self.newest = max(self.newest or 0, answer.complete_to) or None
            waiting.set_result(answer)

    def _away(self) -> None:
        if self._present.is_set():
            self._present.clear()
            self._away_since = _now()
            metrics.GATEWAY_ARCHIVE.set(0)
        marking, self._marking = self._marking, []
        waiting: list[asyncio.Future[Any]] = [*self._waiting.values(), *marking]
        for one in waiting:
            if not one.done():
                one.set_exception(NoArchiveError("the archive is away"))


def _why_not(error: BrokerLostError) -> str:
    if isinstance(error, NotFoundError):
        return "the broker lacks the archive's exchanges: load deploy/rabbitmq/definitions.json"
    return "the archive can't be asked"


def _now() -> float:
    return asyncio.get_running_loop().time()
