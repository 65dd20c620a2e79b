"""What connections cost that nothing is sent to: memory, the pace at which they come, the time until all have gone.

    python -m benchmarks.connections [--quick] [--json] [--save]

Ten thousand WebSocket clients in a thousand rooms, on one server after the other. A client connects, opens its
Socket.IO session, subscribes to its room and waits for the acknowledgement; a hundred are under way at any time.
Ten want the same room, and chance has mixed who comes when, the same for every server. Roost is a gateway with its
default settings and a real RabbitMQ on the other core, where it binds each room before it acknowledges; the peers
have no broker and only keep a list. Memory is what a process has resident more than before the first connection, a
while after the last one, divided by their number, in KiB; nobody is made to collect garbage, and the kernel's part
is in no figure. `drain_s` is from SIGTERM until every client has seen its connection close and the gateway has
ended.
"""

import random
import time

from benchmarks.broker import private_broker
from benchmarks.children import Process, children
from benchmarks.figures import BUSIEST_LOAD, Options, Outcome, log, median, rounded, run, share_of_core, table
from benchmarks.machine import cores, cpu_s, description, memory_kb, require_files
from benchmarks.node import require, socket_io_version
from benchmarks.servers import NAMES

LEAST_BUSY = 0.9
"""A server that uses less of its core than this while clients come is not what limits their pace."""

SERVERS = ("roost", "stock", "node")
EACH = 10
"""Clients in a room."""

_SEED = 1
_CONNECT_S = 120.0
_DRAIN_S = 12.0
_GROUP = "idle"


def crowd(number: int) -> list[str]:
    """The rooms that so many clients want, in the order in which they come: mixed, and always the same.

    By turns, the first tenth would open all rooms and nobody after it a new one. Like this new ones come ever more
    seldom, as with people.
    """
    rooms = [f"room{client // EACH}" for client in range(number)]
    random.Random(_SEED).shuffle(rooms)
    return rooms


class Connected:
    """What a server was measured to need."""

    def __init__(self, load: Process, server: Process, port: int, *, sockets: int, settle_s: float) -> None:
        rooms = crowd(sockets)
        before_kb, before_s = memory_kb(server.pid), cpu_s(server.pid)
        load.ask("busy")
        made = load.ask(
            "connect", _CONNECT_S, group=_GROUP, port=port, count=sockets, rooms=rooms, timeout_s=_CONNECT_S
        )
        self.load = float(load.ask("busy")["share"])
        """Share of its core that the load generator used."""
        self.server = (cpu_s(server.pid) - before_s) / made["seconds"]
        """Share of its core that the server used."""
        self.per_s = float(made["per_s"])
        time.sleep(settle_s)
        self.kb = (memory_kb(server.pid) - before_kb) / sockets
        still = load.ask("open", group=_GROUP)["open"]
        if still != sockets:
            log.warning("WARNING: %d of %d connections have gone by themselves", sockets - still, sockets)


def measure(options: Options) -> Outcome:
    """Run it."""
    sockets, rounds, settle_s = (2_000, 1, 1.0) if options.quick else (10_000, 3, 3.0)
    require_files(sockets)
    node = require()
    found: dict[str, list[Connected]] = {key: [] for key in SERVERS}
    drains = []
    with private_broker() as broker, children() as lasting:
        rabbitmq = broker.version()
        load = lasting.load()
        for number in range(rounds):
            for key in SERVERS:
                with children() as start:
                    roost = key == "roost"
                    server, port = start.gateway(broker.amqp_url("gateway")) if roost else start.server(key)
                    connected = Connected(load, server, port, sockets=sockets, settle_s=settle_s)
                    found[key].append(connected)
                    log.info(
                        "round %d of %d, %s: %.1f KiB, %.0f a second; server at %.0f %% of its core, load at %.0f %%",
                        *(number + 1, rounds, NAMES[key], connected.kb, connected.per_s),
                        *(100 * connected.server, 100 * connected.load),
                    )
                    if roost:
                        drains.append(_drain(load, server))
                    else:
                        load.ask("close", group=_GROUP)
    figures: dict[str, float] = {}
    for key, of_key in found.items():
        figures[f"{key}_kb"] = rounded(median([connected.kb for connected in of_key]))
    for key, of_key in found.items():
        figures[f"{key}_connects_per_s"] = rounded(median([connected.per_s for connected in of_key]))
    figures["drain_s"] = rounded(median(drains))
    shares = {
        key: {
            "server": rounded(median([connected.server for connected in of_key])),
            "load": rounded(max(connected.load for connected in of_key)),
        }
        for key, of_key in found.items()
    }
    details = {
        "with": {**description(node), "socket.io": socket_io_version(), "RabbitMQ": rabbitmq},
        "sockets": sockets,
        "rounds": rounds,
        "shares": shares,
    }
    return Outcome(figures, _table(figures, shares, sockets), details)


def _drain(load: Process, server: Process) -> float:
    began = time.monotonic()
    load.tell("await_closed", group=_GROUP, timeout_s=_DRAIN_S)
    server.terminate()
    server.wait(_DRAIN_S)
    load.answer()
    return time.monotonic() - began


def _table(figures: dict[str, float], shares: dict[str, dict[str, float]], sockets: int) -> str:
    rows = [
        [
            NAMES[key],
            f"{figures[f'{key}_kb']:.1f}",
            f"{figures[f'{key}_kb'] / figures['stock_kb']:.2f}",
            f"{figures[f'{key}_connects_per_s']:.0f}" + ("*" if shares[key]["load"] > BUSIEST_LOAD else ""),
            f"{figures[f'{key}_connects_per_s'] / figures['stock_connects_per_s']:.2f}",
            f"{shares[key]['server']:.0%}",
            f"{shares[key]['load']:.0%}",
        ]
        for key in SERVERS
    ]
    head = [f"{sockets} idle sockets", "KiB each", "× stock", "connects/s", "× stock", "server's core", "load's core"]
    lines = [
        table(head, rows),
        f"Roost, from SIGTERM until all clients are gone and the process, too: {figures['drain_s']:.2f} s",
        share_of_core("load generator", max(share["load"] for share in shares.values()), cores()),
    ]
    for key in SERVERS:
        if shares[key]["server"] < LEAST_BUSY:
            lines.append(f"WARNING: {NAMES[key]} did not have its core to itself, or waited: it could be quicker")
    return "\n".join(lines)


if __name__ == "__main__":
    run("connections", __doc__ or "", measure)
