"""The archive's bounds: how long it looks for an answer, and what it does on a disk that is full."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from services.archive import queries
from services.archive.batches import Batch
from services.archive.queries import Queries
from services.archive.reading import TOGETHER
from services.archive.store import Store
from services.archive.writer import LEAST_FREE_BYTES, Writer
from shared.history import LabelsQuery, Place, TweetsQuery
from shared.raw import Link
from tests.support.tweets import tweet
from tests.unit.archive_model import HOUR_US, Kept, batch, kept, unpacked

CHUNKS = 5


@contextmanager
def too_slow(folder: Path) -> Iterator[Kept]:
    """An archive whose time is up as soon as it has looked somewhere, full of what only looks like "abcd"."""
    with kept(folder) as archive:
        for chunk in range(CHUNKS):
            texts = ["abcd", *("abc bcd" for _ in range(TOGETHER))]
            archive.store.add([batch(*((chunk * 1000 + at, tweet(text)) for at, text in enumerate(texts, start=1)))])
            archive.close_chunk()
        with mock.patch.object(queries, "LOOK_WITHIN_S", -1.0):
            yield archive


def test_who_asks_for_what_takes_long_gets_a_part_and_can_go_on_from_there(tmp_path: Path) -> None:
    with too_slow(tmp_path) as archive:
        found: list[int] = []
        reached: list[int] = []
        before: Place | None = None
        while not reached or reached[-1] > 0:
            assert len(reached) < 2 * CHUNKS, reached
            answer = archive.ask(TweetsQuery(label="term.abcd", limit=50, before=before))
            seqs = [document["seq"] for document in unpacked(answer)]
            assert all(seq > answer.from_seq for seq in seqs)
            found += seqs
            reached.append(answer.from_seq)
            before = Place(answer.from_seq + 1, "")
        assert found == [chunk * 1000 + 1 for chunk in reversed(range(CHUNKS))], "nothing is passed over"
        assert len(reached) >= CHUNKS - 1
        assert reached == sorted(set(reached), reverse=True)


def test_a_part_of_many_labels_is_told_as_one(tmp_path: Path) -> None:
    with too_slow(tmp_path) as archive:
        answer = archive.ask(LabelsQuery(labels=("term.abcd", "term.bcd"), since=0, limit=1000))
        newer = [document["seq"] for document in unpacked(answer)]
        assert answer.from_seq > 1000
        last = (CHUNKS - 1) * 1000
        assert {seq for seq in newer if seq > last} == set(range(last + 1, last + TOGETHER + 2))


class SmallDisk(Store):
    """A store on a disk that is soon full."""

    size = LEAST_FREE_BYTES + 2 * 2**20

    def free_bytes(self) -> int:
        return self.size - sum(path.stat().st_size for path in self._folder.iterdir())

    def add(self, batches: Sequence[Batch]) -> None:
        if self.free_bytes() < LEAST_FREE_BYTES:
            raise sqlite3.OperationalError("database or disk is full")
        super().add(batches)


async def test_on_a_full_disk_the_oldest_tweets_make_room_for_the_new_ones(tmp_path: Path) -> None:
    store = SmallDisk(tmp_path, keep_us=24 * HOUR_US, keep_bytes=2**30, segment_us=1000, now_us=lambda: 0)
    store.lock()
    told: list[bool] = []
    writer = Writer(store, able=told.append, retry_s=0.001)
    asked = Queries(lambda: store.state)
    writer.start()
    try:
        for number in range(1, 61):
            await writer.add(
                batch((number * 1000, tweet(f"nfl {number} " + "x" * 50_000)), link=Link("x", (number - 1) * 1000))
            )
        answer = asked.answer_now(TweetsQuery(label="term.nfl", limit=100))
        seqs = [document["seq"] for document in unpacked(answer)]
        assert seqs == list(range(60_000, 60_000 - len(seqs) * 1000, -1000)), "the newest, without a gap"
        assert 5 < len(seqs) < 55
        assert answer.whole
        lacking = asked.answer_now(TweetsQuery(label="term.nfl", limit=100, since=1000))
        assert lacking.missing is not None, "what was forgotten is told"
        assert told[-1], "it can write again"
        assert False in told
    finally:
        await writer.stop()
        asked.close()
