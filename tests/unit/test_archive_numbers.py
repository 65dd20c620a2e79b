"""The archive and numbers: short stretches, numbers that can not be, and the numbers that it tells about itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgpack

from services.archive import reading
from services.archive.batches import read
from services.archive.postings import CHUNK, OpenChunk
from shared import raw
from shared.events import to_document
from shared.history import LabelsQuery, Place, TweetsQuery
from shared.labels import Facets, Label
from shared.raw import Link
from tests.support.services import metric
from tests.support.tweets import deleted, edited, tweet
from tests.unit.archive_model import HOUR_US, NOW_US, batch, kept, unpacked


@contextmanager
def looked_at() -> Iterator[set[int]]:
    """Which chunks are looked at meanwhile, in memory or in the file."""
    seen: set[int] = set()
    numbers, find = reading._numbers, OpenChunk.find

    def in_file(rows: list[tuple[Any, ...]], whole: int) -> Any:
        seen.add(rows[0][0])
        return numbers(rows, whole)

    def in_memory(chunk: OpenChunk, label: Label) -> list[int]:
        seen.add(chunk.number)
        return find(chunk, label)

    with mock.patch.object(reading, "_numbers", in_file), mock.patch.object(OpenChunk, "find", in_memory):
        yield seen


def test_many_labels_of_a_short_stretch_are_asked_for_at_once_and_only_there(tmp_path: Path) -> None:
    last = 2 * CHUNK + 1900
    with kept(tmp_path) as archive:
        archive.store.add([batch(*((n, tweet(f"number {n} of {n % 150}!")) for n in range(1, last + 1)))])
        labels = tuple(f"term.of%20{n}!" for n in range(100))
        query = LabelsQuery(labels=labels, since=last - 100, until=last - 50, limit=50)
        with looked_at() as chunks:
            found = unpacked(archive.ask(query))
        assert [document["seq"] for document in found] == [
            n for n in range(last - 50, last - 100, -1) if n % 150 < 100
        ]
        assert chunks == {2}
        early = 150 * (CHUNK // 100)
        with looked_at() as chunks:
            found = unpacked(archive.ask(LabelsQuery(labels=labels, since=early, until=early + 10, limit=50)))
        assert [document["seq"] for document in found] == list(range(early + 10, early, -1))
        assert chunks == {1}, "those in memory are not looked at, either"
        few = archive.ask(LabelsQuery(labels=("word.number",), since=last - 100, until=last - 50, limit=10))
        assert [document["seq"] for document in unpacked(few)] == list(range(last - 50, last - 60, -1))
        assert few.from_seq == last - 60


def test_what_very_many_tweets_say_is_found_in_order_however_late_some_came(tmp_path: Path) -> None:
    last = CHUNK // 2
    with kept(tmp_path) as archive:
        for remainder in (0, 2, 1):
            said = [(10 * n + remainder, tweet(f"nfl {n}")) for n in range(1, last // 3)]
            archive.store.add([batch(*said)])
            if remainder != 1:
                archive.close_chunk()
        seqs = [10 * n + remainder for n in reversed(range(1, last // 3)) for remainder in (2, 1, 0)]
        assert [document["seq"] for document in archive.pages("word.nfl", 500)] == seqs
        middle = 5 * (last // 3)
        newer = [seq for seq in seqs if seq > middle]
        assert [document["seq"] for document in archive.tweets("term.n", 10_000, since=middle)] == newer
        older = [seq for seq in seqs if seq < middle]
        assert [document["seq"] for document in archive.tweets("term.nf", 9, before=Place(middle, ""))] == older[:9]


def test_what_is_missing_after_the_end_of_a_stretch_is_not_missing_in_it(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        archive.store.add([batch((100, tweet("one")), (110, tweet("two")), link=Link("x", 90))])
        archive.store.add([batch((130, tweet("four")), link=Link("x", 120))])
        assert archive.ask(LabelsQuery(labels=("all",), since=95, until=110, limit=9)).whole
        assert archive.ask(LabelsQuery(labels=("all",), since=95, until=115, limit=9)).missing == (110, 115)
        assert archive.ask(LabelsQuery(labels=("all",), since=95, limit=9)).missing == (110, 120)


def test_numbers_beyond_all_that_there_is_are_understood(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        archive.store.add([batch((100, tweet("nfl")), link=Link("x", 90))])
        for label in ("all", "term.nfl", "term.n"):
            for far in (2**62, 2**63 - 1, 2**63, 2**64 - 1):
                assert archive.texts(label, before=Place(far, "")) == ["nfl"]
                assert archive.texts(label, since=far) == []
                assert archive.texts(label, since=far, least=1) == ["nfl"]
                assert archive.ask(TweetsQuery(label=label, limit=5, before=Place(far, "z"))).whole
                labels = (label, "lang.en")
                assert len(unpacked(archive.ask(LabelsQuery(labels=labels, since=0, until=far, limit=5)))) == 1
                assert not unpacked(archive.ask(LabelsQuery(labels=labels, since=far, limit=5)))
            for low in (-1, -(2**63)):
                assert archive.texts(label, before=Place(low, "")) == []
                assert archive.texts(label, since=low) == ["nfl"]
                assert not unpacked(archive.ask(LabelsQuery(labels=(label,), since=low, until=low, limit=5)))
                assert len(unpacked(archive.ask(LabelsQuery(labels=(label,), since=low, limit=5)))) == 1


def test_what_can_not_be_of_this_time_is_skipped_and_harms_nothing(tmp_path: Path) -> None:
    day = 24 * HOUR_US
    with kept(tmp_path, now_us=lambda: NOW_US) as archive:
        said = [(NOW_US - 5, tweet("nfl 1")), (NOW_US + day, tweet("nfl 2"))]
        wrong = [packed(at, "nfl") for at in (-1, NOW_US + day + 1, 2**62, 2**63, 2**64 - 1)]
        body = raw.pack([*(raw.entry(event, seq) for seq, event in said[:1]), *wrong])
        made, unreadable = read(body, raw.headers(Link("x", NOW_US - 9)), now_us=NOW_US)
        assert (unreadable, made.last, len(made.versions)) == (5, NOW_US - 5, 1)
        archive.store.add([made])
        assert archive.store.state.complete_to == NOW_US - 5
        archive.store.forget()
        assert archive.texts("term.nfl", since=NOW_US - 9) == ["nfl 1"]
        assert archive.ask(TweetsQuery(label="all", limit=5, since=NOW_US - 9)).whole
        assert len(batch(said[1]).versions) == 1, "clocks differ a little"
        # Of a batch in which nothing is right, and of one that says it follows the impossible.
        nothing, unreadable = read(raw.pack(wrong), raw.headers(Link("x", NOW_US - 5)), now_us=NOW_US)
        assert unreadable == 5
        for link in (Link("x", 2**63 - 1), Link("x", -(2**63)), Link("x", NOW_US - 5)):
            archive.store.add([nothing])
            archive.store.add([batch((NOW_US - 3, tweet("nfl 3")), link=link)])
        archive.reopen()
        assert archive.store.state.complete_to == NOW_US - 3
        assert archive.ask(TweetsQuery(label="all", limit=5, since=NOW_US - 9)).whole


def packed(seq: int, text: str) -> raw.Entry:
    """An entry with any number at all."""
    event = tweet(text)
    document = msgpack.packb(to_document(event, 0) | {"seq": seq})
    return raw.Entry(msgpack.packb(document), Facets.of(event))


def told() -> tuple[float, ...]:
    """Tweets, files, and the second of the oldest as the metrics tell it."""
    return tuple(metric(f"roost_archive_{name}") // 1 for name in ("tweets", "files", "oldest_seconds"))


def test_the_metrics_tell_how_much_there_is_and_from_when_on(tmp_path: Path) -> None:
    second = 1_000_000
    now = 0
    with kept(tmp_path, keep_us=100 * second, segment_us=50 * second, now_us=lambda: now) as archive:
        assert told() == (0, 1, 0)
        said = [tweet(f"nfl {number}") for number in range(3000)]
        archive.store.add([batch(*((10 * second + at, one) for at, one in enumerate(said)))])
        assert told() == (3000, 1, 10)
        on_disk = sum(path.stat().st_size for path in tmp_path.iterdir() if "sqlite3" in path.name)
        assert on_disk * 0.5 < metric("roost_archive_bytes") <= on_disk
        archive.store.add([batch((20 * second, deleted(said[0])), (20 * second, edited(said[1], "no")))])
        archive.store.add([batch((20 * second, said[2]), (20 * second, deleted(tweet("of long ago"))))])
        assert told() == (2999, 1, 10), "copies and ends do not count"
        archive.store.add([batch((70 * second, tweet("later")), (70 * second, deleted(said[3])))])
        archive.tidy()
        assert told() == (2999, 2, 10)
        archive.reopen()
        assert told() == (2999, 2, 10), "a start knows it, too"
        now = 165 * second
        archive.store.forget()
        assert told() == (1, 1, 70)
