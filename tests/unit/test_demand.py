"""Demand: what is bound is wanted, however the hints about it arrive."""

import asyncio
from collections.abc import Mapping

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.broker import Message
from shared.demand import Binding, Change, Demand, Follower, SnapshotError, vhost_of
from shared.ops import listening
from tests.support.demands import become

bindings = st.builds(
    Binding, st.sampled_from(["queue", "exchange"]), st.sampled_from(["q1", "q2"]), st.sampled_from(["all", "term.a"])
)
changes = st.builds(Change, st.booleans(), bindings)


class Listener:
    """Follows the callbacks, and objects to one that says what was known."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.demand = Demand(wanted=self.wanted, unwanted=self.unwanted)

    def wanted(self, key: str) -> None:
        assert key not in self.keys
        self.keys.add(key)
        self.calls.append(("wanted", key))

    def unwanted(self, key: str) -> None:
        self.keys.remove(key)
        self.calls.append(("unwanted", key))


def queue(name: str, key: str) -> Binding:
    return Binding("queue", name, key)


class TestDemand:
    @settings(deadline=None)
    @given(st.lists(changes, max_size=20))
    def test_it_is_the_set_of_what_was_said_last_of_each_binding(self, said: list[Change]) -> None:
        listener = Listener()
        known: dict[Binding, bool] = {}
        for change in said:
            listener.demand.apply(change)
            known[change.binding] = change.created
            bound = {binding for binding, created in known.items() if created}
            assert listener.demand.bindings() == bound
            assert listener.keys == {binding.key for binding in bound}
            assert len(listener.demand) == len(listener.keys)

    @settings(deadline=None)
    @given(st.frozensets(bindings), st.frozensets(bindings))
    def test_a_snapshot_is_the_truth_and_tells_how_much_was_wrong(
        self, before: frozenset[Binding], truth: frozenset[Binding]
    ) -> None:
        listener = Listener()
        assert become(listener.demand, before) == len(before)
        listener.calls.clear()
        assert become(listener.demand, truth) == len(before ^ truth)
        assert listener.demand.bindings() == truth
        # Who keeps a key through the change hears nothing of it.
        lasting = {binding.key for binding in before} & {binding.key for binding in truth}
        assert not lasting & {key for _, key in listener.calls}
        assert become(listener.demand, truth) == 0

    def test_only_the_first_and_the_last_holder_of_a_key_are_told(self) -> None:
        listener = Listener()
        for change in (
            Change(True, queue("q1", "term.a")),
            Change(True, queue("q2", "term.a")),
            Change(True, queue("q1", "term.a")),
            Change(False, queue("q1", "term.a")),
            Change(False, queue("q1", "term.a")),
        ):
            listener.demand.apply(change)
        assert listener.calls == [("wanted", "term.a")]
        listener.demand.apply(Change(False, queue("q2", "term.a")))
        assert listener.calls == [("wanted", "term.a"), ("unwanted", "term.a")]

    def test_a_queue_and_an_exchange_of_one_name_are_two_holders(self) -> None:
        listener = Listener()
        listener.demand.apply(Change(True, Binding("queue", "x", "all")))
        listener.demand.apply(Change(True, Binding("exchange", "x", "all")))
        listener.demand.apply(Change(False, Binding("queue", "x", "all")))
        assert listener.keys == {"all"}

    def test_a_late_hint_that_something_unknown_went_does_no_harm(self) -> None:
        listener = Listener()
        listener.demand.apply(Change(False, queue("q1", "term.a")))
        assert listener.calls == []


def hint(*, created: bool = True, key: str = "term.a", headers: Mapping[str, str] | None = None) -> Message:
    """As rabbitmq_event_exchange sends it."""
    facts = {
        "source_name": "tweets",
        "source_kind": "exchange",
        "destination_name": "q1",
        "destination_kind": "queue",
        "routing_key": key,
        "vhost": "/",
    }

    async def ack() -> None:
        raise AssertionError("hints are not acknowledged")

    return Message(b"", "binding.created" if created else "binding.deleted", {**facts, **(headers or {})}, ack)


class Scripted(Follower):
    """A follower whose management API answers when and what the test says."""

    def __init__(self, demand: Demand) -> None:
        super().__init__(demand, "http://localhost:15672", "/")
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[set[Binding]] = asyncio.get_running_loop().create_future()

    async def _fetch(self) -> set[Binding]:
        self.asked.set()
        return await self.answer


class TestFollower:
    async def test_hints_are_followed_at_once(self) -> None:
        listener = Listener()
        follower = Follower(listener.demand, "http://localhost:15672", "/")
        await follower.on_event(hint(created=True))
        assert listener.demand.bindings() == {queue("q1", "term.a")}
        await follower.on_event(hint(created=False))
        assert listener.demand.bindings() == set()

    @pytest.mark.parametrize("headers", [{"source_name": "tweets.raw"}, {"source_name": ""}, {"vhost": "other"}])
    async def test_bindings_of_other_exchanges_mean_nothing(self, headers: dict[str, str]) -> None:
        listener = Listener()
        await Follower(listener.demand, "http://localhost:15672", "/").on_event(hint(headers=headers))
        assert listener.calls == []

    async def test_what_changes_while_the_snapshot_is_taken_wins_over_it(self) -> None:
        listener = Listener()
        follower = Scripted(listener.demand)
        taking = asyncio.create_task(follower.snapshot())
        await follower.asked.wait()
        await follower.on_event(hint(created=True, key="term.came"))
        await follower.on_event(hint(created=False, key="term.went"))
        await follower.on_event(hint(created=True, key="term.both"))
        await follower.on_event(hint(created=False, key="term.both"))
        follower.answer.set_result({queue("q1", "term.went"), queue("q1", "term.both"), queue("q2", "term.stays")})
        drift = await taking
        assert listener.keys == {"term.came", "term.stays"}
        assert drift == 1

    async def test_what_changes_while_the_snapshot_is_applied_wins_over_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.demand.LOOKED_AT_ONCE", 1)
        listener = Listener()
        follower = Scripted(listener.demand)
        keys = {f"term.{number}" for number in range(20)}
        follower.answer.set_result({queue("q1", key) for key in keys})
        taking = asyncio.create_task(follower.snapshot())
        for _ in range(6):
            await asyncio.sleep(0)
        assert set() < listener.keys < keys, "others have their turn before all is applied"
        for key in keys:
            await follower.on_event(hint(created=False, key=key))
        await taking
        assert listener.keys == set()

    async def test_what_came_before_the_snapshot_and_is_not_in_it_was_wrong(self) -> None:
        listener = Listener()
        follower = Scripted(listener.demand)
        await follower.on_event(hint(key="term.lost"))
        follower.answer.set_result(set())
        assert await follower.snapshot() == 1
        assert listener.calls == [("wanted", "term.lost"), ("unwanted", "term.lost")]

    async def test_a_snapshot_that_fails_leaves_what_is_known(self) -> None:
        listener = Listener()
        follower = Scripted(listener.demand)
        await follower.on_event(hint(key="term.a"))
        taking = asyncio.create_task(follower.snapshot())
        await follower.asked.wait()
        await follower.on_event(hint(key="term.b"))
        follower.answer.set_exception(SnapshotError("away"))
        with pytest.raises(SnapshotError, match="away"):
            await taking
        assert listener.keys == {"term.a", "term.b"}

    async def test_a_new_router_tries_until_it_has_the_snapshot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shared.demand.RETRY_S", 0)
        listener = Listener()
        answers: list[set[Binding] | SnapshotError] = [
            SnapshotError("away"),
            SnapshotError("away"),
            {queue("q", "all")},
        ]

        class Failing(Follower):
            async def _fetch(self) -> set[Binding]:
                answer = answers.pop(0)
                if isinstance(answer, SnapshotError):
                    raise answer
                return answer

        await Failing(listener.demand, "http://localhost:15672", "/").snapshot_until_it_works()
        assert listener.keys == {"all"}


class TestManagementApi:
    """Against a server of our own, on loopback."""

    async def ask(self, response: web.Response, vhost: str = "/") -> tuple[Demand, list[web.Request]]:
        demand = Listener().demand
        requests: list[web.Request] = []

        async def answer(request: web.Request) -> web.Response:
            requests.append(request)
            return response

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with listening(app, host="127.0.0.1", port=0, setting="") as port:
            await Follower(demand, f"http://somebody:secret@127.0.0.1:{port}", vhost).snapshot()
        return demand, requests

    async def test_a_snapshot(self) -> None:
        rows = [
            {"destination": "q1", "destination_type": "queue", "routing_key": "term.a", "vhost": "/"},
            {"destination": "x", "destination_type": "exchange", "routing_key": "#"},
        ]
        demand, [request] = await self.ask(web.json_response(rows))
        assert demand.bindings() == {queue("q1", "term.a"), Binding("exchange", "x", "#")}
        assert request.raw_path.startswith("/api/exchanges/%2F/tweets/bindings/source?columns=")
        assert request.headers["Authorization"] == "Basic c29tZWJvZHk6c2VjcmV0"

    async def test_the_name_of_the_virtual_host_is_escaped(self) -> None:
        _, [request] = await self.ask(web.json_response([]), vhost="a/b c")
        assert request.raw_path.startswith("/api/exchanges/a%2Fb%20c/tweets/")

    @pytest.mark.parametrize(
        "body", ["", "{}", "null", "7", '[{"destination": "q"}]', '["q"]', "[[]]", "<html>", '{"error": "x"}']
    )
    async def test_an_answer_that_is_none_is_no_truth(self, body: str) -> None:
        with pytest.raises(SnapshotError, match="answered something else"):
            await self.ask(web.Response(text=body))

    @pytest.mark.parametrize("status", [401, 404, 500])
    async def test_a_refusal_is_told_with_its_number(self, status: int) -> None:
        with pytest.raises(SnapshotError, match=f"answered {status} for /api/exchanges") as refused:
            await self.ask(web.Response(status=status))
        assert "secret" not in str(refused.value)

    async def test_nobody_there(self) -> None:
        async with listening(web.Application(), host="127.0.0.1", port=0, setting="") as port:
            pass
        with pytest.raises(SnapshotError, match="can't be reached"):
            await Follower(Listener().demand, f"http://127.0.0.1:{port}", "/").snapshot()


@pytest.mark.parametrize(
    ("url", "vhost"),
    [
        ("amqp://localhost", "/"),
        ("amqp://localhost:5672/", "/"),
        ("amqp://user:password@localhost:5672/%2F", "/"),
        ("amqp://localhost/roost", "roost"),
        ("amqp://localhost/a%2Fb", "a/b"),
        ("amqp://localhost/roost?heartbeat=5", "roost"),
    ],
)
def test_the_virtual_host_of_an_amqp_url(url: str, vhost: str) -> None:
    assert vhost_of(url) == vhost
