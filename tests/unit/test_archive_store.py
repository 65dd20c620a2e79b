"""What the archive keeps and finds: against the definition of every label, in any order, over any number of files."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.archive.batches import read
from services.archive.segment import SUFFIX
from shared import raw
from shared.events import Action, Destroy, Event
from shared.history import LabelsQuery, Place, StatesQuery, TweetsQuery
from shared.labels import Facets, Label
from shared.lifecycle import StartError
from shared.raw import Link
from tests.support.tweets import PHOTO, deleted, edited, tweet
from tests.unit.archive_model import HOUR_US, NOW_US, batch, bytes_of, expected, kept, unpacked

PIECES = [
    "nfl",
    "NFL",
    "inflation",
    "#nfl",
    "a",
    "ab",
    "o w",
    "low war",
    "日本",
    "🏈",
    "é",
    "straße",
    "o.w",
    "d",
    "x\ny",
    "ion",
]
LABELS = [
    *("all", "action.create", "action.update", "action.destroy", "has_url", "has_media", "lang.en", "lang.ja"),
    *(
        "tag.nfl",
        "from.ann",
        "from.bob",
        "term.nfl",
        "term.a",
        "term.ab",
        "term.o%20w",
        "term.ow",
        "term.日",
        "term.🏈",
    ),
    *(
        "term.é",
        "term.strasse",
        "term.infla",
        "term.l%20a",
        "term.nothing",
        "term.%23nfl",
        "term.x%0Ay",
        "term.b%20n",
    ),
    *(
        "word.nfl",
        "word.a",
        "word.d",
        "word.ion",
        "word.o%20w",
        "word.日本",
        "word.%23nfl",
        "word.ab",
        "word.w",
        "word.🏈",
    ),
]


@st.composite
def events(draw: st.DrawFn) -> Event:
    """A version of one of few tweets. The same version of a tweet says the same each time."""
    number, mtime = draw(st.integers(0, 12)), draw(st.integers(1, 4))
    action = draw(st.sampled_from([Action.CREATE] * 6 + [Action.UPDATE] * 2 + [Action.DESTROY]))
    id = f"test:{number}"
    if action is Action.DESTROY:
        return Destroy(id=id, mtime=mtime)
    chosen = hash((number, mtime, action.rank))
    pieces = [PIECES[(chosen >> shift) % len(PIECES)] for shift in range(0, chosen % 20, 4)]
    return tweet(
        (" ", "", "-")[chosen % 3].join(pieces),
        id=id,
        mtime=mtime,
        action=action,
        lang=("en", "ja")[chosen % 2],
        screen_name=("ann", "bob", "eve")[chosen % 3],
        hashtags=("nfl",) if chosen % 4 == 0 else (),
        urls=("https://example.org",) if chosen % 5 == 0 else (),
        media=(PHOTO,) if chosen % 7 == 0 else (),
    )


steps = st.lists(
    st.one_of(
        st.lists(st.tuples(st.integers(-40, 8), events()), min_size=1, max_size=8),
        st.sampled_from(["next file", "close chunk", "tidy", "reopen"]),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(
    steps=steps,
    limit=st.integers(1, 5),
    labels=st.lists(st.sampled_from(LABELS), min_size=1, max_size=6, unique=True),
)
def test_every_label_has_what_its_definition_says_however_it_came(
    steps: list[Any], limit: int, labels: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder, kept(Path(folder)) as archive:
        now, came = 1000, []
        for step in steps:
            match step:
                case "next file":
                    archive.next_file()
                case "close chunk":
                    archive.close_chunk()
                case "tidy":
                    archive.tidy()
                case "reopen":
                    archive.reopen()
                case _:
                    # Some come late, so late that they belong into an earlier file.
                    numbered = [
                        (now := max(now + 1, now + by), event) if by > 0 else (now + by, event) for by, event in step
                    ]
                    one = batch(*numbered)
                    came += one.versions
                    archive.store.add([one])
        for label in labels:
            pages = archive.pages(label, limit)
            places = [(document["seq"], document["id"]) for document in pages]
            assert places == sorted(places, reverse=True), label
            found = [(d["id"], d["mtime"], Action(d["action"]).rank) for d in pages]
            assert len(set(found)) == len(found), label
            assert set(found) == expected(came, label), label
            whole = archive.ask(TweetsQuery(label=label, limit=10_000))
            assert unpacked(whole) == pages, label
            if pages:
                middle = pages[len(pages) // 2]["seq"]
                newer = [document for document in pages if document["seq"] > middle]
                assert archive.tweets(label, 10_000, since=middle) == newer
                assert archive.tweets(label, 10_000, since=middle, least=len(newer) + 1) == pages[: len(newer) + 1]
                answer = archive.ask(LabelsQuery(labels=(label, "lang.en"), since=middle, limit=100))
                union = {(d["seq"], d["id"]) for d in newer} | {
                    (d["seq"], d["id"]) for d in archive.tweets("lang.en", 10_000, since=middle)
                }
                assert [(d["seq"], d["id"]) for d in unpacked(answer)] == sorted(union, reverse=True)
        newest = {
            id: (mtime, rank) for label in ("all", "action.destroy") for id, mtime, rank in expected(came, label)
        }
        states = unpacked(archive.ask(StatesQuery(ids=tuple(f"test:{number}" for number in range(13)))))
        assert {d["id"]: (d["mtime"], Action(d["action"]).rank) for d in states} == newest


def test_many_tweets_fill_chunks_and_each_is_found(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        archive.store.add([batch(*((n, tweet(f"number {n} of {n % 7}")) for n in range(1, 5001)))])
        assert archive.texts("term.number%204321%20") == ["number 4321 of 2"]
        assert archive.texts("term.number%20999%20") == ["number 999 of 5"]
        assert archive.texts("word.5000") == ["number 5000 of 2"]
        assert archive.texts("term.of%203", 3) == [f"number {n} of 3" for n in (4994, 4987, 4980)]
        assert len(archive.pages("word.of", 999)) == 5000
        archive.reopen()
        assert archive.texts("term.number%20999%20") == ["number 999 of 5"]
        assert archive.texts("word.5000") == ["number 5000 of 2"]


def test_a_copy_under_another_number_changes_nothing(tmp_path: Path) -> None:
    said = tweet("nfl")
    with kept(tmp_path) as archive:
        archive.store.add([batch((10, said), (11, said))])
        archive.store.add([batch((20, said))])
        assert [document["seq"] for document in archive.tweets("term.nfl")] == [10]
        archive.next_file()
        archive.store.add([batch((30, said))])
        assert [document["seq"] for document in archive.tweets("term.nfl")] == [10]
        assert [document["seq"] for document in archive.tweets("term.nfl", since=15)] == []


def test_tweets_of_one_moment_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        archive.store.add([batch(*((7, tweet("nfl", id=f"test:{number}")) for number in range(9)))])
        archive.store.add([batch((8, tweet("nfl", id="test:last")))])
        ids = [document["id"] for document in archive.pages("term.nfl", 2)]
        assert ids == ["test:last", *(f"test:{number}" for number in reversed(range(9)))]
        assert [d["id"] for d in archive.tweets("term.nfl", before=Place(7, "test:2"))] == ["test:1", "test:0"]


def secret(number: int) -> str:
    return f"pssst{number} zaphod🦚{number} {'q' * 40}{number}"


def test_what_is_deleted_or_changed_is_gone_from_the_disk(tmp_path: Path) -> None:
    said = [tweet(secret(number), id=f"test:{number}") for number in range(6)]
    with kept(tmp_path) as archive:
        add = archive.store.add
        add([batch(*((10 + number, tweet(f"somebody says {number}")) for number in range(3000)))])
        add([batch((5000, said[0]), (5001, said[1]))])
        archive.close_chunk()
        add([batch((5002, said[2]), (5003, said[3]))])
        archive.next_file()
        # In the same file as it was said in, in another one, and before it was said.
        add([batch((5004, said[4]), (5005, deleted(said[5])), (5006, deleted(said[0])), (5007, deleted(said[2])))])
        add([batch((5008, edited(said[1], "harmless")), (5009, deleted(said[3])), (5010, deleted(said[4])))])
        add([batch((5011, said[5]))])
        assert archive.texts("term.pssst") == [], "at once"
        archive.tidy()
        assert archive.texts("term.pssst") == []
        assert archive.texts("term.harmless") == ["harmless"]
        on_disk = bytes_of(tmp_path)
        for trace in ("pssst", "zaphod", "🦚", "qqq", "Pss"):
            assert trace.encode() not in on_disk, trace
        assert b"somebody says" in on_disk


def test_what_was_deleted_shortly_before_a_kill_is_gone_from_the_disk_after_it(tmp_path: Path) -> None:
    said = tweet(secret(1))
    with kept(tmp_path) as archive:
        archive.store.add([batch((10, said), (11, tweet("another one")))])
        archive.next_file()
        archive.store.add([batch((12, deleted(said)))])
        archive.reopen()
        archive.tidy()
        assert b"zaphod" not in bytes_of(tmp_path)
        archive.reopen()
        assert archive.texts("term.another") == ["another one"]
        assert archive.texts("term.zaphod") == []


def test_a_text_with_a_nul_leaves_no_trace_either(tmp_path: Path) -> None:
    said = tweet("see 🦚\0🦚 here")
    with kept(tmp_path) as archive:
        archive.store.add([batch((10, said), (11, tweet("another one")))])
        archive.close_chunk()
        assert archive.texts("term.🦚") == [said.text]
        archive.store.add([batch((12, deleted(said)))])
        archive.tidy()
        assert "🦚\0🦚".encode() not in bytes_of(tmp_path)


def test_an_id_with_a_nul_is_unreadable() -> None:
    events = [tweet("one", id="test:a\0b"), tweet("two")]
    body = raw.pack([raw.entry(event, seq) for seq, event in enumerate(events, start=1)])
    made, unreadable = read(body, raw.headers(), now_us=NOW_US)
    assert ([version.facets.text for version in made.versions], unreadable) == (["two"], 1)


def test_files_of_another_format_are_left_as_they_are_and_said(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        archive.store.add([batch((10, tweet("nfl")))])
    [path] = tmp_path.glob(f"*{SUFFIX}")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with (
        pytest.raises(StartError, match=r"sqlite3 has format 2, and this archive reads \d+: move it away"),
        kept(tmp_path),
    ):
        pass
    assert path.read_bytes() == before


def test_whatever_was_deleted_stays_deleted_when_a_copy_comes_late(tmp_path: Path) -> None:
    said = tweet("nfl")
    with kept(tmp_path) as archive:
        archive.store.add([batch((10, deleted(said)))])
        archive.next_file()
        archive.tidy()
        archive.store.add([batch((20, said))])
        assert archive.texts("term.nfl") == []
        assert archive.texts("all") == []
        assert archive.texts("action.destroy") == ["destroy"]


def test_an_answer_tells_what_it_lacks(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        assert not archive.ask(TweetsQuery(label="all", limit=50, since=5)).whole, "it has nothing"
        assert archive.ask(TweetsQuery(label="all", limit=50)).whole, "there is nothing"
        add = archive.store.add
        add([batch((100, tweet("one")), (110, tweet("two")), link=Link("x", 90))])
        add([batch((130, tweet("four")), link=Link("x", 120))])
        last = archive.ask(TweetsQuery(label="all", limit=50))
        assert (last.missing, last.from_seq, last.complete_to) == ((110, 120), 0, 130)
        assert archive.ask(TweetsQuery(label="all", limit=1)).missing == (110, 120), "between it and the one before"
        assert archive.ask(TweetsQuery(label="all", limit=50, since=120)).whole
        assert archive.ask(TweetsQuery(label="all", limit=50, since=115)).missing == (115, 120)
        assert archive.ask(TweetsQuery(label="all", limit=50, since=80)).missing == (80, 120)
        assert archive.ask(TweetsQuery(label="all", limit=50, before=Place(110, ""))).whole
        add([batch((120, tweet("three")), link=Link("x", 110))])
        assert archive.ask(TweetsQuery(label="all", limit=50)).whole, "it has come"
        assert archive.ask(TweetsQuery(label="all", limit=50, since=90)).whole
        assert archive.ask(TweetsQuery(label="all", limit=50, since=89)).missing == (89, 90)
        archive.reopen()
        assert archive.ask(TweetsQuery(label="all", limit=50, since=90)).whole
        assert archive.ask(TweetsQuery(label="all", limit=50, since=89)).missing == (89, 90)


def test_what_is_not_understood_is_answered_so(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        for query in (
            TweetsQuery(label="nonsense.nfl", limit=5),
            TweetsQuery(label="term.", limit=5),
            TweetsQuery(label="all", limit=0),
            TweetsQuery(label="all", limit=10_001),
            StatesQuery(ids=("test:1",) * 1001),
            LabelsQuery(labels=("all",) * 101, since=0, limit=5),
        ):
            answer = archive.ask(query)
            assert answer.error, query
            assert not answer.documents


def test_an_answer_is_of_bounded_size_and_says_how_far_it_goes(tmp_path: Path) -> None:
    with kept(tmp_path) as archive:
        for part in range(12):
            large = (tweet("nfl " + "x" * 100_000) for _ in range(5))
            archive.store.add([batch(*((100 + part * 5 + at, one) for at, one in enumerate(large)))])
        answer = archive.ask(TweetsQuery(label="term.nfl", limit=60))
        assert 35 < len(answer.documents) < 45
        assert answer.from_seq == 159 - len(answer.documents)
        assert len(archive.pages("term.nfl", 60)) == 60
        answer = archive.ask(LabelsQuery(labels=("term.nfl",), since=50, limit=60))
        assert answer.from_seq == 159 - len(answer.documents)


def test_what_is_too_old_is_forgotten_file_by_file(tmp_path: Path) -> None:
    now = 0
    with kept(tmp_path, keep_us=24 * HOUR_US, segment_us=HOUR_US // 2, now_us=lambda: now) as archive:
        last = 0
        for half_hour in range(60):
            now = half_hour * HOUR_US // 2 + 1
            archive.store.add([batch((now, tweet(f"nfl {half_hour}")), link=Link("x", last))])
            last = now
            archive.store.forget()
        assert archive.texts("term.nfl", 100) == [f"nfl {number}" for number in range(59, 10, -1)], "24 hours of them"
        assert len(list(tmp_path.glob("*.sqlite3"))) == 49
        answer = archive.ask(TweetsQuery(label="term.nfl", limit=100))
        assert (answer.from_seq, answer.missing) == (0, None), "the end of the archive is an end"
        long_ago = archive.ask(TweetsQuery(label="term.nfl", limit=100, since=HOUR_US))
        assert long_ago.missing is not None
        assert long_ago.missing[0] == HOUR_US
        assert archive.ask(TweetsQuery(label="term.nfl", limit=100, since=10 * HOUR_US)).whole
        archive.reopen()
        assert archive.ask(TweetsQuery(label="term.nfl", limit=100, since=HOUR_US)).missing == long_ago.missing
        # Nobody says anything any more: what was said grows old all the same.
        now += 25 * HOUR_US
        archive.store.forget()
        assert archive.texts("all") == []
        assert len(list(tmp_path.glob("*.sqlite3"))) == 1
        assert not archive.ask(TweetsQuery(label="all", limit=5, since=last - 1)).whole
        archive.store.add([batch((now, tweet("nfl again")), link=Link("x", last))])
        assert archive.ask(TweetsQuery(label="all", limit=5, since=last)).whole
        assert not archive.ask(TweetsQuery(label="all", limit=5, since=last - 1)).whole
        assert archive.ask(TweetsQuery(label="all", limit=5)).whole


def test_what_is_too_much_is_forgotten_oldest_first(tmp_path: Path) -> None:
    with kept(tmp_path, keep_bytes=8 * 2**20) as archive:
        for number in range(200):
            archive.store.add(
                [batch(*((number * 100 + at, tweet(f"nfl {number} " + "x" * 900)) for at in range(50)))]
            )
            if number % 10 == 0:
                archive.store.forget()
        archive.store.forget()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 9 * 2**20
        assert 3 < len(list(tmp_path.glob("*.sqlite3"))) <= 40
        assert archive.texts("all", 1)[0].startswith("nfl 199")
        assert not archive.texts("word.1")
        pages = archive.pages("term.nfl", 777)
        assert pages[-1]["seq"] >= archive.store.state.floor > 0
        seqs = [document["seq"] for document in pages]
        assert seqs == sorted(set(seqs), reverse=True)


def test_a_word_of_one_or_two_characters_is_found_wherever_it_stands(tmp_path: Path) -> None:
    alone = ["🦜", "日", "é", "q", "7", "…", "日本", "🦜🏈", "qz", "🦜!"]
    with kept(tmp_path) as archive:
        said, seq = [], 100
        for word in alone:
            for text in (f"… hush {word}", f"{word} hush …", f"so … {word} hush", word, f"so\n{word}\nhush"):
                said.append((seq := seq + 1, tweet(text)))
        archive.store.add([batch(*said)])

        def each_is_found() -> None:
            for word in alone:
                for family in ("term", "word"):
                    label = Label(family, word)
                    found = {document["seq"] for document in archive.tweets(label.key, 1000)}
                    assert found == {seq for seq, one in said if label.matches(Facets.of(one))}, label
                    assert len(found) >= 5

        each_is_found()
        archive.close_chunk()
        each_is_found()
        archive.reopen()
        each_is_found()
