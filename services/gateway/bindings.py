"""What the gateway wants of the broker: its one queue, bound once per open room.

`Bindings` owns the set of wanted labels. Whatever happens to a connection, the next one brings a fresh queue that
is bound to exactly these. Binds and unbinds are done by a few workers, each with a channel of its own; a label
always goes to the same one, so that its binds and unbinds keep their order. A worker looks at what is wanted when
the label's turn comes, so a room that comes and goes quickly costs at most what its last state asks for.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable

import structlog

from shared import metrics
from shared.broker import Queue
from shared.labels import Label
from shared.tasks import first_of, forever
from shared.topology import TWEETS_EXCHANGE

log = structlog.get_logger()

CHANNELS = 4
"""Workers. One channel binds 800 to 1,700 times a second; a few of them share the broker's cores."""


class Bindings:
    """The labels that are wanted, and the queue that has them."""

    def __init__(self, pinned: Iterable[Label], *, unbind_after_s: float, released: Callable[[Label], None]) -> None:
        """`pinned` are always wanted. `released` is told of each label that is wanted no more."""
        self._wanted: set[Label] = set(pinned)
        self._unbind_after_s = unbind_after_s
        self._released = released
        self._leaving: dict[Label, asyncio.TimerHandle] = {}
        self._bound: set[Label] = set()
        self._waiting: dict[Label, asyncio.Future[None]] = {}
        self._turns: list[asyncio.Queue[Label]] | None = None

    async def want(self, label: Label) -> None:
        """Want `label` from now on; returns when it is bound, or at once while there is no broker to bind it."""
        if leaving := self._leaving.pop(label, None):
            leaving.cancel()
        self._wanted.add(label)
        if self._turns is None or label in self._bound:
            return
        waiting = self._waiting.get(label)
        if waiting is None:
            waiting = self._waiting[label] = asyncio.get_running_loop().create_future()
            self._take_turn(label)
        await asyncio.shield(waiting)

    def release(self, label: Label) -> None:
        """Want `label` no more, `unbind_after_s` from now if nobody wants it again by then."""
        if label in self._wanted and label not in self._leaving:
            loop = asyncio.get_running_loop()
            self._leaving[label] = loop.call_later(self._unbind_after_s, self._let_go, label)

    def let_go_longest_left(self) -> bool:
        """Let go at once of what has waited longest to be let go; returns whether there was anything."""
        label = next(iter(self._leaving), None)
        if label is None:
            return False
        self._leaving[label].cancel()
        self._let_go(label)
        return True

    def __len__(self) -> int:
        """How many labels are bound at present."""
        return len(self._bound)

    async def keep(self, queues: list[Queue], complete: Callable[[], Awaitable[None]]) -> None:
        """Keep a fresh queue bound to what is wanted, until cancelled or the broker is lost.

        `queues` is the same queue seen from several channels. `complete` is called once all that was wanted at
        the beginning is bound.
        """
        self._turns = [asyncio.Queue() for _ in queues]
        try:
            for label in self._wanted:
                self._take_turn(label)
            all_turns = self._turns

            async def tell_complete() -> None:
                for turns in all_turns:
                    await turns.join()
                await complete()
                await forever()

            await first_of(tell_complete(), *map(self._work, queues, all_turns))
        finally:
            self._turns = None
            self._bound.clear()
            for waiting in self._waiting.values():
                waiting.set_result(None)
            self._waiting.clear()
            metrics.GATEWAY_BINDINGS.set(0)

    def _let_go(self, label: Label) -> None:
        del self._leaving[label]
        self._wanted.discard(label)
        self._released(label)
        if self._turns is not None:
            self._take_turn(label)

    def _take_turn(self, label: Label) -> None:
        assert self._turns is not None
        self._turns[zlib.crc32(label.key.encode()) % len(self._turns)].put_nowait(label)

    async def _work(self, queue: Queue, turns: asyncio.Queue[Label]) -> None:
        while True:
            label = await turns.get()
            if label in self._wanted and label not in self._bound:
                await queue.bind(TWEETS_EXCHANGE, label.key)
                self._bound.add(label)
            elif label not in self._wanted and label in self._bound:
                self._bound.discard(label)
                await queue.unbind(TWEETS_EXCHANGE, label.key)
            if label in self._bound and (waiting := self._waiting.pop(label, None)):
                waiting.set_result(None)
            metrics.GATEWAY_BINDINGS.set(len(self._bound))
            turns.task_done()
