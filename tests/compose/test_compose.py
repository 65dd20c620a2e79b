"""Docker Compose for real: as many gateways and routers as one likes, one of them killed, a consumer from outside."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from deploy import archive, dead_letters, status
from deploy.composed import Composed
from deploy.settings import SERVICES, Settings
from shared import raw
from shared.broker import connect
from shared.topology import RAW_EXCHANGE
from tests.support.broker import ROOT, docker_answers
from tests.support.browsers import Client, browser
from tests.support.deployed import environment
from tests.support.waiting import eventually, eventually_now

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Compose:
    """The project under a name and ports of its own, so that it disturbs no other."""

    def __init__(self) -> None:
        ports = ("ROOST_PORT", "ROOST_AMQP_PORT", "ROOST_MANAGEMENT_PORT")
        self.environ = environment(ports) | {"COMPOSE_PROJECT_NAME": "roost-test"}
        self.port, self.amqp_port, _ = (int(self.environ[name]) for name in ports)

    def run(self, *arguments: str, within_s: float = 120) -> str:
        """`docker compose …` at the project's root; returns what it printed, fails with it where it fails."""
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """The ids of a service's running containers."""
        return self.run("ps", "-q", service).split()

    def kill(self, container: str) -> None:
        """SIGKILL to all of a container."""
        subprocess.run(["docker", "kill", container], check=True, capture_output=True)

    def sockets(self, container: str) -> int:
        """Clients connected to one gateway, by its own metrics."""
        script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
        # One that has just been started may not listen yet.
        done = subprocess.run(
            ["docker", "exec", container, "python", "-c", script], capture_output=True, text=True, check=False
        )
        return sum(
            int(float(line.split()[1]))
            for line in done.stdout.splitlines()
            if line.startswith("roost_gateway_sockets ")
        )


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    """Roost as `make up` brings it up where there is Docker: `docker compose up`, and a tweet has come through."""
    if not docker_answers():
        if os.environ.get("CI"):
            pytest.fail("Docker does not answer")
        pytest.skip("Docker does not answer")
    compose = Compose()
    try:
        Composed(Settings("compose", compose.environ)).up()
        yield compose
    finally:
        # Shown where a test has failed.
        print(compose.run("logs", "--no-color", "--timestamps", "--tail", "100"))
        compose.run("down", "--volumes", "--timeout", "20")


@asynccontextmanager
async def watching(compose: Compose, number: int, transport: str) -> AsyncIterator[list[Client]]:
    """So many clients in the room of all tweets, which come back by themselves."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(browser(compose.port, transports=(transport,), reconnect=True, room=""))
            for _ in range(number)
        ]
        yield clients


async def all_receive(clients: list[Client]) -> None:
    seen = [len(client.events) for client in clients]
    await eventually(
        lambda: all(len(client.events) > before for client, before in zip(clients, seen, strict=True)),
        within_s=60,
        what="every client is sent tweets",
    )


async def test_tweets_come_through_the_load_balancer(compose: Compose) -> None:
    async with aiohttp.ClientSession() as http:

        async def page() -> bool:
            try:
                async with http.get(f"http://127.0.0.1:{compose.port}/nfl") as response:
                    return response.status == 200 and "<title>" in await response.text()
            except aiohttp.ClientError:
                return False

        await eventually(page, within_s=60, what="the page is served")
        async with http.get(f"http://127.0.0.1:{compose.port}/_/static/vendor/socket.io.esm.min.js") as response:
            assert response.status == 200
    async with watching(compose, 1, "websocket") as websockets, watching(compose, 1, "polling") as polling:
        await all_receive(websockets + polling)


async def past(compose: Compose, room: str, **query: str) -> list[dict[str, Any]]:
    """The tweets of a room's past, newest first; none where nobody can tell."""
    url = f"http://127.0.0.1:{compose.port}/_/api/rooms/{room}/tweets"
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(url, params=query) as response:
                return (await response.json())["tweets"] if response.status == 200 else []
        except (aiohttp.ClientError, TimeoutError):
            return []


async def test_what_was_said_before_can_be_had(compose: Compose) -> None:
    async def several() -> bool:
        return len(await past(compose, "term.nfl", limit="5")) == 5

    await eventually(several, within_s=60, what="the room has a past")
    assert all("nfl" in tweet["text"].lower() for tweet in await past(compose, "term.nfl"))
    composed = Composed(Settings("compose", compose.environ))
    assert re.match(r"history  .* in 1 file", archive.line(composed.ask_archive))


def test_all_that_was_ingested_is_accounted_for(compose: Compose) -> None:
    said = eventually_now(
        lambda: (
            (told := status.lines(Composed(Settings("compose", compose.environ))))[0] == "balance  holds" and told
        ),
        within_s=60,
        what="the sum holds",
    )
    assert isinstance(said, list)
    ingested = re.fullmatch(r" +([\d,]+) ingested, of which", said[1])
    assert ingested, said
    assert int(ingested[1].replace(",", "")) > 0
    assert not [line for line in said if "not told" in line or "does not answer" in line]


async def test_what_no_router_can_read_is_listed_and_sent_back(compose: Compose) -> None:
    async with connect(f"amqp://ingest:ingest@127.0.0.1:{compose.amqp_port}/", name="test ingest") as connection:
        channel = await connection.channel(confirms=True)
        await channel.publish(RAW_EXCHANGE, b"\xc1 garbage", type=raw.TYPE, persistent=True)
    url = f"amqp://operator:operator@127.0.0.1:{compose.amqp_port}/"

    async def is_there() -> bool:
        return [message.body for message in (await dead_letters.look(url, 20))[0]] == [b"\xc1 garbage"]

    await eventually(is_there, within_s=60, what="the router has put it there")
    sent = dead_letters.Sent()
    await dead_letters.send_back(url, None, sent)
    assert sent.number == 1
    await eventually(is_there, within_s=60, what="it is back")


async def test_services_scale_on_the_running_system_and_one_may_be_killed(compose: Compose) -> None:
    # No archive is all right, too: what comes now is shown.
    compose.run("up", "--detach", "--scale", "gateway=3", "--scale", "router=2", "--scale", "archive=0")
    assert len(compose.containers("router")) == 2
    assert compose.containers("archive") == []
    gateways = compose.containers("gateway")
    assert len(gateways) == 3

    async def serving() -> set[str]:
        """Which gateways pages come from: an answer of HAProxy's own is no page."""
        async with watching(compose, 6, "websocket"):
            return {gateway for gateway in gateways if await asyncio.to_thread(compose.sockets, gateway)}

    # HAProxy takes a gateway that DNS names for healthy, then finds that it does not answer yet, then that it does:
    # only what holds on for some checks is settled.
    settled = 0

    async def all_serve() -> bool:
        nonlocal settled
        settled = settled + 1 if len(await serving()) == 3 else 0
        return settled == 4

    await eventually(all_serve, within_s=60, what="HAProxy has found all gateways")
    async with watching(compose, 9, "websocket") as websockets, watching(compose, 3, "polling") as polling:
        await all_receive(websockets + polling)
        load = Counter({gateway: await asyncio.to_thread(compose.sockets, gateway) for gateway in gateways})
        assert load.total() == 12
        assert min(load.values()) >= 2, f"spread unevenly: {load}"
        asked = await asyncio.to_thread(Composed(Settings("compose", compose.environ)).metrics, "router", "gateway")
        assert [len(said.answers) for said in asked] == [2, 3]

        compose.kill(gateways[0])
        await eventually(
            lambda: sum(client.connected for client in websockets + polling) == 12,
            within_s=60,
            what="all clients are connected again",
        )
        await all_receive(websockets + polling)


@pytest.mark.parametrize("program", ["tail.py", "consumer.mjs"])
async def test_a_consumer_plugs_in_from_the_host(compose: Compose, program: str) -> None:
    runner = sys.executable if program.endswith(".py") else shutil.which("node")
    assert runner is not None
    process = await asyncio.create_subprocess_exec(
        runner,
        str(ROOT / "examples" / program),
        "term.nfl",
        env={**os.environ, "ROOST_AMQP_URL": f"amqp://consumer:consumer@127.0.0.1:{compose.amqp_port}/"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        for _ in range(3):
            line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
            assert "nfl" in line.lower()
    finally:
        process.terminate()
        await process.wait()


async def test_it_goes_down_without_an_error_in_any_log_and_comes_up_with_its_past(compose: Compose) -> None:
    compose.run("up", "--detach", "--scale", "gateway=2", "--scale", "router=2")
    newest: list[dict[str, Any]] = []

    async def archived() -> bool:
        newest[:] = await past(compose, "all", limit="1")
        return bool(newest)

    await eventually(archived, within_s=60, what="an archive is there again")
    async with watching(compose, 4, "websocket") as clients:
        await all_receive(clients)
        began = datetime.now(UTC).isoformat()
        compose.run("stop", "--timeout", "15")
        logs = compose.run("logs", "--no-color", "--since", began, *SERVICES, "haproxy")
        assert "stopped" in logs
        assert not [line for line in logs.splitlines() if "error" in line.lower() or "Traceback" in line]
        states = [json.loads(line) for line in compose.run("ps", "--all", "--format", "json").splitlines()]
        codes = {state["Service"]: state["ExitCode"] for state in states if state["Service"] != "broker"}
        assert set(codes.values()) == {0}, codes
    compose.run("down")
    compose.run("up", "--detach")

    async def goes_on() -> bool:
        return bool(await past(compose, "all", before=f"{newest[0]['seq']},{newest[0]['id']}"))

    await eventually(goes_on, within_s=60, what="there is what was said before it went down")
