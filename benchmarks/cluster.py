"""What the broker sends when there are more servers: bytes from it to all gateways for each tweet that is in a room.

    python -m benchmarks.cluster [--quick] [--json] [--save]

24 rooms are spread over 2, 3 and 4 gateways, each on one, with two clients in each. The gateways run on any core, as
no time is measured. Tweets, each for one room, are
published as a router publishes them. The peer has the same rooms on python-socketio servers that share an exchange by
`AsyncAioPikaManager`; the same tweets are emitted to the same rooms. A relay before the broker counts all bytes that
servers receive. Every client has had exactly the tweets of its room.
"""

from dataclasses import replace

from benchmarks.broker import private_broker
from benchmarks.children import Children, Process, children
from benchmarks.failure import BenchmarkError
from benchmarks.figures import Options, Outcome, log, rounded, run, share_of_core, table
from benchmarks.machine import cores, description
from benchmarks.servers import NAMES
from tests.support.broker import Broker

GATEWAYS = (2, 3, 4)
ROOMS = [f"room{number}x" for number in range(24)]
EACH = 2
"""Clients in a room."""

SERVERS = {"roost": "publish", "aiopika": "emit"}
"""What the publisher has to do for each."""

_PATIENCE_S = 30.0
_ATTEMPTS = 20


class Cluster:
    """Several servers of one kind behind a relay, with their clients."""

    def __init__(self, kind: str, number: int, start: Children, load: Process, broker: Broker) -> None:
        self._load = load
        self._relay, port = start.relay(broker.host, broker.amqp_port)
        relayed = replace(broker, host="127.0.0.1", amqp_port=port)
        self._rooms_of: dict[str, list[str]] = {}
        if kind == "roost":
            ports = start.gateways(number, relayed.amqp_url("gateway"))
        else:
            ports = start.stocks(number, relayed.amqp_url("admin"))
        for index, public in enumerate(ports):
            rooms = ROOMS[index::number]
            group = f"{kind}{number}.{index}"
            self._rooms_of[group] = rooms
            load.ask("connect", group=group, port=public, count=EACH * len(rooms), rooms=rooms, under_way=10)

    def await_ready(self, publisher: Process, do: str, first: int) -> int:
        """Publish until everybody is sent all of it; returns how many tweets that took.

        A server of the peer begins to listen some time after its first client has come, and does not say when.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._bytes(publisher, do, first + attempt * len(ROOMS), len(ROOMS), patience_s=1.0)
            except BenchmarkError:
                continue
            return (attempt + 1) * len(ROOMS)
        raise BenchmarkError(f"{publisher.name}: the servers do not send what is published")

    def bytes_per_tweet(self, publisher: Process, do: str, first: int, count: int) -> float:
        """Publish, and count. `count` is a multiple of the number of rooms."""
        return self._bytes(publisher, do, first, count, patience_s=_PATIENCE_S) / count

    def _bytes(self, publisher: Process, do: str, first: int, count: int, *, patience_s: float) -> float:
        for group in self._rooms_of:
            self._load.ask("reset", group=group)
        before = self._relay.ask("bytes")["bytes"]
        publisher.ask(do, rooms=ROOMS, first=first, count=count)
        for group in self._rooms_of:
            self._load.ask("await_tweets", group=group, each=count // len(ROOMS), timeout_s=patience_s)
        return float(self._relay.ask("bytes")["bytes"] - before)

    def leave(self) -> None:
        """All clients go."""
        for group in self._rooms_of:
            self._load.ask("close", group=group)


def measure(options: Options) -> Outcome:
    """Run it."""
    count = len(ROOMS) * (10 if options.quick else 200)
    figures: dict[str, list[float]] = {kind: [] for kind in SERVERS}
    busiest, first = 0.0, 0
    with private_broker() as broker, children() as lasting:
        rabbitmq = broker.version()
        load, publisher = lasting.load(), lasting.publisher(broker.amqp_url("admin"))
        for number in GATEWAYS:
            for kind, do in SERVERS.items():
                with children() as servers:
                    cluster = Cluster(kind, number, servers, load, broker)
                    first += cluster.await_ready(publisher, do, first)
                    figures[kind].append(rounded(cluster.bytes_per_tweet(publisher, do, first, count), 4))
                    first += count
                    busiest = max(busiest, load.ask("busy")["share"])
                    cluster.leave()
                log.info("%d servers, %s: %.0f bytes a tweet", number, NAMES[kind], figures[kind][-1])
    details = {
        "with": {**description(servers_on="any"), "RabbitMQ": rabbitmq},
        "gateways": list(GATEWAYS),
        "tweets": count,
    }
    return Outcome(figures, _table(figures, busiest), details)


def _table(figures: dict[str, list[float]], busiest: float) -> str:
    head = ["bytes from the broker per tweet", *(f"{number} servers" for number in GATEWAYS)]
    rows = [[NAMES[kind], *(f"{value:.0f}" for value in figures[kind])] for kind in SERVERS]
    return "\n".join([table(head, rows), share_of_core("load generator", busiest, cores())])


if __name__ == "__main__":
    run("cluster", __doc__ or "", measure)
