"""Whoever opens a room sees its last tweets at once, and after any break gets what was missed, or is told."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aio_pika
import pytest

from services.gateway.app import PREFETCH, GatewayApp
from services.gateway.catchup import OVERLAP_US
from services.gateway.history import FIRST_ANSWER_WITHIN_S
from shared.topology import ROUTER_QUEUE
from tests.support.archive import archive
from tests.support.broker import Broker
from tests.support.browsers import Client, browser
from tests.support.exchange import publish, publish_one_by_one
from tests.support.management import Policy
from tests.support.proxy import proxy
from tests.support.services import gateway, metric, router
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually


def numbers(client: Client, room: str = "nfl") -> list[int]:
    """The numbers at the end of the tweets of a room, in the order of their coming."""
    return [int(text.split()[-1]) for text in client.texts(room)]


def last(client: Client, room: str = "nfl") -> int:
    """The greatest `seq` that came from a room."""
    return max(int(document["seq"]) for name, document, of in client.events if of == room and name != "destroyTweet")


def held(client: Client, room: str = "nfl") -> dict[str, int]:
    """What a page holds, as it says when it comes back."""
    return {
        document["id"]: document["mtime"]
        for name, document, of in client.events
        if of == room and name != "destroyTweet"
    }


async def publish_numbered(broker: Broker, begin: int, end: int, text: str = "nfl") -> None:
    await publish(broker, *(tweet(f"{text} {number}") for number in range(begin, end)))


async def knows_archive(app: GatewayApp) -> None:
    await eventually(app._history._present.is_set, what="the gateway knows of the archive")


@asynccontextmanager
async def stage(broker: Broker, folder: Path) -> AsyncIterator[GatewayApp]:
    """A router, an archive and a gateway that knows of it."""
    async with router(broker), archive(broker, folder), gateway(broker) as app:
        await knows_archive(app)
        yield app


@asynccontextmanager
async def deaf_router(broker: Broker) -> AsyncIterator[list[bytes]]:
    """A router that takes every batch and publishes nothing; yields what it took."""
    taken: list[bytes] = []

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        taken.append(message.body)

    connection = await aio_pika.connect(broker.amqp_url("router"))
    async with connection:
        queue = await (await connection.channel()).get_queue(ROUTER_QUEUE, ensure=False)
        await queue.consume(take, no_ack=True)
        yield taken


class TestArriving:
    async def test_the_last_tweets_come_oldest_first_then_what_comes(self, broker: Broker, tmp_path: Path) -> None:
        async with stage(broker, tmp_path) as app:
            await publish_numbered(broker, 0, 60)
            await publish_numbered(broker, 100, 130, "nothing of it")
            async with browser(app.port) as client:
                answer = await client.call("subscribe", {"room": "NFL", "backfill": 50})
                await eventually(lambda: len(client.texts("nfl")) >= 50)
                assert answer.pop("seq") >= last(client), "from here on it asks if it has to come back"
                assert answer == {"room": "nfl", "label": "term.nfl", "url": "/nfl"}
                assert numbers(client) == list(range(10, 60))
                await publish_numbered(broker, 60, 62)
                await eventually(lambda: numbers(client) == list(range(10, 62)))
                assert client.gaps == []

    async def test_a_room_that_somebody_is_in_is_answered_from_memory(self, broker: Broker, tmp_path: Path) -> None:
        async with stage(broker, tmp_path) as app, browser(app.port) as first:
            await publish_numbered(broker, 0, 20)
            await first.call("subscribe", {"room": "nfl", "backfill": 50})
            await publish_numbered(broker, 20, 30)
            await eventually(lambda: len(first.texts("nfl")) == 30)
            asked = metric("roost_gateway_asked_total", what="tweets")
            for backfill in (1, 25, 50):
                async with browser(app.port) as other:
                    await other.call("subscribe", {"room": "nfl", "backfill": backfill})
                    # All of it comes before the acknowledgement.
                    assert numbers(other) == list(range(30))[-backfill:]
            assert metric("roost_gateway_asked_total", what="tweets") == asked
            assert len(first.texts("nfl")) == 30, "who was there hears nothing of it"

    async def test_while_tweets_pour_in_there_is_no_gap_and_no_repetition_at_the_seam(
        self, broker: Broker, tmp_path: Path
    ) -> None:
        async with stage(broker, tmp_path) as app:
            stopping = asyncio.Event()
            published = 0

            async def pour() -> None:
                nonlocal published
                while not stopping.is_set():
                    await publish_numbered(broker, published, published + 5)
                    published += 5

            pouring = asyncio.create_task(pour())
            clients: list[Client] = []
            try:
                async with AsyncExitStack() as stack:
                    for number in range(15):
                        await asyncio.sleep(random.uniform(0, 0.05))
                        client = await stack.enter_async_context(browser(app.port))
                        clients.append(client)
                        wish = {"room": "nfl", "backfill": number * 10} if number % 3 else "nfl"
                        await client.call("subscribe", wish)
                    stopping.set()
                    await pouring

                    def is_whole(client: Client) -> bool:
                        seen = set(numbers(client))
                        return published - 1 in seen and seen == set(range(min(seen), published))

                    # What a router did not know of in time comes with a second look at the room.
                    await eventually(lambda: all(map(is_whole, clients)), what="nothing is left out")
                    for client in clients:
                        assert len(numbers(client)) == len(set(numbers(client))), "nothing comes twice"
                        assert client.gaps == []
            finally:
                stopping.set()
                await pouring

    async def test_what_is_gone_is_not_shown_and_what_was_changed_is_shown_as_it_is(
        self, broker: Broker, tmp_path: Path
    ) -> None:
        async with stage(broker, tmp_path) as app:
            kept, changed, gone = tweet("nfl 1"), tweet("nfl 2"), tweet("nfl 3")
            await publish(broker, kept, changed, gone)
            await publish(broker, edited(changed, "nfl 22"), deleted(gone))
            async with browser(app.port) as client:
                await client.call("subscribe", {"room": "nfl", "backfill": 50})
                await eventually(lambda: client.page("nfl") == {kept.id: "nfl 1", changed.id: "nfl 22"})
                await publish(broker, deleted(kept))
                await eventually(lambda: client.page("nfl") == {changed.id: "nfl 22"})

    async def test_what_a_router_published_for_nobody_because_it_did_not_know_of_the_room_yet_comes_a_little_later(
        self, broker: Broker, tmp_path: Path
    ) -> None:
        # In the place of the router one that takes batches and does not know of any binding.
        async with archive(broker, tmp_path), gateway(broker) as app, deaf_router(broker) as taken:
            await knows_archive(app)
            async with browser(app.port) as client, browser(app.port) as plain:
                await client.call("subscribe", {"room": "nfl", "backfill": 50})
                await plain.call("subscribe", "nfl")
                await publish_numbered(broker, 0, 5)
                await publish_numbered(broker, 0, 5, "of something else")
                await eventually(lambda: len(taken) == 2)
                await eventually(lambda: numbers(client) == numbers(plain) == list(range(5)))
                assert client.gaps == []

    async def test_too_much_is_refused_with_the_bound(self, broker: Broker) -> None:
        async with gateway(broker, max_backfill=20) as app, browser(app.port) as client:
            answer = await client.call("subscribe", {"room": "nfl", "backfill": 21})
            assert answer["error"] == {"code": "bad_request", "message": "backfill is a number of tweets, 20 at most"}
            assert len(app._rooms) == 0


class TestComingBack:
    async def test_to_another_gateway_one_gets_what_was_missed_what_changed_and_what_went(
        self, broker: Broker, tmp_path: Path
    ) -> None:
        kept, changed, gone, lost_term = (tweet(f"nfl {number}") for number in range(4))
        async with stage(broker, tmp_path) as app, gateway(broker) as other:
            await knows_archive(other)
            async with browser(app.port) as client:
                await client.call("subscribe", {"room": "nfl", "backfill": 50})
                await publish(broker, kept, changed, gone, lost_term)
                await eventually(lambda: len(client.texts("nfl")) == 4)
                since, documents = last(client), held(client)
            await publish(
                broker,
                edited(changed, "nfl 11"),
                deleted(gone),
                edited(lost_term, "no more of it 33"),
                tweet("nfl 4"),
            )
            async with browser(other.port) as back:
                await back.call("subscribe", {"room": "nfl", "since": str(since), "documents": documents})
                await eventually(lambda: len(back.events) >= 4)
                told = {(name, document["id"]) for name, document, _ in back.events}
                new = next(document["id"] for name, document, _ in back.events if name == "newTweet")
                assert told == {
                    ("updateTweet", changed.id),
                    ("destroyTweet", gone.id),
                    ("updateTweet", lost_term.id),
                    ("newTweet", new),
                }
                assert len(back.events) == 4, "and of what has not changed nothing"
                assert back.gaps == []
                # And it hears of what it holds from now on.
                await publish(broker, deleted(kept), deleted(lost_term))
                await eventually(lambda: len(back.events) == 6)

    async def test_what_the_archive_has_not_is_one_gap(self, broker: Broker, tmp_path: Path) -> None:
        async with router(broker), gateway(broker) as app:
            async with browser(app.port) as client:
                await client.call("subscribe", "nfl")
                await publish_numbered(broker, 0, 1)
                await eventually(lambda: len(client.texts("nfl")) == 1)
                since = last(client)
            # An archive that begins only now.
            async with archive(broker, tmp_path):
                await knows_archive(app)
                await publish_numbered(broker, 5, 6)
                long_ago = since - 2 * OVERLAP_US
                async with gateway(broker) as other, browser(other.port) as back:
                    await knows_archive(other)
                    await back.call("subscribe", {"room": "nfl", "since": long_ago})
                    await eventually(lambda: 5 in numbers(back))
                    _assert_one_gap(back, long_ago)

    async def test_a_gateway_that_starts_before_its_archive_waits(self, broker: Broker, tmp_path: Path) -> None:
        async with router(broker):
            async with archive(broker, tmp_path), gateway(broker) as app, browser(app.port) as client:
                await knows_archive(app)
                await client.call("subscribe", {"room": "nfl"})
                await publish_numbered(broker, 0, 1)
                await eventually(lambda: numbers(client) == [0])
                since = last(client)
            await publish_numbered(broker, 1, 3)
            async with gateway(broker) as app, browser(app.port) as back:
                coming = asyncio.create_task(back.call("subscribe", {"room": "nfl", "since": since}))
                # Longer than it waits where there is none.
                await asyncio.wait([coming], timeout=2 * FIRST_ANSWER_WITHIN_S)
                assert not coming.done()
                async with archive(broker, tmp_path):
                    await coming
                    assert set(numbers(back)) >= {1, 2}
                    assert back.gaps == []

    async def test_without_an_archive_it_is_at_once_one_gap_and_all_else_works(self, broker: Broker) -> None:
        async with router(broker), gateway(broker) as app, browser(app.port) as client:
            await asyncio.wait_for(client.call("subscribe", {"room": "nfl", "backfill": 50}), 5)
            assert client.gaps == []
            await publish_numbered(broker, 0, 3)
            await eventually(lambda: numbers(client) == [0, 1, 2])
            async with browser(app.port) as back:
                await asyncio.wait_for(back.call("subscribe", {"room": "nfl", "since": 1000}), 5)
                await eventually(lambda: bool(back.gaps))
                _assert_one_gap(back, 1000)
                await publish_numbered(broker, 3, 4)
                await eventually(lambda: 3 in numbers(back))

    async def test_a_crowd_that_comes_back_asks_the_archive_once_a_room(self, broker: Broker, tmp_path: Path) -> None:
        rooms = [f"room{number}" for number in range(5)]
        async with stage(broker, tmp_path) as app:
            await publish(broker, *(tweet(f"{room} {number}") for room in rooms for number in range(30)))
            async with browser(app.port) as client:
                for room in rooms:
                    await client.call("subscribe", {"room": room, "backfill": 30})
                await eventually(lambda: all(len(client.texts(room)) == 30 for room in rooms))
                since = {room: last(client, room) for room in rooms}
                documents = {room: held(client, room) for room in rooms}
            async with gateway(broker) as other:
                await knows_archive(other)
                await publish(broker, *(tweet(f"{room} 30") for room in rooms))
                before = metric("roost_gateway_asked_total", what="tweets")

                async def come_back(number: int) -> None:
                    room = rooms[number % len(rooms)]
                    # Who saw a little less than others.
                    seen = since[room] - number * 1000
                    async with browser(other.port) as back:
                        wish = {"room": room, "since": seen, "documents": documents[room]}
                        await back.call("subscribe", wish)
                        await eventually(lambda: len(back.texts(room)) == 1)

                await asyncio.gather(*(come_back(number) for number in range(50)))
                assert metric("roost_gateway_asked_total", what="tweets") - before <= len(rooms)


class TestTheGatewayItself:
    async def test_what_it_missed_while_the_broker_was_away_it_brings_to_everybody_without_a_gap(
        self, broker: Broker, tmp_path: Path
    ) -> None:
        async with proxy(broker) as between, router(broker), archive(broker, tmp_path):
            url = f"amqp://gateway:gateway@127.0.0.1:{between.port}/"
            async with gateway(broker, amqp_url=url) as app, browser(app.port) as client:
                await knows_archive(app)
                await client.call("subscribe", "nfl")
                gone, changed = tweet("nfl 0"), tweet("nfl 1")
                await publish(broker, gone, changed)
                await eventually(lambda: len(client.texts("nfl")) == 2)
                await eventually(lambda: app._rooms.all()[0].recent.covered_from is not None)
                between.shut()
                await eventually(lambda: client.status[-1] is False)
                await publish_numbered(broker, 2, 40)
                await publish(broker, deleted(gone), edited(changed, "nothing of it any more"))
                between.flow()
                await eventually(lambda: client.status[-1] is True, within_s=30)
                await eventually(lambda: sorted(numbers(client)) == list(range(40)))
                await eventually(
                    lambda: (
                        gone.id not in client.page("nfl")
                        and client.page("nfl")[changed.id] == "nothing of it any more"
                    )
                )
                assert client.gaps == []

    async def test_what_its_full_queue_dropped_it_brings_to_everybody_without_a_gap(
        self, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A second look at the room, just opened, would bring it as well.
        monkeypatch.setattr("services.gateway.seams.LOOKS_S", ())
        full = {"max-length": 20, "overflow": "drop-head"}
        async with (
            Policy(broker, r"^gateway\.[0-9a-f]+$", **full),
            proxy(broker) as between,
            router(broker),
            archive(broker, tmp_path),
        ):
            url = f"amqp://gateway:gateway@127.0.0.1:{between.port}/"
            async with gateway(broker, amqp_url=url) as app, browser(app.port) as client:
                await knows_archive(app)
                await client.call("subscribe", {"room": "nfl", "backfill": 50})
                overflows = metric("roost_gateway_overflows_total")
                between.stall()
                number = PREFETCH + 100
                await publish_one_by_one(broker, *(tweet(f"nfl {each}") for each in range(number)))
                between.resume()
                await eventually(lambda: sorted(numbers(client)) == list(range(number)), within_s=30)
                assert metric("roost_gateway_overflows_total") > overflows
                assert client.gaps == []

    async def test_without_an_archive_everybody_is_told_of_a_gap(self, broker: Broker) -> None:
        async with proxy(broker) as between, router(broker):
            url = f"amqp://gateway:gateway@127.0.0.1:{between.port}/"
            async with gateway(broker, amqp_url=url) as app, browser(app.port) as client:
                await client.call("subscribe", "nfl")
                await publish_numbered(broker, 0, 1)
                await eventually(lambda: len(client.texts("nfl")) == 1)
                seen = last(client)
                between.shut()
                await eventually(lambda: client.status[-1] is False)
                between.flow()
                await eventually(lambda: client.status[-1] is True, within_s=30)
                await eventually(lambda: bool(client.gaps))
                assert client.gaps == [({"missed": None, "from": seen, "to": None}, "nfl")]


def _assert_one_gap(client: Client, from_seq: int) -> None:
    [(gap, room)] = client.gaps
    assert room == "nfl"
    assert gap["missed"] is None
    assert gap["from"] <= from_seq
    assert gap["to"] is None or gap["to"] > from_seq
