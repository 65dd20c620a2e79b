"""What subscriptions cost the server: ten thousand that are equal, ten thousand that are not, and a room beside them.

    python -m benchmarks.subscriptions [--quick] [--json] [--save]

One gateway after the other has ten thousand clients, one subscription each, for all fields, with a `createQuery`:

- `room`: no subscriptions but the members of one room, for comparison;
- `equal`: the same query for all;
- `different`: a query of its own for each, all on one label, and all match every tweet;
- `one_matches`: the same, and each tweet matches a single one of the ten thousand;
- `labels`: a label of its own for each, and each tweet has one of these.

Tweets come one a turn of the loop, so seldom that the server is done before the next, but as quickly as they go where
the labels differ. The processor time of the
server's process, from the command to the last client's last tweet, is divided by tweets and by deliveries; nothing is
subtracted. Each server is measured `rounds` times afresh, in turns, and figures are medians. Afterwards, in a pass
that is not measured, matches and encodings are counted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import tweets
from benchmarks.children import Children, Process, children
from benchmarks.failure import BenchmarkError
from benchmarks.figures import Options, Outcome, log, median, rounded, run, share_of_core, table
from benchmarks.load import UID, Subscription
from benchmarks.machine import cores, cpu_s, description, require_files
from benchmarks.servers import ROOM

_GROUP = "subscribers"
_PATIENCE_S = 120.0
_WARM = 2
"""Tweets before those that count: code is loaded, memory taken."""

_COUNTED = 3
"""Tweets of the pass that counts matches and encodings."""


class Kind(NamedTuple):
    """One kind of subscriptions."""

    name: str
    title: str
    subscription: Callable[[int], Subscription]
    """What a client subscribes to, by its number."""
    to_all: bool
    """Whether every client is sent every tweet; otherwise each tweet goes to one."""
    tweets: int
    every_ms: float
    """For ten thousand clients."""
    tagged: bool = False


def query(**conditions: Any) -> Subscription:  # noqa: ANN401 - whatever a query takes
    """A subscription to new tweets with all their fields."""
    return {"uid": UID, "collection": "tweet", "createQuery": conditions}


KINDS = (
    Kind("room", "a room", lambda _: ROOM, to_all=True, tweets=10, every_ms=400),
    Kind("equal", "equal", lambda _: query(term=ROOM), to_all=True, tweets=10, every_ms=400),
    Kind(
        "different",
        "different, all match",
        lambda number: query(term=ROOM, source=["bench", f"other{number}"]),
        to_all=True,
        tweets=5,
        every_ms=2000,
    ),
    Kind(
        "one_matches",
        "different, one matches",
        lambda number: query(term=ROOM, url=tweets.url(number)),
        to_all=False,
        tweets=40,
        every_ms=100,
    ),
    # As quickly as they go: a tweet for one is soon done, and ten thousand heartbeats would be in the figure.
    Kind(
        "labels",
        "different labels",
        lambda number: query(tag=tweets.tag(number)),
        to_all=False,
        tweets=900,
        every_ms=0,
        tagged=True,
    ),
)


class Measured(NamedTuple):
    """What one server needed."""

    us_per_tweet: float
    us_per_delivery: float
    matches: float
    encodings: float
    load: float
    """The share of its core that the load generator used."""


class Subscribers:
    """A server and its clients, all of one kind."""

    def __init__(self, kind: Kind, start: Children, load: Process, sockets: int) -> None:
        self._kind = kind
        self._load = load
        self._sockets = sockets
        self._next = 0
        self._server, port = start.server("roost")
        wanted = [kind.subscription(number) for number in range(sockets)]
        load.ask("connect", _PATIENCE_S, group=_GROUP, port=port, count=sockets, rooms=wanted, timeout_s=_PATIENCE_S)

    def measure(self) -> Measured:
        """Fire, and count."""
        self._fire(_WARM)
        number = min(self._kind.tweets, self._sockets - self._next - _COUNTED)
        used, deliveries = self._fire(number)
        load = float(self._load.ask("busy")["share"])
        self._server.ask("count")
        self._fire(_COUNTED)
        counted = self._server.ask("count")
        return Measured(
            used * 1e6 / number,
            used * 1e6 / deliveries,
            counted["matches"] / _COUNTED,
            counted["encodings"] / _COUNTED,
            load,
        )

    def _fire(self, number: int) -> tuple[float, int]:
        """Send so many tweets; returns the processor seconds that took the server, and how many were delivered."""
        self._server.ask("prepare", first=self._next, count=number, tagged=self._kind.tagged)
        self._next += number
        self._load.ask("reset", group=_GROUP)
        before = cpu_s(self._server.pid)
        every_ms = self._kind.every_ms * self._sockets / 10_000
        self._server.ask("fire", _PATIENCE_S, tweets=1, times=number, every_ms=every_ms)
        if self._kind.to_all:
            had = self._load.ask("await_tweets", _PATIENCE_S, group=_GROUP, each=number, timeout_s=_PATIENCE_S)
        else:
            had = self._load.ask("await_total", _PATIENCE_S, group=_GROUP, total=number, timeout_s=_PATIENCE_S)
        used = cpu_s(self._server.pid) - before
        expected = number * (self._sockets if self._kind.to_all else 1)
        if had["tweets"] != expected:
            raise BenchmarkError(f"{self._kind.name}: {had['tweets']} tweets have come instead of {expected}")
        return used, expected


def measure(options: Options) -> Outcome:
    """Run it."""
    sockets, rounds = (1_000, 1) if options.quick else (10_000, 3)
    require_files(sockets)
    found: dict[str, list[Measured]] = {kind.name: [] for kind in KINDS}
    with children() as lasting:
        load = lasting.load()
        for number in range(rounds):
            for kind in KINDS:
                with children() as start:
                    measured = Subscribers(kind, start, load, sockets).measure()
                    load.ask("close", group=_GROUP)
                found[kind.name].append(measured)
                log.info(
                    "round %d of %d, %s: %.1f µs a delivery, %.0f µs a tweet",
                    *(number + 1, rounds, kind.title, measured.us_per_delivery, measured.us_per_tweet),
                )
    figures = {name: _figures(of_it, is_room=name == "room") for name, of_it in found.items()}
    busiest = max(measured.load for of_it in found.values() for measured in of_it)
    details = {
        "with": description(),
        "sockets": sockets,
        "rounds": rounds,
        "bytes": tweets.SIZE,
        "load": rounded(busiest),
        "spread": {
            name: [
                rounded(min(one.us_per_delivery for one in of_it)),
                rounded(max(one.us_per_delivery for one in of_it)),
            ]
            for name, of_it in found.items()
        },
    }
    return Outcome(figures, _table(figures, sockets, busiest), details)


def _figures(of_it: list[Measured], *, is_room: bool) -> dict[str, float]:
    figures = {
        "us_per_delivery": rounded(median([one.us_per_delivery for one in of_it])),
        "us_per_tweet": rounded(median([one.us_per_tweet for one in of_it])),
    }
    if is_room:
        return figures
    return figures | {
        "matches_per_tweet": rounded(median([one.matches for one in of_it]), 6),
        "encodings_per_tweet": rounded(median([one.encodings for one in of_it]), 6),
    }


def _table(figures: dict[str, dict[str, float]], sockets: int, busiest: float) -> str:
    rows = []
    for kind in KINDS:
        of_it = figures[kind.name]
        counts = [of_it.get(f"{what}_per_tweet") for what in ("matches", "encodings")]
        rows.append(
            [
                kind.title,
                f"{of_it['us_per_delivery']:.3g}",
                f"{of_it['us_per_tweet']:,.0f}",
                f"{sockets if kind.to_all else 1:,}",
                *("–" if count is None else f"{count:,.0f}" for count in counts),
            ]
        )
    head = [f"{sockets:,} subscriptions", "µs per delivery", "µs per tweet", "deliveries", "matches", "encodings"]
    return "\n".join([table(head, rows), share_of_core("load generator", busiest, cores())])


if __name__ == "__main__":
    run("subscriptions", __doc__ or "", measure)
