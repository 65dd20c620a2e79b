"""WebSockets, long polling, the way from one to the other, and what becomes of each that is left halfway."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from services.gateway import engine
from services.gateway.app import GatewayApp
from services.gateway.connection import Connection
from tests.support.broker import ROOT, Broker
from tests.support.engineio_client import (
    BINARY,
    CLOSE,
    Feed,
    Poller,
    RawSocket,
    all_of,
    feeding,
    on,
    url,
)
from tests.support.services import gateway
from tests.support.waiting import eventually


def sessions(app: GatewayApp) -> dict[str, engine.Socket]:
    """The Engine.IO sessions that are open."""
    return app._server.eio.sockets


@asynccontextmanager
async def streaming(feed: Feed, sent: list[str]) -> AsyncIterator[None]:
    """Somebody tweets all the time, by `sent`."""

    stopped = False

    async def talk() -> None:
        while not stopped:
            texts = [f"tweet {len(sent) + number}" for number in range(3)]
            await feed.send(texts)
            sent.extend(texts)

    talking = asyncio.create_task(talk())
    try:
        yield
    finally:
        stopped = True
        await talking


async def more(sent: list[str], number: int) -> None:
    """Wait until `number` more tweets have been sent."""
    wanted = len(sent) + number
    await eventually(lambda: len(sent) >= wanted)


def in_one_piece(texts: list[str], sent: list[str]) -> bool:
    """Whether `texts` are all that was sent from some moment on, once and in order."""
    return bool(texts) and texts == sent[sent.index(texts[0]) :]


@on("uvloop", "asyncio")
async def test_each_transport_gets_every_tweet_once_and_in_order(broker: Broker) -> None:
    async with gateway(broker) as app, feeding(broker) as feed, aiohttp.ClientSession() as http:
        raw, poller = await (await RawSocket.open(app.port)).join(), await (await Poller.open(http, app.port)).join()
        assert await raw.ask("subscribe", "") is True
        await poller.subscribe("")
        for number in range(0, 200, 10):
            await feed.send([f"{one}" for one in range(number, number + 10)])
        wanted = [str(number) for number in range(200)]
        await raw.until(lambda: len(raw.texts("all")) >= 200)
        await poller.until(lambda: len(poller.texts("all")) >= 200)
        assert raw.texts("all") == poller.texts("all") == wanted
        raw.cut()


BROWSERS = """
import { io } from "socket.io-client";
const [url, number] = process.argv.slice(1);
const clients = [...Array(+number).keys()].map((index) => {
  const client = { texts: [], socket: null };
  const transports = index % 2 ? ["websocket"] : ["polling", "websocket"];
  client.socket = io(url, { transports, forceNew: true, reconnection: false });
  client.socket.on("newTweet", (tweet) => client.texts.push(tweet.text));
  client.joined = new Promise((resolve) => client.socket.on("connect", async () => {
    await client.socket.emitWithAck("subscribe", "");
    resolve();
  }));
  return client;
});
await Promise.all(clients.map((client) => client.joined));
console.log("joined");
process.stdin.on("data", () => {
  const lines = clients.map(({ texts, socket }) =>
    JSON.stringify([socket.connected && socket.io.engine.transport.name, texts]) + "\\n");
  process.stdout.write(lines.join(""), () => process.exit(0));
});
"""


@on("uvloop")
async def test_browsers_that_upgrade_under_a_stream_lose_and_double_nothing(broker: Broker) -> None:
    sent: list[str] = []
    async with gateway(broker) as app, feeding(broker) as feed:
        command = ["node", "--input-type=module", "-e", BROWSERS, f"http://127.0.0.1:{app.port}", "50"]
        pipe = asyncio.subprocess.PIPE
        node = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT, limit=1 << 24)
        assert node.stdin is not None
        assert node.stdout is not None
        try:
            async with streaming(feed, sent):
                assert await asyncio.wait_for(node.stdout.readline(), 30) == b"joined\n"
                await eventually(lambda: all(one.upgraded for one in sessions(app).values()))
                await more(sent, 30)
            members = app._rooms.all()[0].members
            await eventually(lambda: not app._fanout._outbox._waiting and len(members) == 50)
            async with all_of([RawSocket.open(app.port)]) as (last,):
                # What is sent to it was sent to all before.
                await (await last.join()).ask("subscribe", "")
                await feed.send(["the end"])
                await last.until(lambda: last.texts("all") == ["the end"])
            node.stdin.write(b"?")
            lines = [json.loads(line) async for line in node.stdout]
        finally:
            if node.returncode is None:
                node.kill()
            await node.wait()
    assert [transport for transport, _ in lines] == ["websocket"] * 50
    for _, texts in lines:
        assert in_one_piece(texts, [*sent, "the end"])


class Changing:
    """A client that polls until it is to take over, as the JavaScript client does."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self._paused = False
        self._polls = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while not self._paused:
            assert await self.poller.poll() == 200

    async def probe(self) -> RawSocket:
        """Open a WebSocket for the session."""
        return await RawSocket.open(self.poller.port, f"EIO=4&transport=websocket&sid={self.poller.sid}")

    async def pause(self) -> None:
        """Poll no more; the poll that is open has to be answered."""
        self._paused = True
        await asyncio.wait_for(self._polls, 5)

    def resume(self) -> None:
        """Poll again."""
        self._paused = False
        self._polls = asyncio.create_task(self._poll())


@asynccontextmanager
async def changing(broker: Broker) -> AsyncIterator[tuple[GatewayApp, Changing, Feed]]:
    """A client that polls the room of all tweets, in which there is a first one."""
    async with gateway(broker) as app, feeding(broker) as feed, aiohttp.ClientSession() as http:
        poller = await (await Poller.open(http, app.port)).join()
        await poller.subscribe("")
        client = Changing(poller)
        await feed.send(["first"])
        await eventually(lambda: poller.texts("all") == ["first"])
        yield app, client, feed
        client._polls.cancel()


@on("uvloop", "asyncio")
async def test_a_client_that_changes_transports_gets_what_came_meanwhile(broker: Broker) -> None:
    async with changing(broker) as (app, client, feed):
        raw = await client.probe()
        await feed.send(["while the socket is silent"])
        await eventually(lambda: len(client.poller.texts("all")) == 2, what="polling goes on")
        raw.send("2probe")
        assert await raw.text() == "3probe"
        await client.pause()
        await feed.send([f"while nobody polls {number}" for number in range(100)])
        waits = sessions(app)[client.poller.sid]
        await eventually(lambda: waits.queue is not None and waits.queue.qsize() == 100)
        raw.send("5")
        await feed.send(["after"])
        await raw.until(lambda: "after" in raw.texts("all"))
        both = client.poller.texts("all") + raw.texts("all")
        assert both[:2] == ["first", "while the socket is silent"]
        assert both[2:] == [*(f"while nobody polls {number}" for number in range(100)), "after"]
        assert await client.poller.poll() == 400, "a session has one transport"
        assert (await client.poller.post("3"))[0] == 400
        raw.writer.transport.abort()
        await eventually(lambda: not sessions(app))


Abandon = Callable[[RawSocket], object]
STEPS: dict[str, tuple[bool, Abandon]] = {
    "closed before the probe": (False, lambda raw: raw.writer.close()),
    "garbage for a probe": (False, lambda raw: raw.send("2prone")),
    "a message for a probe": (False, lambda raw: raw.send('42["subscribe","nfl"]')),
    "the upgrade without a probe": (False, lambda raw: raw.send("5")),
    "no WebSocket frame": (False, lambda raw: raw.writer.write(b"\xff" * 20)),
    "cut after the probe": (True, lambda raw: raw.cut()),
    "closed after the probe": (True, lambda raw: raw.send_frame(CLOSE, b"\x03\xe8")),
    "garbage for the upgrade": (True, lambda raw: raw.send("6")),
    "binary for the upgrade": (True, lambda raw: raw.send_frame(BINARY, b"5")),
    "a second probe": (True, lambda raw: raw.send("2probe")),
}


@pytest.mark.parametrize("step", STEPS)
@on("uvloop")
async def test_an_upgrade_that_is_abandoned_costs_the_polling_client_nothing(broker: Broker, step: str) -> None:
    probed, abandon = STEPS[step]
    async with changing(broker) as (app, client, feed):
        raw = await client.probe()
        if probed:
            raw.send("2probe")
            assert await raw.text() == "3probe"
            await client.pause()
            await feed.send(["meanwhile"])
        abandon(raw)
        if probed:
            client.resume()
        await feed.send(["after"])
        wanted = ["first", "meanwhile", "after"] if probed else ["first", "after"]
        await eventually(lambda: client.poller.texts("all") == wanted)
        with contextlib.suppress(EOFError):
            await raw.text()
        raw.writer.close()
        session = sessions(app)[client.poller.sid]
        await eventually(lambda: not session.upgrading and session._upgrade is None)
        again = await client.probe()
        again.send("2probe")
        assert await again.text() == "3probe"
        await client.pause()
        again.send("5")
        await feed.send(["at last"])
        await again.until(lambda: again.texts("all") == ["at last"])
        again.cut()


@on("uvloop")
async def test_an_upgrade_that_never_comes_is_given_up_and_polling_goes_on(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.upgrade, "PATIENCE_S", 0.3)
    async with changing(broker) as (_app, client, feed):
        raw = await client.probe()
        with pytest.raises(ConnectionError, match="400"):
            await client.probe()
        await feed.send(["polled"])
        await eventually(lambda: client.poller.texts("all") == ["first", "polled"])
        ended = await raw.until_closed()
        assert (ended.code, ended.reason) == (1008, "no upgrade in time")
        again = await client.probe()
        again.send("2probe")
        assert await again.text() == "3probe"
        ended = await again.until_closed()
        assert (ended.code, ended.reason) == (1008, "no upgrade in time")
        await feed.send(["still"])
        await eventually(lambda: client.poller.texts("all") == ["first", "polled", "still"])


@on("uvloop")
async def test_a_client_that_vanishes_while_it_changes_transports_leaves_nothing(broker: Broker) -> None:
    async with changing(broker) as (app, client, _):
        app._server.eio.ping_timeout = 0.2
        session = sessions(app)[client.poller.sid]
        session._look_again(0.1, session._ping)
        raw = await client.probe()
        raw.send("2probe")
        assert await raw.text() == "3probe"
        await client.pause()
        raw.cut()
        del session
        await eventually(lambda: not sessions(app) and not app._rooms.all()[0].members)
        await eventually(lambda: gc.collect() >= 0 and not connections())


def connections() -> list[Connection]:
    """What there is of clients in memory."""
    return [one for one in gc.get_objects() if isinstance(one, Connection)]


@on("uvloop")
async def test_a_second_poll_is_refused_and_takes_nothing_from_the_first(broker: Broker) -> None:
    async with changing(broker) as (app, client, feed):
        await eventually(lambda: sessions(app)[client.poller.sid]._polling)
        async with client.poller.http.get(url(app.port, client.poller.sid)) as response:
            assert response.status == 400
            assert "open already" in await response.text()
        await feed.send(["second"])
        await eventually(lambda: client.poller.texts("all") == ["first", "second"])


@on("uvloop")
async def test_a_poll_that_is_open_when_a_socket_takes_over_is_answered(broker: Broker) -> None:
    async with changing(broker) as (app, client, feed):
        raw = await client.probe()
        raw.send("2probe")
        assert await raw.text() == "3probe"
        # Against the protocol: the WebSocket takes over before the last poll is answered.
        session = sessions(app)[client.poller.sid]
        session.upgrading = False
        await eventually(lambda: session._polling)
        session.upgrading = True
        raw.send("5")
        await eventually(client._polls.done, what="the poll is answered, and the next one refused")
        await feed.send(["second"])
        await raw.until(lambda: raw.texts("all") == ["second"])
        client._polls.exception()
        raw.cut()
