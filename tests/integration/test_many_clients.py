"""As many clients as the machine lets one process have, and storms of them: nothing stays behind."""

import asyncio
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.gateway.app import GatewayApp
from services.gateway.catchup import OVERLAP_US
from services.gateway.connection import Connection
from tests.support.archive import archive, asking
from tests.support.broker import ROOT, Broker
from tests.support.engineio_client import feeding, on
from tests.support.exchange import publish
from tests.support.services import gateway, metric
from tests.support.tweets import tweet
from tests.support.waiting import eventually

MOST = 5_000
ROOMS = 500
SPREAD_S = 8
"""Within which they come back: as many a second as ten thousand within sixteen."""
BACK_WITHIN_S = 15
"""By then all have what they missed."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CROWD = '''
"""Clients in another process. Reads commands, answers each with a line when it is done."""
import asyncio, base64, json, os, random, sys
from tests.support.engineio_client import TEXT, masked
import uvloop

port, number, rooms = map(int, sys.argv[1:])
KEY = base64.b64encode(os.urandom(16)).decode()
HANDSHAKE = (f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\\r\\nHost: x\\r\\nUpgrade: websocket\\r\\n"
    f"Connection: Upgrade\\r\\nSec-WebSocket-Key: {KEY}\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n").encode()
counts = {"acks": 0, "tweets": 0, "refused": 0}


class Client(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.tail = b""
        self.joined = asyncio.get_running_loop().create_future()
        transport.write(HANDSHAKE)

    def data_received(self, data):
        data = self.tail + data
        if data.startswith(b"HTTP"):
            head, found, data = data.partition(b"\\r\\n\\r\\n")
            if not found:
                self.tail = head
                return
            self.say("40")
        while len(data) >= 2:
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            if len(data) < start + size or len(data) < start:
                break
            self.take(data[start:start + size])
            data = data[start + size:]
        self.tail = data

    def take(self, packet):
        if packet == b"2":
            self.say("3")
        elif packet.startswith(b"40"):
            self.joined.set_result(None)
        elif packet.startswith(b"42[\\"newTweet"):
            counts["tweets"] += 1
        elif packet.startswith(b"43"):
            counts["acks"] += 1
            counts["refused"] += b"error" in packet

    def say(self, text):
        self.transport.write(masked(TEXT, text.encode()))


async def reached(name, wanted):
    while counts[name] < wanted:
        await asyncio.sleep(0.02)


async def main():
    loop = asyncio.get_running_loop()
    clients = []
    gate = asyncio.Semaphore(200)

    async def come(index):
        async with gate:
            _, client = await loop.create_connection(Client, "127.0.0.1", port)
            await client.joined
            client.room = f"room {index % rooms}"
            clients.append(client)

    async def everybody_in(some):
        wanted = counts["acks"] + len(some)
        for index, client in enumerate(some):
            client.say(f'421["subscribe",{json.dumps(client.room)}]')
            if not index % 500:
                await asyncio.sleep(0)
        await reached("acks", wanted)

    while line := await asyncio.to_thread(sys.stdin.readline):
        command = line.split()[0]
        if command == "come":
            await asyncio.gather(*(come(index) for index in range(number)))
            await everybody_in(clients)
        elif command == "back":
            # As pages do whose gateway has died: each after a moment of its own, with the last that it has seen.
            since, spread_s = line.split()[1:]

            async def come_back(index):
                await asyncio.sleep(random.uniform(0, float(spread_s)))
                await come(index)
                client = clients[-1]
                request = {"room": client.room, "since": since, "documents": {}}
                client.say(f'421["subscribe",{json.dumps(request)}]')

            await asyncio.gather(*(come_back(index) for index in range(number)))
            await reached("acks", number)
        elif command == "tweets":
            await reached("tweets", int(line.split()[1]))
        elif command == "storm":
            # All change rooms, half of them go for ever and others come, while nobody waits for anybody.
            random.seed(1)
            for _ in range(3):
                for client in clients:
                    client.say(f'42["unsubscribe",{json.dumps(client.room)}]')
                    client.room = f"room {random.randrange(rooms * 2)}"
                    client.say(f'42["subscribe",{json.dumps(client.room)}]')
                leaving, clients[:] = clients[: number // 2], clients[number // 2:]
                for client in leaving:
                    client.transport.abort()
                await asyncio.gather(*(come(index) for index in range(number // 2)))
            await everybody_in(clients)
        elif command == "go":
            for client in clients:
                client.transport.abort()
            clients.clear()
        print(json.dumps(counts), flush=True)


uvloop.run(main())
'''


class Crowd:
    """Many clients, in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, command: str) -> str:
        """Give a command; returns what they counted once it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        answer = await asyncio.wait_for(self._process.stdout.readline(), 120)
        assert answer, "the clients have ended"
        return answer.decode()


@asynccontextmanager
async def crowd(app: GatewayApp, number: int) -> AsyncIterator[Crowd]:
    """`number` clients that are about to come."""
    command = [sys.executable, "-c", CROWD, str(app.port), str(number), str(ROOMS)]
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT)
    try:
        yield Crowd(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def resident_bytes() -> int:
    """Memory of this process."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * resource.getpagesize()


@on("uvloop")
async def test_thousands_come_change_rooms_and_go_and_leave_nothing(broker: Broker) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    number = min(MOST, hard - 500) // ROOMS * ROOMS
    settings = {
        "max_connections_per_address": 100_000,
        "max_rooms_per_address": 100_000,
        "subscribes_per_s": 1000,
        "unbind_after_s": 0.5,
    }
    try:
        async with gateway(broker, **settings) as app, feeding(broker) as feed, crowd(app, number) as clients:
            before, refused = resident_bytes(), metric("roost_gateway_client_mistakes_total")
            await clients.do("come")
            assert len(app._server.eio.sockets) == metric("roost_gateway_sockets") == number
            each = (resident_bytes() - before) / number
            assert each < 20_000, f"{each / 1000:.1f} KB for each"
            assert len(app._rooms) == ROOMS
            await feed.send(["to all of them"], *(f"term.room%20{room}" for room in range(ROOMS)))
            await clients.do(f"tweets {number}")
            for _ in range(2):
                counts = await clients.do("storm")
            assert '"refused": 0' in counts
            await eventually(lambda: len(app._server.eio.sockets) == number, within_s=60)
            occupied = {room.key for room in app._rooms.all() if room.members}
            assert sum(len(room.members) for room in app._rooms.all()) == number
            await eventually(lambda: len(app._rooms) == len(occupied), within_s=60)
            await eventually(
                lambda: bound(broker) == occupied, within_s=60, what="no stray binding, and none is missing"
            )
            await clients.do("go")
            await eventually(lambda: not app._server.eio.sockets, within_s=60)
            await eventually(lambda: not len(app._rooms) and not bound(broker), within_s=60)
            assert not app._server.manager.rooms
            assert not app._server.environ
            assert metric("roost_gateway_sockets") == 0
            assert metric("roost_gateway_client_mistakes_total") == refused
            await eventually(
                lambda: gc.collect() >= 0 and not any(isinstance(one, Connection) for one in gc.get_objects())
            )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@on("uvloop")
async def test_thousands_come_back_to_another_gateway_and_the_archive_is_asked_once_a_room(
    broker: Broker, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    number = min(MOST, hard - 500) // ROOMS * ROOMS
    settings = {
        "max_connections_per_address": 100_000,
        "max_rooms_per_address": 100_000,
        "subscribes_per_s": 1000,
    }
    rooms = [f"room {index}" for index in range(ROOMS)]
    try:
        async with archive(broker, tmp_path), asking(broker) as asked:
            await publish(broker, *(tweet(f"of long ago, {room}") for room in rooms))
            seen = await asked.mark()
            # What was missed; the last of it, so that all of it is in.
            await publish(broker, *(tweet(f"the missed one of {room} it is") for room in rooms))
            await asked.mark()
            async with gateway(broker, **settings) as app, crowd(app, number) as clients:
                await eventually(app._history._present.is_set)
                before = {what: metric("roost_gateway_asked_total", what=what) for what in ("tweets", "states")}
                began = time.monotonic()
                counts = json.loads(await clients.do(f"back {seen + OVERLAP_US} {SPREAD_S}"))
                await clients.do(f"tweets {number}")
                took = time.monotonic() - began
                assert counts["refused"] == 0
                assert took < BACK_WITHIN_S
                assert metric("roost_gateway_asked_total", what="tweets") - before["tweets"] <= ROOMS
                assert metric("roost_gateway_asked_total", what="states") - before["states"] <= 100
                await clients.do("go")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def bound(broker: Broker) -> set[str]:
    """Keys that gateways have bound, but for those that each one always has."""
    return {
        key
        for destination, key in broker.bindings()
        if destination.startswith("gateway.") and not key.startswith("action.")
    }
