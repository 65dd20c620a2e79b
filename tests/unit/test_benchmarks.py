"""The pure parts of the benchmarks: what they count with has to be right, or the figures are not."""

import asyncio
import collections
import itertools
import json
import os
import struct
from pathlib import Path

import msgpack
import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import connections, corpus, figures, latency, plot, report, subscriptions, tweets
from benchmarks.counter import Counter, array_length
from benchmarks.machine import Cores, cores, description, memory_kb
from benchmarks.servers.passthrough import PassThrough
from benchmarks.websocket import CLOSE, TEXT, Frame, ProtocolError, after_head, frames, masked, unmasked, upgrade
from services.gateway.subscriptions import request
from services.router.classify import classify
from services.router.matcher import Matcher
from shared import feed, raw
from shared.labels import Facets

PAYLOADS = st.lists(st.binary(max_size=300) | st.integers(60_000, 70_000).map(lambda size: b"x" * size), max_size=6)


@given(PAYLOADS, st.lists(st.integers(0, 100_000), max_size=8))
def test_frames_are_counted_however_the_network_cuts_them(payloads: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(map(unmasked, payloads))
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    seen, rest = [], b""
    for start, end in itertools.pairwise(places):
        found, rest = frames(rest + sent[start:end])
        seen += found
    assert seen == [Frame(TEXT, payload) for payload in payloads]
    assert rest == b""


@pytest.mark.parametrize(
    "sent", [b"\x01\x02hi", b"\xc1\x02hi", masked(TEXT, b"hi")], ids=["fragment", "compressed", "masked"]
)
def test_what_the_load_generator_could_not_count_is_refused(sent: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames(sent)


def test_a_client_asks_for_no_compression_and_knows_when_it_is_connected() -> None:
    assert b"Extensions" not in upgrade("127.0.0.1:1")
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    assert after_head(head) is None
    assert after_head(head + b"\r\n" + unmasked(b"0{}")) == unmasked(b"0{}")
    with pytest.raises(ProtocolError, match="429"):
        after_head(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")


@given(st.binary(max_size=1000))
def test_a_clients_frame_is_masked_with_nothing(payload: bytes) -> None:
    made = masked(CLOSE, payload)
    assert made[0] == 0x80 | CLOSE
    assert made[1] & 0x80
    assert made.endswith(bytes(4) + payload)


def test_tweets_have_the_size_that_is_told_and_are_all_different() -> None:
    made = [tweets.document(number) for number in range(3)]
    assert {len(tweets.encoded(document)) for document in made} == {tweets.SIZE} == {460}
    assert len({document["id"] for document in made}) == len({document["seq"] for document in made}) == 3
    assert len(tweets.encoded(tweets.timed(7))) == 460
    message = tweets.message(made, ["term.nfl"])
    assert [document["id"] for document in feed.unpack(message.body, message.headers)] == [
        document["id"] for document in made
    ]
    with pytest.raises(ValueError, match="bytes at least"):
        tweets.document(1, 50)


def test_a_timed_tweet_says_when_it_was_made() -> None:
    packet = tweets.frame_text(tweets.timed(1), "nfl")
    place = packet.index(tweets.SENT.encode()) + len(tweets.SENT)
    assert packet.startswith(b'42["newTweet",')
    assert packet[place : place + 20].endswith(b" ")
    assert int(packet[place : place + 19]) > 0


@given(st.lists(st.integers(0, 50), min_size=1), st.sampled_from([1, 50, 99, 100]))
def test_a_percentile_is_passed_by_no_more_than_it_says(sample: list[int], percent: int) -> None:
    value = figures.percentile(sorted(sample), percent)
    assert value in sample
    assert sum(each > value for each in sample) <= len(sample) * (100 - percent) / 100
    assert sum(each < value for each in sample) < len(sample) * percent / 100


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing"):
        figures.percentile([], 99)


def test_figures_are_told_as_exactly_as_they_are_known() -> None:
    assert figures.rounded(0.80512) == 0.805
    assert figures.rounded(1266.7) == 1267
    assert figures.rounded(559.63, 4) == 559.6


def test_a_load_generator_that_is_the_bottleneck_is_told_loudly() -> None:
    two = Cores(0, 1, frozenset({0, 1}))
    assert "WARNING" not in figures.share_of_core("load", 0.43, two)
    assert "43%" in figures.share_of_core("load", 0.43, two)
    assert "WARNING" in figures.share_of_core("load", 0.95, two)


def test_figures_from_a_single_core_are_told_to_be_no_good() -> None:
    told = figures.share_of_core("load", 0.43, Cores(0, 0, frozenset({0})))
    assert "WARNING: server and load had to share one core" in told


def test_the_cores_are_told_that_were_used() -> None:
    before = os.sched_getaffinity(0)
    on = cores()
    try:
        os.sched_setaffinity(0, {on.load})
        assert cores() == on
        told = description()["cores"]
    finally:
        os.sched_setaffinity(0, before)
    assert told == f"{len(on.allowed)} (server on core {on.server}, load on core {on.load})"
    assert "server on any" in description(servers_on="any")["cores"]


def test_memory_is_what_is_resident() -> None:
    kib = memory_kb(os.getpid())
    held = b"x" * (64 << 20)
    assert memory_kb(os.getpid()) - kib == pytest.approx(len(held) / 1024, rel=0.1)


def test_a_crowd_goes_on_opening_rooms_and_is_the_same_for_every_server() -> None:
    crowd = connections.crowd(10_000)
    assert set(collections.Counter(crowd).values()) == {10}
    assert crowd == connections.crowd(10_000)
    begun = [len(set(crowd[:clients])) for clients in (1_000, 3_000, 10_000)]
    assert 600 < begun[0] < 700
    assert begun[0] + 250 < begun[1] < begun[2] == 1_000


@pytest.mark.parametrize("kind", subscriptions.KINDS[1:], ids=lambda kind: kind.name)
def test_subscriptions_are_as_equal_and_match_as_often_as_the_table_says(kind: subscriptions.Kind) -> None:
    asked = [
        request.read(wanted) for number in range(50) if request.is_subscription(wanted := kind.subscription(number))
    ]
    assert len({one.wanted for one in asked}) == (1 if kind.name == "equal" else 50)
    assert len({one.wanted.query.binding for one in asked if one.wanted.query}) == (50 if kind.tagged else 1)
    document = tweets.document(7) | {"hashtags": [tweets.tag(7)]}
    facets = Facets.of_document(document)
    matching = sum(one.wanted.query is not None and one.wanted.query.matches(document, facets) for one in asked)
    assert matching == (50 if kind.to_all else 1)


@pytest.fixture(scope="module")
def drawn() -> corpus.Corpus:
    return corpus.Corpus(3000)


def test_terms_are_in_the_share_of_tweets_that_is_told(drawn: corpus.Corpus) -> None:
    for number in (10, 1000):
        terms = drawn.few(number)
        assert len(set(terms)) == number
        having = [text for text in drawn.texts if any(term in text for term in terms)]
        assert len(having) / len(drawn.texts) == pytest.approx(corpus.SHARE, rel=0.05)
        assert len(corpus.places(drawn.texts, terms)) == len(having)
    assert any(" " in term for term in terms)


def test_where_every_tweet_has_a_term_none_has_more_than_three(drawn: corpus.Corpus) -> None:
    terms = drawn.many(500)
    having = drawn.having(terms)
    assert len(having) > len(drawn.entries) / 2
    each = [sum(term in entry.facets.text for term in terms) for entry in having]
    assert set(each) == {1, 2, 3}


def test_strangers_are_in_no_tweet(drawn: corpus.Corpus) -> None:
    terms = drawn.strangers(200) + drawn.strangers(3000)
    assert len(set(terms)) == 3200
    assert not any(term in text for text in drawn.texts for term in terms)


def test_a_tweet_for_a_room_is_for_no_other(drawn: corpus.Corpus) -> None:
    rooms = latency.rooms_of(drawn)
    assert len(set(rooms)) == latency.ROOMS
    assert not any(room in text for text in drawn.texts for room in rooms)
    assert not any(room in other for room in rooms for other in rooms if other != room)


def test_batches_are_as_ingest_makes_them_and_their_keys_those_that_a_router_finds(
    drawn: corpus.Corpus, tmp_path: Path
) -> None:
    terms = drawn.few(100)
    packed = corpus.batches(drawn.entries, terms)
    assert packed.tweets == sum(len(raw.Batch(body)) for body in packed.bodies) == len(drawn.entries)
    matcher = Matcher(max_terms=100)
    for term in terms:
        matcher.want(corpus.key_of(term))
    assert [matcher.keys_of(raw.Batch(body)) for body in packed.bodies] == packed.keys
    packed.save(tmp_path / "batches")
    assert corpus.Batches.load(tmp_path / "batches") == packed


def test_a_router_that_looks_for_nothing_makes_the_same_messages(drawn: corpus.Corpus) -> None:
    terms = drawn.many(300)
    packed = corpus.batches(drawn.having(terms), terms)
    matcher = Matcher(max_terms=300)
    for term in terms:
        matcher.want(corpus.key_of(term))
    given: list[tuple[dict[str, object], bytes]] = [({}, body) for body in packed.bodies]
    assert classify(given, PassThrough(packed).keys_of) == classify(given, matcher.keys_of)
    twice = packed._replace(bodies=packed.bodies * 2, keys=packed.keys * 2)
    with pytest.raises(ValueError, match="begin alike"):
        PassThrough(twice)


@given(st.integers(0, 100_000))
def test_tweets_of_a_message_are_counted_by_its_first_bytes(number: int) -> None:
    assert array_length(msgpack.Packer().pack_array_header(number) + bytes(5)) == number


@given(st.lists(st.integers(1, 40), max_size=5), st.lists(st.integers(0, 3000), max_size=8))
def test_a_consumer_counts_tweets_however_the_network_cuts_them(sizes: list[int], cuts: list[int]) -> None:
    def amqp(kind: int, payload: bytes) -> bytes:
        return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"

    async def count() -> int:
        counter = Counter(yarl.URL("amqp://nobody:nobody@127.0.0.1/"))
        sent = b""
        for size in sizes:
            body = msgpack.packb([b"x" * 10] * size)
            # A method that brings a message, its header, its body in two frames.
            sent += amqp(1, struct.pack(">HH", 60, 60)) + amqp(2, bytes(14)) + amqp(3, body[:7]) + amqp(3, body[7:])
        for start, end in itertools.pairwise([0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]):
            counter.data_received(sent[start:end])
        assert counter.messages == len(sizes)
        return counter.tweets

    assert asyncio.run(count()) == sum(sizes)


def test_columns_stand_under_each_other() -> None:
    lines = figures.table(["server", "µs"], [["Roost", "1"], ["python-socketio", "100"]]).splitlines()
    assert lines == ["server            µs", "---------------  ---", "Roost              1", "python-socketio  100"]


KEPT = {
    "fanout": {
        "measured": "2026-01-02",
        "quick": True,
        "table": ["a table"],
        "figures": {
            kind: {"roost_us": 1, "node_us": 2, "python_socketio_us": 3, "floor_us": 4}
            for kind in ("single", "burst")
        },
        "details": {"with": {"Python": "3.11"}},
    },
    "cluster": {
        "measured": "2026-01-02",
        "quick": False,
        "table": ["another table"],
        "figures": {"roost": [5, 5], "aiopika": [7, 8]},
        "details": {"with": {"RabbitMQ": "4.3"}, "gateways": [2, 3]},
    },
    "matching": {
        "measured": "2026-01-02",
        "quick": False,
        "table": ["a third table"],
        "figures": {"us": {"10": 1, "1000": 2}},
        "details": {"with": {}},
    },
    "latency": {
        "measured": "2026-01-02",
        "quick": False,
        "table": ["a fourth table"],
        "figures": {
            "rates": {"1000": {"p50_ms": 5, "p99_ms": 6}, "3000": {"p50_ms": 7, "p99_ms": 8}},
            "node_rates": {"1000": {"p50_ms": 1, "p99_ms": 2}, "3000": {"p50_ms": 3, "p99_ms": 4}},
        },
        "details": {"with": {}},
    },
}


def test_the_report_has_what_was_saved_and_leaves_the_rest_of_the_page_alone() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    written = report.with_results(page, report.results(KEPT))
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written
    assert "a table" in written
    assert "rough" in written
    assert "Python 3.11, RabbitMQ 4.3" in written
    assert report.with_results(written, report.results(KEPT)) == written
    with pytest.raises(ValueError, match="no <!--"):
        report.with_results("no marks", "")


def test_the_page_has_the_marks_that_the_report_writes_between() -> None:
    report.with_results(report.DOCUMENT.read_text(encoding="utf-8"), "")


def test_the_plot_has_the_saved_figures() -> None:
    assert plot.bars(KEPT)[0][1] == {"Roost": 1, "Node.js": 2, "python-socketio": 3, "the floor": 4}
    cluster, matching, latency = plot.curves(KEPT)
    assert cluster.points == {
        "Roost": [(2, 5), (3, 5)],
        "python-socketio with AsyncAioPikaManager": [(2, 7), (3, 8)],
    }
    assert matching.points == {"Roost": [(10, 1), (1000, 2)]}
    assert latency.points["Roost, p99"] == [(1000, 6), (3000, 8)]
    assert latency.points["Node.js, p50"] == [(1000, 1), (3000, 3)]
    assert not plot.bars({})
    assert not plot.curves({})


def test_a_benchmark_keeps_its_figures_beside_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for name in ("slow", "fanout"):
        figures.save(name, figures.Outcome({"of": name}, "a\nb", {"with": {}}), path, quick=False)
    kept = json.loads(path.read_text())
    assert {name: kept[name]["figures"] for name in kept} == {"slow": {"of": "slow"}, "fanout": {"of": "fanout"}}
    assert kept["slow"]["table"] == ["a", "b"]
