"""The router on a real broker: who binds a label gets its tweets, whatever program they use."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import msgpack
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from services.router.app import RouterApp
from services.router.settings import RouterSettings
from shared import feed, raw
from shared.broker import connect
from shared.lifecycle import StartError
from shared.topology import RAW_EXCHANGE, TWEETS_EXCHANGE
from tests.support.broker import Broker
from tests.support.exchange import Consumer, Received, consumer, publish
from tests.support.management import Vhost, depth
from tests.support.services import metric, router, running
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually

LANG = 6
"""The column of languages in a raw batch."""


async def test_a_binding_makes_the_router_look_for_its_term_for_as_long_as_it_stands(
    broker: Broker,
) -> None:
    async with router(broker):
        nobody = metric("roost_router_wanted_keys")
        async with consumer(broker, ["term.whatever"]) as taken:
            await eventually(lambda: metric("roost_router_wanted_keys") == nobody + 1)
            await publish(broker, tweet("Whatever you say"), tweet("something else"), tweet("so, WHATEVER"))
            await eventually(lambda: len(taken.texts()) == 2)
        await eventually(lambda: metric("roost_router_wanted_keys") == nobody)
        unmatched = metric("roost_router_unmatched_total")
        await publish(broker, tweet("whatever, nobody listens"))
        await eventually(lambda: metric("roost_router_unmatched_total") == unmatched + 1)
    assert taken.texts() == ["Whatever you say", "so, WHATEVER"]


async def test_bindings_from_before_the_router_started_count(broker: Broker) -> None:
    async with consumer(broker, ["term.early"]) as taken, router(broker):
        await publish(broker, tweet("the early bird"))
        await eventually(lambda: taken.texts() == ["the early bird"])


async def test_a_router_takes_no_tweet_before_all_terms_are_where_they_are_found_quickest(broker: Broker) -> None:
    keys = [f"term.{number * 7919 % 10**8:08}" for number in range(3000)]
    async with consumer(broker, keys), router(broker) as app:
        assert app._matcher.terms >= len(keys)
        assert not app._matcher.improve(at_rest=True)


async def test_every_spelling_of_a_key_gets_its_tweets_under_that_spelling(broker: Broker) -> None:
    keys = ["term.NFL", "term.nfl", "term.n%66l", "tag.NFL"]
    async with router(broker):
        seen = metric("roost_router_wanted_keys")
        async with consumer(broker, keys[:1]) as loud, consumer(broker, keys[1:]) as quiet:
            await eventually(lambda: metric("roost_router_wanted_keys") >= seen + 4)
            await publish(broker, tweet("#NFL tonight", hashtags=("NFL",)))
            await eventually(lambda: loud.messages and quiet.messages)
    assert set(loud.messages[0].labels) == set(quiet.messages[0].labels) == set(keys)
    assert len(loud.messages) == len(quiet.messages) == 1


async def test_a_tweet_of_many_labels_comes_once_and_equal_label_sets_share_a_message(broker: Broker) -> None:
    async with router(broker), consumer(broker, ["all", "has_url", "term.bird", "lang.en"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 4)
        birds = [tweet(f"bird {n}", urls=("https://example.org",)) for n in range(3)]
        await publish(broker, *birds, tweet("plain"))
        await eventually(lambda: len(taken.texts()) == 4)
    by_size = sorted(taken.messages, key=lambda message: len(message.documents))
    assert [len(message.documents) for message in by_size] == [1, 3]
    assert set(by_size[1].labels) == {"all", "has_url", "term.bird", "lang.en"}
    assert set(by_size[0].labels) == {"all", "lang.en"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("lang.*", ["deutsch", "english"]),
        ("#", ["deutsch", "english", "None"]),
        ("term.*", []),
        ("tag.#", ["deutsch"]),
    ],
)
async def test_patterns_ask_for_whole_families(broker: Broker, pattern: str, expected: list[str]) -> None:
    async with router(broker):
        before = metric("roost_router_wanted_keys")
        async with consumer(broker, [pattern, "term.sentinel"]) as taken:
            await eventually(lambda: metric("roost_router_wanted_keys") == before + 2)
            first = tweet("deutsch", lang="de", hashtags=("Vogel",))
            await publish(broker, first, tweet("english"), deleted(first))
            await publish(broker, tweet("sentinel", lang=""))
            await eventually(lambda: "sentinel" in taken.texts())
    assert sorted(set(taken.texts()) - {"sentinel"}) == sorted(expected)


async def test_what_can_not_be_read_is_a_dead_letter_with_its_reason_and_the_rest_goes_on(broker: Broker) -> None:
    columns = msgpack.unpackb(raw.pack([raw.entry(tweet(text), 1) for text in ("still", "broken", "here")]))
    columns[LANG][1] = 7
    async with router(broker), consumer(broker, ["all", "lang.en"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 2)
        dead = metric("roost_router_dead_lettered_total")
        await publish_body(broker, b"\xc1 not MessagePack")
        await publish_body(broker, msgpack.packb(columns))
        await eventually(lambda: taken.texts() == ["still", "here"])
        letters = await dead_letters_of(broker, 2)
        await eventually(lambda: metric("roost_router_dead_lettered_total") == dead + 2)
        # It can be put right, and is a batch like any other.
        broken = next(letter for letter in letters if letter.body != b"\xc1 not MessagePack")
        mended = msgpack.unpackb(broken.body)
        mended[LANG] = ["en"]
        await publish_body(broker, msgpack.packb(mended))
        await eventually(lambda: taken.texts() == ["still", "here", "broken"])
    assert broken.headers["reason"] == "lang: Expected `str`, got `int`"
    for letter in letters:
        assert (letter.headers["v"], letter.type) == (raw.FORMAT, raw.TYPE)
    [strange] = [letter for letter in letters if letter is not broken]
    assert strange.body == b"\xc1 not MessagePack"
    assert str(strange.headers["reason"]).startswith("not a batch: ")


@pytest.mark.parametrize(
    ("version", "told"),
    [
        *((version, version) for version in (1, 3, "2", None)),
        ({"of": "another"}, "{'of': 'another'}"),
        ("x" * 1000, "'" + "x" * 49),
    ],
    ids=str,
)
async def test_a_batch_of_another_format_is_a_dead_letter_that_says_which(
    broker: Broker, version: object, told: object
) -> None:
    async with router(broker), consumer(broker, ["all"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
        body = raw.pack([raw.entry(tweet("of another time"), 1)])
        await publish_body(broker, body, headers={"v": version})
        await publish(broker, tweet("of ours"))
        await eventually(lambda: taken.texts() == ["of ours"])
        [letter] = await dead_letters_of(broker, 1)
    assert (letter.body, letter.headers["v"], letter.type) == (body, told, raw.TYPE)
    assert re.search("format .* and this Roost reads 2", str(letter.headers["reason"]))


async def test_a_tweet_that_matches_hundreds_of_terms_goes_out_and_nothing_closes(broker: Broker) -> None:
    text = "".join(f"{number:x}-" for number in range(1000, 1400))
    terms = {text[start : start + 80] for start in range(900)}
    async with router(broker):
        before = metric("roost_router_wanted_keys")
        async with consumer(broker, [f"term.{term}" for term in terms]) as taken:
            await eventually(lambda: metric("roost_router_wanted_keys") == before + len(terms), within_s=30)
            await publish(broker, tweet(text), tweet("nothing of it"))
            await eventually(lambda: len({key for message in taken.messages for key in message.labels}) == len(terms))
            await publish(broker, tweet(text + "again"))
            await eventually(lambda: f"{text}again" in taken.texts())
    assert len(taken.messages) == 4, "each was split in two"


@pytest.mark.slow
async def test_a_post_of_25_000_characters_with_20_000_terms_goes_out_and_nothing_closes(broker: Broker) -> None:
    text = "".join(f"{number:x}-" for number in range(10_000, 20_000))[:25_000]
    terms = list({text[start : start + 12]: None for start in range(20_000)})
    assert (len(text), len(terms)) == (25_000, 20_000)
    # Bound before there is a router: it learns them from one snapshot, and the broker has 20,000 events less to tell.
    async with many_keys(broker, [f"term.{term}" for term in terms]) as taken, router(broker):
        await eventually(lambda: metric("roost_router_terms") == len(terms), within_s=30)
        losses = metric("roost_broker_losses_total")
        for suffix in ("", "again"):
            await publish(broker, tweet(text + suffix), tweet("nothing of it"))
            await eventually(lambda: f"{text}{suffix}" in taken.texts(), within_s=30)  # noqa: B023
        await publish(broker, tweet(terms[7]))
        await eventually(lambda: taken.texts()[-1] == terms[7])
        assert metric("roost_broker_losses_total") == losses
    first = [message.labels for message in taken.messages if message.documents[0]["text"] == text]
    assert sorted(label for labels in first for label in labels) == sorted(f"term.{term}" for term in terms)
    assert len(first) > 1
    assert max(sum(map(len, labels)) for labels in first) <= feed.MAX_KEYS_BYTES
    assert taken.messages[-1].labels == [f"term.{terms[7]}"]


async def test_changes_go_to_those_who_bind_changes(broker: Broker) -> None:
    async with router(broker), consumer(broker, ["action.update", "action.destroy"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 2)
        original = tweet("before")
        await publish(broker, original, edited(original, "after"), deleted(original))
        await eventually(lambda: len(taken.messages) == 2)
    actions = [message.documents[0]["action"] for message in taken.messages]
    assert sorted(actions) == ["destroy", "update"]
    assert "text" not in next(m.documents[0] for m in taken.messages if m.documents[0]["action"] == "destroy")


async def test_two_routers_share_the_work_and_lose_nothing(broker: Broker) -> None:
    async with router(broker), router(broker), consumer(broker, ["term.shared"]) as taken:
        await eventually(lambda: metric("roost_router_wanted_keys") >= 1)
        texts = [f"shared {n}" for n in range(100)]
        for text in texts:
            await publish(broker, tweet(text))
        await eventually(lambda: len(taken.texts()) >= 100)
    assert sorted(taken.texts()) == sorted(texts)


async def test_without_the_event_exchange_the_router_says_what_to_enable(broker: Broker) -> None:
    async with Vhost(broker, "without-events") as vhost:
        settings = RouterSettings(amqp_url=vhost.amqp_url, management_url=broker.management_url())
        with pytest.raises(StartError, match="rabbitmq-plugins enable rabbitmq_event_exchange"):
            await asyncio.wait_for(RouterApp(settings).run(asyncio.Event()), 20)


async def test_without_a_snapshot_the_router_is_not_ready_and_takes_nothing(broker: Broker) -> None:
    settings = RouterSettings(amqp_url=broker.amqp_url("router"), management_url="http://127.0.0.1:9")
    app = RouterApp(settings)
    async with running(app):
        await eventually(lambda: app.health.state()["broker"])
        await publish(broker, tweet("kept"))
        await eventually(lambda: is_depth(broker, 1))
        assert not app.health.ready
    assert await is_depth(broker, 1)
    async with router(broker):
        await eventually(lambda: is_depth(broker, 0))


async def is_depth(broker: Broker, messages: int) -> bool:
    return await depth(broker, "router.raw") == messages


async def publish_body(broker: Broker, body: bytes, *, headers: dict[str, Any] | None = None) -> None:
    """Publish one message to `tweets.raw`, of this format where `headers` do not say another."""
    async with connect(broker.amqp_url("ingest"), name="test ingest") as connection:
        channel = await connection.channel(confirms=True)
        await channel.publish(
            RAW_EXCHANGE, body, type=raw.TYPE, headers=raw.headers() if headers is None else headers, persistent=True
        )


async def dead_letters_of(broker: Broker, number: int) -> list[AbstractIncomingMessage]:
    """So many dead letters, taken away as soon as they are there."""
    letters: list[AbstractIncomingMessage] = []

    async def take(message: AbstractIncomingMessage) -> None:
        letters.append(message)

    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection:
        queue = await (await connection.channel()).get_queue("dead-letters")
        await queue.consume(take, no_ack=True)
        await eventually(lambda: len(letters) == number)
    return letters


@asynccontextmanager
async def many_keys(broker: Broker, keys: list[str]) -> AsyncIterator[Consumer]:
    """A consumer of very many keys, bound on several channels at once: one does hardly more than 1,000 a second."""
    received = Consumer()

    async def note(message: AbstractIncomingMessage) -> None:
        labels = feed.labels(message.routing_key or "", message.headers)
        received.messages.append(Received(labels, feed.unpack(message.body, message.headers)))

    async def bind(channel: AbstractChannel, some: list[str]) -> None:
        mine = await channel.get_queue(queue.name, ensure=False)
        for key in some:
            await mine.bind(TWEETS_EXCHANGE, key)

    connection = await aio_pika.connect(broker.amqp_url("consumer"))
    async with connection:
        channels = [await connection.channel() for _ in range(8)]
        queue = await channels[0].declare_queue(exclusive=True)
        await asyncio.gather(*(bind(channel, keys[place::8]) for place, channel in enumerate(channels)))
        await queue.consume(note, no_ack=True)
        yield received
