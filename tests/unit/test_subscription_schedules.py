"""Whatever the order of changes, renderings, subscriptions and failures: every page shows what it should.

Thousands of random schedules, over two gateways with one archive. Each is the same again by its seed:
`ROOST_TEST_SCHEDULE=1234` plays this one alone. Where it fails, all that has happened is printed.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import orjson
import pytest

from shared.events import Action, Destroy, Document, to_document
from tests.support.tweets import tweet
from tests.unit.archive_in_memory import NOW, SECOND
from tests.unit.subscription_clock import LeapingLoop
from tests.unit.subscription_network import SETTLED_AFTER_S, Network
from tests.unit.subscription_pages import CHOICES, QUESTIONS, History, Page, Subscription

CHUNK = 250
ALONE = os.environ.get("ROOST_TEST_SCHEDULE")
SEEDS = range(0, 2500, CHUNK) if ALONE is None else [int(ALONE)]

ACTIVE_S = 5.0
"""For so long things happen."""

TEXTS = ("nfl 1", "nfl 2", "nba", "nfl and nba", "nothing of it")


class Schedule:
    """One world and what happens in it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        is_bounded = self.dice.random() < 0.15
        limits = (self.dice.randint(2, 12), self.dice.randint(1, 4)) if is_bounded else (1000, 1000)
        self.network = Network(self.dice, max_followed=limits[0], max_followed_each=limits[1])
        self.history = History(is_bounded=is_bounded)
        self.trace: list[str] = []
        self.pages: list[Page] = []
        # Few of each, so that pages often have equal subscriptions.
        self._questions = self.dice.sample(QUESTIONS, self.dice.randint(1, 3))
        self._choices = self.dice.sample(CHOICES, self.dice.randint(1, 2))
        self._tasks: list[asyncio.Task[None]] = []
        self._old: list[Document] = []

    async def play(self) -> None:
        dice = self.dice
        for number in range(dice.randrange(3)):
            self._publish_old(f"old{number}")
        steps: list[Callable[[], Awaitable[None]]] = [self._life] * dice.randint(2, 6)
        steps += [self._live] * dice.randint(1, 4)
        steps += dice.choices(
            [self._disconnect_gateway, self._overflow, self._archive_lags], k=dice.choice([0, 0, 1, 2])
        )
        await asyncio.gather(*(step() for step in steps))
        await asyncio.sleep(SETTLED_AFTER_S)
        await asyncio.gather(*self._tasks)
        for page in self.pages:
            page.check()
        for page in self.pages:
            page.disconnect()
        await asyncio.sleep(2.0)
        for gateway in self.network.gateways:
            assert len(gateway.followed) == 0, "nobody is there, and nothing is followed"
            assert not any(gateway.followed.of(id) for id in self.history.lives)
            assert gateway.rooms.all() == [], "and no room is open"

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.network.end()

    def _publish_old(self, id: str) -> None:
        """A document from long ago, that only the archive knows."""
        text = self.dice.choice(TEXTS)
        document = orjson.loads(orjson.dumps(to_document(tweet(text, id=id, mtime=1), NOW - 100 * SECOND)))
        life = [document]
        if self.dice.random() < 0.5:
            changed = document | {"action": "update", "mtime": 2, "seq": NOW - 50 * SECOND}
            self._change(changed)
            life.append(changed)
        self._old.append(life[-1])
        if self.dice.random() < 0.3:
            self._old.pop()
            life.append(orjson.loads(orjson.dumps(to_document(Destroy(id=id, mtime=3), NOW - 40 * SECOND))))
        for one in life:
            self.trace.append(f"  before  {one}")
            self.history.happened(one, -100.0)
            self.network.archive.store(one)

    async def _life(self) -> None:
        """The life of one document."""
        dice = self.dice
        await asyncio.sleep(dice.random() * ACTIVE_S)
        if self._old and dice.random() < 0.3:
            now = self._old.pop()
        else:
            name = dice.choice(["ann", "bob", "cy"])
            urls = dice.choice([(), ("https://example.org/",)])
            id = f"d{len(self.history.lives)}"
            now = to_document(tweet(dice.choice(TEXTS), id=id, mtime=1, screen_name=name, urls=urls), 0)
            self._publish(now)
        for _ in range(dice.choice([0, 0, 1, 2, 3])):
            await asyncio.sleep(dice.choice([0.0, 0.01, 1.0, 2.0]) * dice.random())
            now = dict(now)
            now.update(action=Action.UPDATE.value, mtime=now["mtime"] + 1)
            self._change(now)
            self._publish(now)
        if dice.random() < 0.3:
            await asyncio.sleep(dice.choice([0.0, 0.01, 1.0, 2.0]) * dice.random())
            self._publish(to_document(Destroy(id=now["id"], mtime=now["mtime"] + dice.randrange(2)), 0))

    def _change(self, document: Document) -> None:
        dice = self.dice
        what = dice.randrange(5)
        if what <= 1:
            document["text"] = dice.choice(TEXTS)
        elif what == 2:
            document["urls"] = [] if document["urls"] else ["https://example.org/"]
        elif what == 3:
            document["user"] = document["user"] | {"screen_name": dice.choice(["ann", "bob"])}
        else:
            document["user"] = document["user"] | {"name": f"Name {dice.random()}"}

    def _publish(self, document: Document) -> None:
        document = orjson.loads(orjson.dumps(document | {"seq": self.network.next_seq()}))
        now = asyncio.get_running_loop().time()
        self.trace.append(f"{now:8.3f}  {document}")
        self.history.happened(document, now)
        self.network.publish(document)
        if self.dice.random() < 0.05:
            again = document | {"seq": self.network.next_seq()}
            self.history.read_again(again)
            self.network.publish(again)

    async def _live(self) -> None:
        """The life of one page."""
        dice = self.dice
        page = Page(self.history, len(self.pages))
        page.trace = self.trace
        self.pages.append(page)
        await asyncio.sleep(dice.random() * ACTIVE_S)
        for uid in dice.choice(["a", "b", "ab"]):
            self._render(page, uid)
        for _ in range(dice.choice([1, 1, 2, 3])):
            await asyncio.sleep(dice.choice([0.0, 0.1, 2.0]) * dice.random())
            if not page.is_connected:
                page.connect(dice.choice(self.network.gateways))
                for uid in page.subscriptions:
                    self._subscribe(page, uid)
            await asyncio.sleep(dice.choice([0.0, 0.01, 0.1, 3.0]) * dice.random())
            what = dice.random()
            if what < 0.5:
                page.disconnect()
            elif what < 0.65:
                uid = dice.choice("ab")
                page.unsubscribe(uid)
                if dice.random() < 0.5:
                    self._render(page, uid)
                    self._subscribe(page, uid)
            elif what < 0.8 and page.subscriptions:
                self._subscribe(page, dice.choice(list(page.subscriptions)))
        if not page.is_connected and dice.random() < 0.9:
            page.connect(dice.choice(self.network.gateways))
            for uid in page.subscriptions:
                self._subscribe(page, uid)

    def _render(self, page: Page, uid: str) -> None:
        """A page is made of some documents, as they are now."""
        dice = self.dice
        mine = Subscription(self.history, uid, dice.choice(self._questions), dice.choice(self._choices))
        current = self.history.current()
        shown = [one for one in current if mine.question.matches(one)] if dice.random() < 0.7 else current
        if dice.random() < 0.2:
            shown = dice.sample(shown, len(shown) // 2)
        mine.shown = {one["id"]: one["mtime"] for one in shown}
        if dice.random() < 0.3:
            # Some of it was made long before.
            stale = [one for life in self.history.lives.values() for one in life if one["action"] != "destroy"]
            mine.shown |= {one["id"]: one["mtime"] for one in stale if dice.random() < 0.3}
        mine.seq = max((one["seq"] for one in current), default=0)
        if dice.random() < 0.1:
            # It goes far back.
            mine.seq = NOW - 200 * SECOND
        mine.resumes = dice.random() < 0.7
        page.subscriptions[uid] = mine

    def _subscribe(self, page: Page, uid: str) -> None:
        mine = page.subscriptions[uid]
        since = mine.seq if mine.resumes and mine.seq else None
        self._tasks.append(asyncio.create_task(page.subscribe(uid, since=since)))

    async def _disconnect_gateway(self) -> None:
        gateway = self.dice.choice(self.network.gateways)
        await asyncio.sleep(self.dice.random() * ACTIVE_S)
        self.trace.append("a gateway is cut off")
        await gateway.lose_connection()
        await asyncio.sleep(self.dice.random() * self.dice.choice([0.1, 2.0, 6.0]))
        gateway.connect()

    async def _overflow(self) -> None:
        gateway = self.dice.choice(self.network.gateways)
        await asyncio.sleep(self.dice.random() * ACTIVE_S)
        if gateway.received is not None:
            self.trace.append("a queue overflows")
            gateway.overflow(self.dice.randint(1, 4))

    async def _archive_lags(self) -> None:
        await asyncio.sleep(self.dice.random() * ACTIVE_S)
        self.network.archive.slow_s = self.dice.choice([0.5, 4.0])
        await asyncio.sleep(self.dice.random() * 2)
        self.network.archive.slow_s = 0.0


async def _play(seed: int) -> None:
    schedule = Schedule(seed)
    try:
        await schedule.play()
    except Exception as error:
        told = "\n".join(schedule.trace)
        raise AssertionError(f"schedule {seed}: {error}\n{told}") from error
    finally:
        await schedule.end()


def run(seed: int) -> None:
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(_play(seed))


@pytest.mark.parametrize("first", SEEDS)
def test_every_page_shows_what_it_should_whatever_the_order_of_things(first: int) -> None:
    for seed in range(first, first + CHUNK if ALONE is None else first + 1):
        run(seed)
