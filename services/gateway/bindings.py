"""What the gateway wants of the broker: its one queue, bound once per open room.

`Bindings` owns the set of wanted labels. Whatever happens to a connection, the next one brings a fresh queue that
is bound to exactly these. Binds and unbinds are done by a few workers, each with a channel of its own; a label
always goes to the same one, so that its binds and unbinds keep their order. A worker looks at what is wanted when
the label's turn comes, so a room that comes and goes quickly costs at most what its last state asks for.

Under load: turns wait in memory, without a bound beside that on rooms, and none is lost. A room that somebody waits
for comes first, then what a fresh queue has to have again, then what nobody wants any more: 10,000 rooms that are
left or rebound keep nobody waiting who joins another one. RabbitMQ 3.10 on two cores takes 1,600 binds and 1,800
unbinds a second from a gateway, with 10,000 bound as with none: a fresh queue has 10,000 rooms again after 6 s.
"""

import asyncio
import itertools
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

AUDIT_S = 60.0
AUDIT_LEAST_S = 0.02
"""A binding that went with an exchange which was deleted and made anew is told to nobody. So all are bound again one
by one, in so many seconds or with so long a pause between two; to the broker it is no change, and little work."""

JOINING, REBINDING, LEAVING, AUDITING = range(4)
"""How urgent a turn is: the lowest first."""

_Turns = asyncio.PriorityQueue[tuple[int, int, Label | asyncio.Event]]
"""(urgency, number, label) for one worker; an event in the place of a label is set when its turn comes."""


class Bindings:
    """The labels that are wanted, and the queue that has them."""

    def __init__(
        self, pinned: Iterable[Label], *, unbind_after_s: float, released: Callable[[Label], object]
    ) -> None:
        """`pinned` are always wanted. `released` is told of each label that is wanted no more."""
        self._wanted: set[Label] = set(pinned)
        self._unbind_after_s = unbind_after_s
        self._released = released
        self._leaving: dict[Label, asyncio.TimerHandle] = {}
        self._bound: set[Label] = set()
        self._waiting: dict[Label, asyncio.Future[None]] = {}
        self._turns: list[_Turns] | None = None
        self._numbers = itertools.count()

    async def want(self, label: Label) -> None:
        """Want `label` from now on; returns when it is bound, or at once while there is no broker to bind it.

        It returns also when the label has been let go before its turn came: whoever waited has left again.
        """
        if leaving := self._leaving.pop(label, None):
            leaving.cancel()
        self._wanted.add(label)
        if self._turns is None or label in self._bound:
            return
        waiting = self._waiting.get(label)
        if waiting is None:
            waiting = self._waiting[label] = asyncio.get_running_loop().create_future()
            self._take_turn(label, JOINING)
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
        all_turns: list[_Turns] = [asyncio.PriorityQueue() for _ in queues]
        self._turns = all_turns
        try:
            for label in self._wanted:
                self._take_turn(label, REBINDING)
            # Not when all turns are over: while rooms come and go, there is always one left.
            rebound = [asyncio.Event() for _ in all_turns]
            for turns, event in zip(all_turns, rebound, strict=True):
                turns.put_nowait((REBINDING, next(self._numbers), event))

            async def tell_complete() -> None:
                for event in rebound:
                    await event.wait()
                await complete()
                await forever()

            await first_of(tell_complete(), self._audit(), *map(self._work, queues, all_turns))
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
            self._take_turn(label, LEAVING)

    def _take_turn(self, label: Label, urgency: int) -> None:
        assert self._turns is not None
        turns = self._turns[zlib.crc32(label.key.encode()) % len(self._turns)]
        turns.put_nowait((urgency, next(self._numbers), label))

    async def _audit(self) -> None:
        while True:
            if not self._bound:
                await asyncio.sleep(AUDIT_S)
            for label in list(self._bound):
                await asyncio.sleep(max(AUDIT_S / (len(self._bound) or 1), AUDIT_LEAST_S))
                self._take_turn(label, AUDITING)

    async def _work(self, queue: Queue, turns: _Turns) -> None:
        while True:
            urgency, _, label = await turns.get()
            if isinstance(label, asyncio.Event):
                label.set()
                continue
            if label in self._wanted and label not in self._bound:
                await queue.bind(TWEETS_EXCHANGE, label.key)
                self._bound.add(label)
            elif label not in self._wanted and label in self._bound:
                self._bound.discard(label)
                await queue.unbind(TWEETS_EXCHANGE, label.key)
            elif urgency == AUDITING and label in self._bound:
                await queue.bind(TWEETS_EXCHANGE, label.key)
            # Wanted again while it was being unbound, it has another turn, and whoever waits, waits for that.
            if (label in self._bound or label not in self._wanted) and (waiting := self._waiting.pop(label, None)):
                waiting.set_result(None)
            metrics.GATEWAY_BINDINGS.set(len(self._bound))
