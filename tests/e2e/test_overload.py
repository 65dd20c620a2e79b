"""More comes than the router takes: what waits is bounded everywhere, and all is level again by itself."""

import asyncio
import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.ingest.pump import MAX_BATCH_EVENTS
from shared.events import to_document
from tests.support.broker import Broker
from tests.support.exchange import Consumer, consumer
from tests.support.management import Policy, depth
from tests.support.processes import Process, processes
from tests.support.tweets import tweet
from tests.support.waiting import eventually

EVENTS = 30_000
"""Far more than all that may wait together: in the router's hands, in its queue, in ingest."""
PREFETCH = 4
QUEUED = 4
"""Batches that may wait for the router, of 1,000 events at most."""
OVER = 8
"""So many more the broker may have taken by the time it refuses: those that came at once."""
BUFFER = 1000
RESIDENT_BYTES = 128 * 2**20
"""An ingest of any source, with all that it may hold here."""
GROWTH_BYTES = 8 * 2**20
PER_S = 3000


class Level(NamedTuple):
    """What became of all that ingest has read, at one moment."""

    read: float
    published: float
    dropped: float
    buffered: float
    refused: float
    """Batches, each as often as it was."""
    resident: float
    """Bytes of memory."""


def level(ingest: Process) -> Level:
    """What ingest says of itself in one answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ingest.ops_port}/metrics", timeout=5) as response:
        text = response.read().decode()
    values: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] += sample.value  # type: ignore[assignment]
    names = ("source_events_total", "ingest_published_total", "ingest_dropped_total", "ingest_buffered")
    ours = [f"roost_{name}" for name in (*names, "ingest_refused_batches_total")]
    return Level(*(values[name] for name in (*ours, "process_resident_memory_bytes")))


def bounded(broker: Broker) -> Policy:
    """A short queue of raw batches."""
    return Policy(broker, "^router\\.raw$", **{"max-length": QUEUED, "overflow": "reject-publish"})


def recording(path: Path) -> dict[str, int]:
    """Write a file of `EVENTS` tweets; returns the version of each by its id."""
    written = [tweet(f"post {number} of a long recording") for number in range(EVENTS)]
    path.write_text("".join(json.dumps(to_document(one, 1)) + "\n" for one in written), encoding="utf-8")
    return {one.id: one.mtime for one in written}


def versions(taken: Consumer) -> list[tuple[str, int]]:
    """(id, mtime) of all that came."""
    return [(one["id"], one["mtime"]) for message in taken.messages for one in message.documents]


async def given_up(broker: Broker) -> bool:
    """Whether the broker has found that nobody reads the queue of raw batches any more."""
    queue: Any = await asyncio.to_thread(broker.get, "/api/queues/%2F/router.raw")
    return queue is not None and queue.get("consumers") == 0


@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["a moment", "for long"])
async def test_a_file_waits_for_a_router_that_takes_nothing(broker: Broker, tmp_path: Path, long: bool) -> None:
    path = tmp_path / "recording.jsonl"
    written = recording(path)
    async with bounded(broker), processes(broker) as start, consumer(broker, ["all"]) as taken:
        router = await start.start("router", prefetch=PREFETCH)
        await eventually(lambda: router.metric("roost_router_wanted_keys") >= 1)
        with router.standing_still():
            # It is not ready before the router goes on.
            ingest = start.spawn("ingest", source="replay", replay_path=path, replay_speed=0, buffer_events=BUFFER)
            await eventually(lambda: "publishing" in ingest.log(), what="ingest runs")
            await eventually(lambda: level(ingest).refused > 3, what="the queue is full")
            await eventually(lambda: not ingest.ready(), what="ingest says that it can't publish")
            held = level(ingest)
            if long:
                await eventually(lambda: given_up(broker), within_s=40, what="the broker has given the router up")
            await eventually(lambda: level(ingest).refused > held.refused + 3, what="it tries again and again")
            now = level(ingest)
            assert now.read == held.read < EVENTS, "the file waits"
            assert now.read - now.published == now.buffered <= BUFFER
            assert now.dropped == 0
            assert now.resident < RESIDENT_BYTES
            assert await depth(broker, "router.raw") <= QUEUED + OVER + (PREFETCH if long else 0)
            assert not ingest.ready()
        await eventually(lambda: {id for id, _ in versions(taken)} >= written.keys(), within_s=30)
        await eventually(lambda: ingest.ready() and router.ready(), what="all are ready again")
        came = Counter(one for one in versions(taken) if one[0] in written)
        assert came.keys() == written.items(), "each in its version"
        copies = came.total() - EVENTS
        # What the router had in hand when it was given up comes once more.
        assert copies == 0 or (long and copies <= PREFETCH * MAX_BATCH_EVENTS), copies
        now = level(ingest)
        assert (now.read, now.published, now.dropped, now.buffered) == (EVENTS, EVENTS, 0, 0)
        assert now.resident < RESIDENT_BYTES
        assert await depth(broker, "router.raw") == 0


async def test_a_live_stream_drops_and_counts_while_the_router_takes_nothing(broker: Broker) -> None:
    async with bounded(broker), processes(broker) as start, consumer(broker, ["all"]) as taken:
        router = await start.start("router", prefetch=PREFETCH)
        await eventually(lambda: router.metric("roost_router_wanted_keys") >= 1)
        ingest = await start.start("ingest", source="synthetic", rate=PER_S, buffer_events=BUFFER)
        await eventually(lambda: level(ingest).published > PER_S / 2, what="the stream is live")
        with router.standing_still():
            await eventually(lambda: level(ingest).dropped > 0, what="what does not fit is dropped")
            assert not ingest.ready()
            first = level(ingest)
            await eventually(lambda: level(ingest).dropped > first.dropped + 2 * PER_S)
            now = level(ingest)
            assert now.read == now.published + now.dropped + now.buffered, "each is somewhere"
            assert now.buffered <= BUFFER
            assert now.resident < min(first.resident + GROWTH_BYTES, RESIDENT_BYTES)
            assert await depth(broker, "router.raw") <= QUEUED + OVER
            assert not ingest.ready()

        async def is_level() -> bool:
            before = level(ingest)
            await eventually(lambda: level(ingest).published > before.published + PER_S / 2)
            return level(ingest).dropped == before.dropped

        await eventually(is_level, what="nothing is dropped any more")
        await eventually(ingest.ready, what="ingest is ready again")
        now = level(ingest)
        assert now.read == now.published + now.dropped + now.buffered
        assert await ingest.stop() == 0
        await eventually(lambda: len(versions(taken)) >= now.published, what="all that was confirmed has come")
        assert len(set(versions(taken))) == len(versions(taken)), "and nothing twice"
        assert await depth(broker, "router.raw") == 0
