"""`make status`: whether all that was ingested is accounted for, and what can be told where a service is silent."""

from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from deploy import figures, status
from deploy.balance import MOST_IN_A_BATCH, Balance, Reading, judge, lines
from deploy.figures import Said, Values
from deploy.settings import Settings
from services.ingest.pump import MAX_BATCH_EVENTS
from shared import metrics as _metrics  # noqa: F401 - so that they are registered

BEGAN = 1_764_000_000.0


def ingest(published: int, *, dropped: int = 0, buffered: int = 0, began: float = BEGAN) -> dict[str, float]:
    return {
        figures.INGEST_PUBLISHED: published,
        figures.INGEST_DROPPED: dropped,
        figures.INGEST_BUFFERED: buffered,
        figures.STARTED: began,
    }


def router(
    published: int, unmatched: int, dead: int = 0, by_hand: int = 0, *, began: float = BEGAN
) -> dict[str, float]:
    return {
        figures.ROUTER_PUBLISHED: published,
        figures.ROUTER_UNMATCHED: unmatched,
        figures.ROUTER_DEAD: dead,
        figures.ROUTER_BY_HAND: by_hand,
        figures.STARTED: began,
    }


def balance(
    before: Values | None, *routers: Values | None, waiting: int | None = 0, after: Values | None = None
) -> Balance:
    return judge(
        Reading(Said("ingest", [before]), waiting, Said("router", routers), Said("ingest", [after or before]))
    )


def test_all_that_was_ingested_is_in_one_line_of_it() -> None:
    holds = balance(ingest(1_200_000, dropped=7), router(700_000, 300_000), router(150_000, 49_997, dead=3))
    assert not holds.wrong
    assert lines(holds) == [
        "balance  holds",
        "         1,200,007 ingested, of which",
        "           850,000 published: somebody asks for them",
        "           349,997 unmatched: nobody does",
        "                 7 dropped: the broker did not take them, and the source can't wait",
        "                 3 dead: can't be read; `make dead-letters` lists what is kept of them",
        "                 0 under way to a router",
    ]
    assert holds.ingested == holds.published + holds.unmatched + holds.dropped + holds.dead


def test_nothing_yet_is_a_balance_too() -> None:
    assert lines(balance(ingest(0), router(0, 0)))[:2] == ["balance  holds", "         0 ingested, of which"]


def test_what_came_while_it_was_read_is_not_missing() -> None:
    # Between the two looks at ingest routers had counted 130: at some moment ingest had, too.
    moving = balance(ingest(100), router(100, 30), after=ingest(150))
    assert (moving.wrong, moving.ingested, moving.under_way) == ("", 130, 0)
    # A router may be quicker than the broker's confirm.
    ahead = balance(ingest(100), router(100, 4), after=ingest(100, buffered=4))
    assert (ahead.wrong, ahead.ingested) == ("", 104)


def test_what_waits_for_a_router_is_under_way() -> None:
    waits = balance(ingest(5_000, buffered=9_000), router(1_000, 0), waiting=8)
    assert (waits.wrong, waits.under_way, waits.ingested) == ("", 4_000, 5_000)
    assert lines(waits)[-2:] == [
        "         4,000 under way to a router",
        "         9,000 more wait in ingest until the broker takes them",
    ]


def test_what_was_sent_by_hand_is_counted_apart() -> None:
    holds = balance(ingest(10), router(12, 0, dead=1, by_hand=3))
    assert (holds.wrong, holds.ingested, holds.by_hand) == ("", 10, 3)
    assert lines(holds)[1] == "         10 ingested and 3 sent by hand, of which"


def test_what_is_lost_is_said() -> None:
    lost = balance(ingest(100), router(60, 10))
    assert lost.wrong == "does not hold: 30 lost, or counted by a router that has gone"
    assert lost.may_hold_within_s > 5, "the broker may only not have said yet that they wait"
    assert lines(lost)[-1] == "          30 not counted by a router"
    many = balance(ingest(2_000), router(0, 0), waiting=1)
    assert many.wrong.startswith("does not hold: at least 1,000 lost, ")


def test_what_came_twice_is_said() -> None:
    twice = balance(ingest(100, buffered=5), router(100, 11))
    assert twice.wrong.startswith("does not hold: 6 too many")


@pytest.mark.parametrize(
    ("ingest_began", "router_began", "said"),
    [
        (0, 90, "router was started 90 s later"),
        (3 * 3600 + 120, 0, "ingest was started 3 h 2 min later"),
        (0, 2, "lost"),
    ],
)
def test_a_service_that_began_anew_has_forgotten_what_it_had_counted(
    ingest_began: int, router_began: int, said: str
) -> None:
    anew = balance(ingest(100, began=BEGAN + ingest_began), router(40, 0, began=BEGAN + router_began))
    assert said in anew.wrong
    assert anew.wrong.startswith("can't be told") == (said != "lost")


def test_what_a_router_may_have_forgotten_is_not_said_to_wait() -> None:
    assert "router was started 90 s later" in balance(ingest(100), router(40, 0, began=BEGAN + 90), waiting=1).wrong


def test_a_router_that_was_added_changes_nothing() -> None:
    assert not balance(ingest(100), router(80, 0), router(20, 0, began=BEGAN + 3600)).wrong


def test_a_service_that_is_silent_is_named() -> None:
    assert balance(None, router(1, 0)).wrong == "can't be told: ingest does not answer"
    assert balance(ingest(1), router(1, 0), None).wrong == "can't be told: router (1 of 2) does not answer"
    both = balance(None, None)
    assert both.wrong == "can't be told: ingest does not answer and router does not answer"
    assert balance(ingest(1)).wrong == "can't be told: no router runs"
    no_broker = balance(ingest(20), router(1, 0), waiting=None)
    assert no_broker.wrong == "can't be told: the broker does not say how many of 19 wait in it"
    assert not balance(ingest(20), router(20, 0), waiting=None).wrong


def test_what_nobody_tells_is_not_taken_for_nothing() -> None:
    assert lines(balance(ingest(280), None))[1:] == [
        "         280 ingested, of which",
        "           ? published: somebody asks for them",
        "           ? unmatched: nobody does",
        "           0 dropped: the broker did not take them, and the source can't wait",
        "           ? dead: can't be read; `make dead-letters` lists what is kept of them",
        "           ? not counted by a router",
    ]
    assert [line.split()[0] for line in lines(balance(None, router(3, 2)))[1:]] == ["?", "3", "2", "?", "0", "?"]


def test_metrics_are_read_from_what_prometheus_is_told() -> None:
    said = (
        "# HELP roost_a A\n# TYPE roost_a counter\nroost_a_total 3.0\n"
        'roost_b_total{why="a } b",of="x"} 2.0\nroost_b_total{why="c"} 1e3\n\nroost_c nan\nnonsense\n<p>500 x</p>\n'
    )
    values = figures.values(said)
    assert values["roost_a_total"] == 3
    assert values["roost_b_total"] == 1002
    assert "nonsense" not in values


def test_a_batch_has_at_most_so_many_events() -> None:
    assert MOST_IN_A_BATCH == MAX_BATCH_EVENTS


@pytest.mark.parametrize("name", [value for name, value in vars(figures).items() if name.isupper()])
def test_every_figure_is_a_metric_of_a_service(name: str) -> None:
    known = {metric.name for metric in REGISTRY.collect()}
    assert name.removesuffix("_total") in known


@dataclass
class Roost:
    """A Roost whose services say what a test wants."""

    settings: Settings
    said: dict[str, list[Values | None]]
    waits: list[int] = field(default_factory=lambda: [0])
    asked: list[str] = field(default_factory=list)

    def metrics(self, *services: str) -> list[Said]:
        self.asked += services
        return [Said(service, self.said.get(service, [])) for service in services]

    def waiting(self) -> int | None:
        return self.waits.pop(0) if len(self.waits) > 1 else self.waits[0]


def test_status_tells_how_the_services_are_doing() -> None:
    roost = Roost(
        Settings("compose", {}),
        {
            "ingest": [ingest(3) | {figures.LAG: 0.0014}],
            "router": [
                router(1, 0) | {figures.LAG: 0.002, figures.TERMS: 1_037, figures.DRIFT: 1},
                router(2, 0) | {figures.LAG: 1.5, figures.TERMS: 1_036, figures.DRIFT: 2},
            ],
            "gateway": [{figures.GAPS: 4}, None],
            "archive": [None],
        },
    )
    said = status.lines(roost)
    assert said[0] == "balance  holds"
    assert said[-4:] == [
        "gaps     4 told to clients (gateway (1 of 2) does not answer)",
        "lag      archive not told, gateway not told, ingest 1 ms, router 1,500 ms: at worst, in the last minute",
        "terms    1,037 strings searched for",
        "drift    3 bindings that a new look had to set right",
    ]
    first, *others, last = roost.asked
    assert first == last == "ingest", "before the routers and after them"
    assert set(others) == {"router", "gateway", "archive"}


def test_status_tells_what_it_can_where_nothing_answers() -> None:
    said = status.lines(Roost(Settings("local", {"ROOST_ARCHIVE": "off"}), {}))
    assert said[0] == "balance  can't be told: no ingest runs and no router runs"
    assert said[-4:] == [
        "gaps     not told (no gateway runs)",
        "lag      gateway not told, ingest not told, router not told: at worst, in the last minute",
        "terms    not told (no router runs)",
        "drift    not told (no router runs and no ingest runs)",
    ]


def test_a_sum_is_looked_at_again_until_the_broker_has_said_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "LOOK_EVERY_S", 0)
    roost = Roost(Settings("local", {}), {"ingest": [ingest(9)], "router": [router(2, 0)]}, waits=[0, 0, 1])
    assert status.lines(roost)[0] == "balance  holds"
    assert roost.asked.count("router") == 3
