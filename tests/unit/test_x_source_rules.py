"""The rules that the source X has at X: those of the setting, or those that follow from what people watch."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.demand import Binding, Change
from tests.support.demands import become
from tests.support.sources import MemoryNotes
from tests.support.turned_clock import TurnedClock
from tests.support.waiting import eventually
from tests.support.x_server import XServer, answers, post, x_server
from tests.support.x_source import Reader, reading_x, streaming, turned_until, warnings, wishing, x_source

FOREIGN: list[dict[str, Any]] = [
    {"id": 1377649934414049282, "value": "brexit", "tag": None},
    {"id": "1377649934414049283", "value": "kpop"},
    {"id": "1377649934414049284", "value": "cats", "tag": "somebody else's"},
    {"id": "1377649934414049285", "value": "hens", "tag": "roosters of Kauai"},
]


def values(server: XServer) -> list[str]:
    return sorted(rule["value"] for rule in server.rules)


def ours(server: XServer) -> list[str]:
    return sorted(rule["value"] for rule in server.rules if rule.get("tag") == "roost")


def bind(reader: Reader, *keys: str, destination: str = "gateway.1", created: bool = True) -> None:
    assert reader.source.demand is not None
    for key in keys:
        reader.source.demand.apply(Change(created, Binding("queue", destination, key)))


def unbind(reader: Reader, *keys: str) -> None:
    bind(reader, *keys, created=False)


def asking(reader: Reader) -> dict[str, int]:
    return {label: round(seconds) for label, seconds in reader.source.report.status().asking.items()}


# A list of rules


async def test_only_what_differs_is_changed_and_only_of_ours() -> None:
    async with x_server() as server:
        server.rules = [
            *FOREIGN,
            {"id": "1", "value": "nfl", "tag": "roost"},
            {"id": "2", "value": "old", "tag": "roost"},
        ]
        async with reading_x(server, TurnedClock(), rules=["nfl", "nba", "cats"]):
            await streaming(server)
            assert values(server) == ["brexit", "cats", "hens", "kpop", "nba", "nfl"]
            assert {"id": "1", "value": "nfl", "tag": "roost"} in server.rules
            # There is a limit to rules, so room is made first.
            assert server.rule_requests == ["get", "delete", "add"]


async def test_rules_are_compared_once_more_before_each_connection() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock):
        await streaming(server)
        await clock.turn(30)
        server.rules.clear()
        server.end()
        await clock.turn(10)
        await streaming(server)
        assert values(server) == ["nfl"]


async def test_a_hundred_rules_are_added_in_portions() -> None:
    wanted = sorted(f"word{number}" for number in range(250))
    async with x_server() as server, reading_x(server, TurnedClock(), rules=wanted):
        await streaming(server)
        assert values(server) == wanted
        assert server.rule_requests == ["get", "add", "add", "add"]
        assert REGISTRY.get_sample_value("roost_x_rules") == 250


@pytest.mark.parametrize("named", [True, False])
async def test_a_rule_that_x_refuses_is_left_out_and_named(named: bool) -> None:
    async with x_server() as server:
        server.names_bad_rules = named
        with capture_logs() as logs:
            async with reading_x(server, TurnedClock(), rules=["nfl", "lang:en", "nba"]):
                await streaming(server)
                assert values(server) == ["nba", "nfl"]
        (told,) = warnings(logs)
        assert told["rule"] == "lang:en"


async def test_nothing_but_refused_rules_needs_no_stream() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, rules=["lang:en"]) as reader:
        await clock.turn(120)
        assert server.connects == 0
        status = reader.source.report.status()
        assert (status.state, status.detail) == ("away", "X refuses every rule that it is asked for")


# Requests for rules fail


@pytest.mark.parametrize("status", [429, 503, 500])
async def test_a_stream_goes_on_while_rules_cannot_be_changed(status: int) -> None:
    clock = TurnedClock()
    async with x_server() as server:
        server.rules_fault = answers(status)
        server.rules = [{"id": "1", "value": "nfl", "tag": "roost"}]
        async with reading_x(server, clock, rules=["nfl", "nba"]) as reader:
            await streaming(server)
            await server.push(post("nfl"))
            await eventually(lambda: reader.texts == ["nfl"])
            with capture_logs() as logs:
                for _ in range(15):
                    await clock.turn(20)
                    server.push_raw(b"\r\n")
            assert server.connects == 1
            assert len(server.rule_requests) <= 7
            (told,) = warnings(logs)
            assert str(status) in told["reason"]
            server.rules_fault = None
            for _ in range(50):
                await clock.turn(20)
                server.push_raw(b"\r\n")
            assert values(server) == ["nba", "nfl"]
            assert server.connects == 1


async def test_without_rules_x_refuses_the_stream_until_there_are_some() -> None:
    clock = TurnedClock()
    async with x_server() as server:
        server.rules_fault = answers(503)
        async with reading_x(server, clock) as reader:
            with capture_logs() as logs:
                await clock.turn(60)
            assert 2 <= server.connects <= 4
            (told,) = warnings(logs)
            assert told["reason"] == "X has no rules to send posts for (409)"
            server.rules_fault = None
            await turned_until(clock, lambda: server.streaming)
            await server.push(post("nfl"))
            await eventually(lambda: reader.texts == ["nfl"])


@pytest.mark.parametrize("text", ["<html>", "[]", '{"data": 5}', '{"data": [5]}', '{"data": [{"value": "x"}]}', ""])
async def test_answers_that_make_no_sense_are_tried_again(text: str) -> None:
    clock = TurnedClock()
    async with x_server() as server:
        server.rules_fault = answers(200, text=text)
        async with reading_x(server, clock) as reader:
            await clock.turn(30)
            assert not reader.failed()
            server.rules_fault = None
            await turned_until(clock, lambda: server.streaming)


async def test_more_rules_than_x_holds_is_a_failure_and_no_end() -> None:
    clock = TurnedClock()
    async with x_server() as server:
        server.rules = [{"id": str(number), "value": f"foreign{number}"} for number in range(1000)]
        async with reading_x(server, clock) as reader:
            await streaming(server)
            with capture_logs() as logs:
                for _ in range(6):
                    await clock.turn(20)
                    server.push_raw(b"\r\n")
            assert len(server.rules) == 1000
            (told,) = warnings(logs)
            assert "rule-cap" in told["reason"]
            assert reader.source.report.status().state == "live"


# What people watch


async def test_a_room_is_asked_for_when_somebody_enters_it() -> None:
    clock = TurnedClock()
    async with x_server() as server:
        server.rules = [*FOREIGN, {"id": "1", "value": "left over", "tag": "roost"}]
        async with reading_x(server, clock, **wishing("nfl", "tag/ai")) as reader:
            bind(reader, "action.update", "action.destroy")
            await clock.turn(60)
            # Nobody watches anything: no rules of ours, and no stream.
            assert ours(server) == []
            assert server.connects == 0
            assert reader.source.report.status().state == "live"

            bind(reader, "term.nfl", "term.inflation", "has_url")
            await eventually(lambda: asking(reader) == {"term.nfl": 40})
            assert reader.source.report.status().not_asked == ("has_url", "term.inflation")
            await clock.turn(10)
            assert asking(reader) == {"term.nfl": 30}
            assert ours(server) == []
            await clock.turn(10)
            await streaming(server)
            assert ours(server) == ["nfl"]
            assert asking(reader) == {"term.nfl": 20}
            await clock.turn(20)
            assert asking(reader) == {}
            await server.push(post("the #NFL draft"))
            await eventually(lambda: reader.texts == ["the #NFL draft"])

            unbind(reader, "term.nfl")
            await clock.turn(22)
            await eventually(lambda: not server.streaming)
            assert ours(server) == []
            assert len(server.rules) == len(FOREIGN)
            assert reader.source.report.status().state == "live"


async def test_many_who_come_together_are_one_request() -> None:
    clock = TurnedClock()
    words = [f"word{number}" for number in range(300)]
    async with x_server() as server, reading_x(server, clock, **wishing(*words)) as reader:
        await clock.turn(0)
        for word in words:
            bind(reader, f"term.{word}")
            await clock.turn(0.05)
        assert server.rule_requests == []
        await clock.turn(10)
        await streaming(server)
        assert server.rule_requests == ["get", "add"]
        assert sum(value.count("word") for value in ours(server)) == 300
        # Strangers who come and go cost nothing.
        for number in range(50):
            bind(reader, f"term.stranger{number}")
            await clock.turn(1)
            server.push_raw(b"\r\n")
        assert server.rule_requests == ["get", "add"]
        assert reader.source.report.status().not_asked_count == 50


async def test_a_rule_that_is_wanted_on_stays_where_another_is_added() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, **wishing("nfl", "nba")) as reader:
        bind(reader, "term.nfl")
        await turned_until(clock, lambda: server.streaming)
        (before,) = server.rules
        await clock.turn(25)
        bind(reader, "term.nba")
        await eventually(lambda: asking(reader) == {"term.nba": 40})
        await clock.turn(15)
        server.push_raw(b"\r\n")
        await clock.turn(10)
        await eventually(lambda: ours(server) == ["nba", "nfl"])
        assert before in server.rules
        assert server.connects == 1


async def test_a_room_that_many_watch_is_asked_for() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, **wishing(min_bindings=2)) as reader:
        bind(reader, "term.nfl", "term.lonely")
        bind(reader, "term.lonely", "term.Lonely")
        bind(reader, "term.NFL", destination="gateway.2")
        await clock.turn(25)
        await streaming(server)
        assert ours(server) == ["nfl"]
        assert reader.source.report.status().not_asked == ("term.lonely",)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("bad", [{"word13"}, {"word0", "word99", "word50"}])
async def test_an_expression_that_x_refuses_costs_no_other_room(bad: set[str], named: bool) -> None:
    clock = TurnedClock()
    words = [f"word{number}" for number in range(100)]
    async with x_server() as server, reading_x(server, clock, **wishing(*words)) as reader:
        server.refuses, server.names_bad_rules = bad, named
        bind(reader, *(f"term.{word}" for word in words))
        await turned_until(clock, lambda: server.streaming)
        asked = " ".join(ours(server)).replace(" OR ", " ").split()
        assert sorted(asked) == sorted(set(words) - bad)
        assert set(reader.source.report.status().not_asked) == {f"term.{word}" for word in bad}
        requests = len(server.rule_requests)
        assert requests < 80
        # It is remembered: the next change asks once, and not for that again.
        unbind(reader, "term.word1")
        await clock.turn(15)
        server.push_raw(b"\r\n")
        await clock.turn(10)
        await eventually(lambda: "word1 " not in " ".join(ours(server)) + " ")
        assert len(server.rule_requests) <= requests + 3


async def test_who_is_in_bad_company_is_asked_for_in_better() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, **wishing("nfl", "bad", "lang/en", "url")) as reader:
        server.refuses = {"bad"}
        bind(reader, "term.nfl", "term.bad", "lang.en", "has_url")
        await turned_until(clock, lambda: server.streaming)
        assert ours(server) == ["nfl", "nfl (has:links OR lang:en)"]
        assert reader.source.report.status().not_asked == ("term.bad",)


async def test_while_the_budget_is_used_up_nothing_is_asked() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, budget=1, **wishing("nfl", "nba")) as reader:
        bind(reader, "term.nfl")
        await clock.turn(25)
        await streaming(server)
        await server.push(post("nfl"))
        await eventually(lambda: not server.streaming)
        requests = len(server.rule_requests)
        bind(reader, "term.nba")
        await clock.turn(3600)
        assert len(server.rule_requests) == requests
        assert asking(reader) == {}
        await clock.turn(23 * 3600)
        await streaming(server)
        assert ours(server) == ["nba", "nfl"]


async def test_failing_requests_are_told_to_those_who_wait() -> None:
    clock = TurnedClock()
    async with x_server() as server, reading_x(server, clock, **wishing("nfl")) as reader:
        server.rules_fault = answers(429)
        await clock.turn(0)
        bind(reader, "term.nfl")
        await clock.turn(20.5)
        # In a minute it is tried again, and then it takes as long as ever.
        await eventually(lambda: asking(reader) == {"term.nfl": 80})
        assert server.rule_requests == ["get"]
        server.rules_fault = None
        await turned_until(clock, lambda: server.streaming)
        assert ours(server) == ["nfl"]


async def test_what_is_watched_already_is_asked_for_at_once_when_it_is_read_again() -> None:
    clock = TurnedClock()
    async with x_server() as server:
        async with reading_x(server, clock, **wishing("nfl")) as reader:
            bind(reader, "term.nfl")
            await clock.turn(25)
            await streaming(server)
            source = reader.source
        server.rules.clear()
        again = Reader(source, MemoryNotes())
        await streaming(server)
        assert ours(server) == ["nfl"]
        assert clock.seconds < 30
        await again.stop()


async def test_what_is_watched_when_ingest_comes_is_asked_for_at_once_and_nothing_before_that_is_known() -> None:
    clock = TurnedClock()
    async with x_server() as server:
        server.rules = [{"id": "1", "value": "nyc", "tag": "roost"}]
        source = x_source(server.url, clock, **wishing("nfl", "nyc"))
        reader = Reader(source, MemoryNotes())
        assert source.demand is not None
        # A change, heard of before it is known what else there is.
        bind(reader, "term.nfl")
        await clock.turn(60)
        assert values(server) == ["nyc"]
        become(source.demand, [Binding("queue", "gateway.1", f"term.{term}") for term in ("nfl", "nyc")])
        await streaming(server)
        assert clock.seconds < 61
        assert values(server) == ["nfl", "nyc"]
        await reader.stop()
