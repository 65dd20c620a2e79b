"""Frames, packets, payloads and requests that no client would send; a client beside them notices nothing."""

import asyncio
import contextlib
import gc
import json
import random
import time
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from structlog.testing import capture_logs

from services.gateway.app import GatewayApp
from services.gateway.connection import Connection
from tests.support.broker import Broker
from tests.support.engineio_client import Feed, Poller, RawSocket, feeding, masked, on, url
from tests.support.services import gateway, metric
from tests.support.waiting import eventually

WORDS = [
    "subscribe",
    "unsubscribe",
    "nfl",
    "connect",
    "disconnect",
    "connect_error",
    "newTweet",
    "",
    "\ud800",
    "ß" * 99,
]


class Fuzz:
    """Makes things up; the same again from the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> object:
        """Anything that JSON has, and some that it has not."""
        pick = self.random.randrange(10 if depth < 3 else 7)
        if pick < 3:
            return self.random.choice(WORDS)
        if pick < 7:
            return self.random.choice(
                [None, True, 0, -1, 1e308, float("nan"), 10**400, "x" * self.random.randrange(999)]
            )
        if pick < 9:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.random.choice(WORDS): self.value(depth + 1) for _ in range(self.random.randrange(3))} | (
            {"_placeholder": True, "num": self.random.randrange(-2, 3)} if self.random.random() < 0.2 else {}
        )

    def text(self) -> str:
        """Some characters."""
        alphabet = "0123456789-,/[]{}\"\\'?b \x1e\x00éß🏈"
        return "".join(self.random.choices(alphabet, k=self.random.randrange(30)))

    def packet(self) -> str:
        """An Engine.IO packet, with a Socket.IO packet in it more often than not."""
        pick = self.random.random()
        if pick < 0.1:
            return self.text()
        if pick < 0.2:
            return self.random.choice("0123456789b") + self.text()
        if pick < 0.25:
            return "42" + self.random.choice(["[", '{"a":', '["x",']) * self.random.randrange(3000)
        kind = self.random.choice("0122222222345678")
        attachments = self.random.choice(["", "", "", "0-", "1-", "99999999999-", "-1-"])
        namespace = self.random.choice(["", "", "", "", "/,", "/evil,", "/?x=1,", "/" + "n" * 50])
        number = self.random.choice(["", "", "0", "7", "9" * 30, "9" * 150])
        event = [self.random.choice(WORDS), *(self.value() for _ in range(self.random.randrange(3)))]
        data = self.random.choice([event, event, event, self.value()])
        return "4" + kind + attachments + namespace + number + json.dumps(data)

    def message(self) -> bytes:
        """A good frame with a packet that may be bad."""
        data = self.packet().encode(errors="surrogatepass" if self.random.random() < 0.05 else "replace")
        if self.random.random() < 0.03:
            return masked(2, data)
        if self.random.random() < 0.05 and len(data) > 1:
            cut = self.random.randrange(len(data))
            return masked(1, data[:cut], fin=False) + masked(0, data[cut:])
        return masked(1, data)

    def frame(self) -> bytes:
        """A frame that is wrong in itself."""
        data = self.random.randbytes(self.random.randrange(130))
        if self.random.random() < 0.3:
            return self.random.randbytes(self.random.randrange(1, 60))
        if self.random.random() < 0.1:
            return bytes((0x81, 5)) + b"2prob"
        length = self.random.choice([None, 0, 126, 65_536, 100_000, 2**31, 2**62, 2**64 - 1])
        fin, reserved = self.random.random() < 0.7, self.random.choice([0, 0, 0, 1, 2, 4, 7])
        return masked(self.random.randrange(16), data, fin=fin, reserved=reserved, length=length)

    def harmless(self) -> str:
        """A packet after which the connection goes on."""
        name = self.random.choice(["subscribe", "unsubscribe", "nothing of the kind"])
        try:
            event = json.dumps([name, self.value()], allow_nan=False)
        except ValueError:
            return "3"
        return self.random.choice([f"42{event}", f"421{event}", "3", f"431{event}", "40/evil,", f"42/evil,1{event}"])


async def on_websockets(app: GatewayApp, fuzz: Fuzz, number: int) -> int:
    """Connect, now and then properly, and send up to `number` frames; returns how many were sent."""
    raw = await RawSocket.open(app.port)
    drained = asyncio.create_task(_read_all(raw))
    sent = 0
    with contextlib.suppress(ConnectionError):
        if fuzz.random.random() < 0.9:
            raw.send("40" + fuzz.random.choice(["", "", '{"token":"x"}', "[", '"x"']))
        wrong = fuzz.random.random()
        while sent < number and not drained.done():
            pieces = []
            for _ in range(min(40, number - sent)):
                pick = fuzz.random.random()
                if wrong < 0.5 or pick < 0.7:
                    pieces.append(masked(1, fuzz.harmless().encode(errors="replace")))
                elif pick < 0.98:
                    pieces.append(fuzz.message())
                else:
                    pieces.append(fuzz.frame())
            sent += len(pieces)
            raw.writer.write(b"".join(pieces))
            await asyncio.wait_for(raw.writer.drain(), 10)
            await asyncio.sleep(0)
    if fuzz.random.random() < 0.5:
        raw.cut()
    else:
        raw.writer.close()
    await asyncio.wait_for(drained, 10)
    return sent


async def _read_all(raw: RawSocket) -> None:
    with contextlib.suppress(ConnectionError):
        while await raw.reader.read(65_536):
            pass


async def on_polls(app: GatewayApp, fuzz: Fuzz, number: int) -> int:
    """The same by long polling."""
    async with aiohttp.ClientSession() as http:
        sent = 0
        while sent < number:
            poller = await Poller.open(http, app.port)
            await poller.post("40")
            for _ in range(10):
                packets = [fuzz.packet() if fuzz.random.random() < 0.1 else fuzz.harmless() for _ in range(15)]
                sent += len(packets)
                body = "\x1e".join(packets).encode(errors="replace")
                if fuzz.random.random() < 0.1:
                    body = fuzz.random.randbytes(100)
                async with http.post(url(app.port, poller.sid), data=body) as response:
                    assert response.status in (200, 400)
                    if response.status == 400:
                        break
                if await poller.poll() != 200:
                    break
    return sent


async def on_handshakes(app: GatewayApp, fuzz: Fuzz, number: int) -> int:
    """Requests of all sorts."""
    async with aiohttp.ClientSession() as http:
        for _ in range(number):
            query = {
                name: fuzz.random.choice(["4", "3", "polling", "websocket", "", "x", "A" * 20, fuzz.text()])
                for name in ("EIO", "transport", "sid", "j", "t", "b64")
                if fuzz.random.random() < 0.5
            }
            if fuzz.random.random() < 0.5:
                query |= {"EIO": "4", "transport": fuzz.random.choice(["polling", "websocket"])}
            headers = {
                name: fuzz.random.choice(["websocket", "Upgrade", "upgrade, x", "13", "8", "0", "x", "=" * 24])
                for name in ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Origin")
                if fuzz.random.random() < 0.4
            }
            method = fuzz.random.choice(["GET", "GET", "GET", "POST", "OPTIONS", "PUT", "DELETE", "HEAD"])
            at = f"http://127.0.0.1:{app.port}/socket.io/"
            async with http.request(method, at, params=query, headers=headers) as response:
                assert response.status in (101, 200, 400, 405, 429), (method, query, headers)
                if response.status == 101:
                    response.close()
    return number


Attack = Callable[[GatewayApp, Fuzz, int], Awaitable[int]]


async def attack(broker: Broker, frames: int, *, connections: int, handshakes: int) -> None:
    """Send all of it at once, beside a client that has to get every tweet in time."""
    before = asyncio.all_tasks()
    settings = {"max_connections_per_address": 10_000, "max_rooms_per_address": 100_000, "subscribes_per_s": 50}
    with capture_logs() as logs:
        async with gateway(broker, **settings) as app, feeding(broker) as feed:
            app._server.eio.ping_interval = 3
            good = await (await RawSocket.open(app.port)).join()
            await good.ask("subscribe", "")
            enough = asyncio.Event()
            watching = asyncio.create_task(watch(feed, good, enough))
            jobs: list[Awaitable[int]] = []
            each = frames * 4 // 5 // connections
            jobs += [on_websockets(app, Fuzz(seed), each) for seed in range(connections)]
            jobs += [on_polls(app, Fuzz(1000 + seed), frames // 5 // 10) for seed in range(10)]
            jobs += [on_handshakes(app, Fuzz(2000 + seed), handshakes // 4) for seed in range(4)]
            limit = asyncio.Semaphore(50)

            async def limited(job: Awaitable[int]) -> int:
                async with limit:
                    return await job

            sent = sum(await asyncio.gather(*map(limited, jobs)))
            more = 0
            while sent < frames:
                # Connections that were ended early leave the rest to others.
                more += 1
                some = [on_websockets(app, Fuzz(3000 + more * 50 + seed), each) for seed in range(50)]
                sent += sum(await asyncio.gather(*some))
            # Those that only polled are noticed when they answer no ping, or have not said CONNECT.
            ping_at_once(app, lambda _: True)
            await eventually(lambda: ping_at_once(app, lambda socket: not socket._pinged) == 0)
            enough.set()
            longest, number = await watching
            assert number > 10
            assert longest < 3, "seconds from sending a tweet to its arrival"
            assert metric("roost_gateway_client_mistakes_total") > 0
            assert len(app._server.eio.sockets) == 1
            assert await good.ask("subscribe", "still there") is True
            assert await good.ask("unsubscribe", "still there") is True
            await eventually(lambda: [room.name for room in app._rooms.all()] == ["all"])
            await eventually(lambda: len(app._bindings) == 3, what="two that are always there, and all")
            manager = app._server.manager
            assert not manager.pending_connect
            assert not manager.callbacks
            assert not app._server._binary_packet
            assert len(app._server.environ) == 1
            good.cut()
            await eventually(lambda: not app._server.eio.sockets)
            assert not manager.rooms
            del good, jobs, watching
    await eventually(lambda: asyncio.all_tasks() <= before, what="no task is left")
    await eventually(lambda: gc.collect() >= 0 and not any(isinstance(one, Connection) for one in gc.get_objects()))
    assert [line for line in logs if line["log_level"] in ("warning", "error", "critical")] == []


def ping_at_once(app: GatewayApp, which: Callable[[Connection], bool]) -> int:
    """Ping those of the clients without a WebSocket, who have little time to answer; returns how many there are."""
    eio = app._server.eio
    polling = [socket for socket in list(eio.sockets.values()) if not socket.upgraded]
    # Only for these: who is pinged meanwhile has all the time that there is on the Internet.
    eio.ping_timeout = 0.1
    for socket in polling:
        if which(socket):
            socket._ping()
    eio.ping_timeout = 20
    return len(polling)


async def watch(feed: Feed, good: RawSocket, enough: asyncio.Event) -> tuple[float, int]:
    """Send tweets until it is enough; returns the longest time one took to the client, and how many there were."""
    longest, number = 0.0, 0
    while not enough.is_set():
        began = time.monotonic()
        await feed.send([str(number)])
        while good.texts("all")[-1:] != [str(number)]:
            good.take(await good.text())
        longest = max(longest, time.monotonic() - began)
        number += 1
        await asyncio.sleep(0.02)  # the pace at which people tweet
    return longest, number


@on("uvloop")
async def test_ten_thousand_frames_of_nonsense_disturb_nobody(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    await attack(broker, 10_000, connections=60, handshakes=400)
    assert [record for record in caplog.records if record.name.startswith(("services", "aiohttp.server"))] == []


@pytest.mark.slow
@on("uvloop")
async def test_two_hundred_thousand_frames_of_nonsense_disturb_nobody(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    await attack(broker, 200_000, connections=600, handshakes=2000)
    assert time.monotonic() - began < 60
    assert [record for record in caplog.records if record.name.startswith(("services", "aiohttp.server"))] == []
