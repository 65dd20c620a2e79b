"""The pure parts of the benchmarks: what they count with has to be right, or the figures are not."""

import itertools
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import connections, figures, plot, report, subscriptions, tweets
from benchmarks.machine import Cores, cores, description, memory_kb
from benchmarks.websocket import CLOSE, TEXT, Frame, ProtocolError, after_head, frames, masked, unmasked, upgrade
from services.gateway.subscriptions import request
from shared import feed
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
    assert set(Counter(crowd).values()) == {10}
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
    assert plot.lines(KEPT) == {
        "Roost": [(2, 5), (3, 5)],
        "python-socketio with AsyncAioPikaManager": [(2, 7), (3, 8)],
    }
    assert plot.bars({}) == []


def test_a_benchmark_keeps_its_figures_beside_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for name in ("slow", "fanout"):
        figures.save(name, figures.Outcome({"of": name}, "a\nb", {"with": {}}), path, quick=False)
    kept = json.loads(path.read_text())
    assert {name: kept[name]["figures"] for name in kept} == {"slow": {"of": "slow"}, "fanout": {"of": "fanout"}}
    assert kept["slow"]["table"] == ["a", "b"]
