"""What an ingest has to have again after a restart, kept in the broker, so that ingest needs no disk.

One durable queue of length one for each source: `ingest.state.<source>`. Its one message is the state; whoever
consumes it, exclusively, has the source to itself. So a second ingest of the same source waits, and takes over with
the last state when the first one is gone.
"""

import asyncio
from collections.abc import Callable
from typing import Self

import msgspec
import structlog

from services.ingest.present import Present
from shared.broker import BrokerLostError, Channel, Connection, Message, Queue, RefusedError, UnroutableError
from shared.topology import STATE_EXCHANGE

log = structlog.get_logger()

TYPE = "state"
"""AMQP `type` property of these messages."""

LOOK_AGAIN_S = 1.0
"""How often an ingest that waits looks whether the source is free."""

REFUSED_PAUSE_S = 0.5


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept. JSON on the broker, to be read by people too."""

    owner: str = ""
    """The ingest that wrote it: a random name for each process."""
    seq: int = 0
    """The last number given to an event, or a little earlier."""
    published: int = 0
    """The last number up to which all is confirmed, or a little earlier."""
    cursor: str | None = None
    """Everything up to here is confirmed; the source goes on from it."""
    notes: str = ""
    """What the source itself wants to have again."""


class Hold:
    """The state of one source while this connection has it, and nobody else."""

    def __init__(self, channel: Channel, source: str) -> None:
        """See `take`."""
        self.state = State()
        self._channel = channel
        self._source = source
        self._queue: Queue | None = None
        self._newest: Message | None = None
        self._received = 0
        self._arrived = asyncio.Event()

    @classmethod
    async def take(cls, connection: Connection, source: str, *, waiting: Callable[[], None]) -> Self:
        """Have a source to oneself for as long as `connection` lives.

        Waits while another ingest has it, and calls `waiting` each time it looks. Raises `InUseError` where another
        one was quicker.
        """
        hold = cls(await connection.channel(confirms=True), source)
        await hold._take(waiting)
        return hold

    async def store(self, state: State) -> None:
        """Replace the state; returns when the broker has it. Raises `BrokerLostError`."""
        while True:
            try:
                await self._channel.publish(
                    STATE_EXCHANGE,
                    msgspec.json.encode(state),
                    routing_key=self._source,
                    type=TYPE,
                    content_type="application/json",
                    persistent=True,
                    to_some_queue=True,
                )
                return
            except RefusedError as error:
                log.warning("the broker does not take the state, trying again until it does", reason=str(error))
                if isinstance(error, UnroutableError):
                    # Somebody has undone the binding.
                    await self._bind()
                await asyncio.sleep(REFUSED_PAUSE_S)

    async def _take(self, waiting: Callable[[], None]) -> None:
        self._queue = queue = await self._channel.declare_last_value_queue(f"{STATE_EXCHANGE}.{self._source}")
        await self._bind()
        while (depth := await queue.depth()).consumers:
            waiting()
            await asyncio.sleep(LOOK_AGAIN_S)
        if not depth.messages:
            # The first ingest of this source ever. From here on there is always a message to wait for.
            await self.store(State())
        await queue.consume(self._on_message, exclusive=True)
        while self._received < max(1, depth.messages):
            self._arrived.clear()
            await self._arrived.wait()

    async def _bind(self) -> None:
        if self._queue is not None:
            await self._queue.bind(STATE_EXCHANGE, self._source)

    async def _on_message(self, message: Message) -> None:
        # The newest stays unacknowledged for as long as it is the newest: so it is on the broker whatever happens.
        older, self._newest = self._newest, message
        self._received += 1
        self.state = _read(message.body)
        self._arrived.set()
        if older is not None:
            await older.ack()


class Keeper:
    """The state in memory, for the parts that change it; it outlives connections."""

    def __init__(self, owner: str) -> None:
        """`owner` is the name of this process."""
        self.state = State(owner=owner)
        self._hold: Present[Hold] = Present()
        self._writing = asyncio.Lock()
        self._changes = self._stored = 0

    @property
    def text(self) -> str:
        """The notes of the source (`services.ingest.sources.Notes`)."""
        return self.state.notes

    async def keep(self, text: str) -> None:
        """Replace the notes of the source; returns when the broker has them."""
        await self._store(notes=text)

    async def keep_place(self, seq: int, published: int, cursor: str | None) -> None:
        """Note how far the source is read and confirmed; returns when the broker has it."""
        await self._store(seq=seq, published=published, cursor=cursor)

    def is_others(self, hold: Hold) -> bool:
        """Whether somebody else has written the state since. An empty one is nobody's: what we know is better."""
        return hold.state.owner not in ("", self.state.owner)

    async def adopt(self, hold: Hold) -> None:
        """Go on with this hold, and with the state of somebody else if it is one."""
        if self.is_others(hold):
            self.state = msgspec.structs.replace(hold.state, owner=self.state.owner)
        await hold.store(self.state)
        self._hold.set(hold)

    def lose(self) -> None:
        """The hold is gone with its connection."""
        self._hold.clear()

    async def _store(self, **changes: int | str | None) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        self._changes += 1
        change = self._changes
        while self._stored < change:
            hold = await self._hold.get()
            async with self._writing:
                if self._stored >= change:
                    return
                newest = self._changes
                try:
                    await hold.store(self.state)
                except BrokerLostError:
                    self._hold.clear(hold)
                else:
                    self._stored = newest


def _read(body: bytes) -> State:
    try:
        return msgspec.json.decode(body, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Not ours: better to begin anew than not at all.
        log.warning("the state kept in the broker can't be read, beginning anew", reason=str(error))
        return State()
