"""`make up` and `make down` without Docker, in a copy of the project, so as not to disturb a Roost that runs here."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jwt
import pytest

from deploy import processes
from deploy.local.broker import find_binaries
from shared import raw
from shared.broker import connect
from shared.topology import RAW_EXCHANGE
from tests.support.broker import ROOT
from tests.support.deployed import environment
from tests.support.jetstream_server import living_jetstream
from tests.support.waiting import eventually_now

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PORTS = (
    "ROOST_PORT",
    "ROOST_AMQP_PORT",
    "ROOST_MANAGEMENT_PORT",
    "ROOST_BROKER_METRICS_PORT",
    "ROOST_DIST_PORT",
    "ROOST_EPMD_PORT",
    "ROOST_INGEST_OPS_PORT",
    "ROOST_ROUTER_OPS_PORT",
    "ROOST_GATEWAY_OPS_PORT",
    "ROOST_ARCHIVE_OPS_PORT",
)
SERVICES = ("ingest", "router", "gateway", "archive")


class Project:
    """A copy of the project with ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / ".run"
        self.environ = environment(PORTS) | {"ROOST_MODE": "local"}

    def make(self, target: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """`make TARGET` with settings; output and exit code."""
        return subprocess.run(
            ["make", "--no-print-directory", target],
            cwd=self.folder,
            env=self.environ | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://localhost:{self.environ['ROOST_PORT']}/nfl"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project without what git ignores, but with what `make setup` has prepared here."""
    if find_binaries() is None:
        if os.environ.get("CI"):
            pytest.fail("no installed RabbitMQ")
        pytest.skip("no installed RabbitMQ")
    folder = tmp_path_factory.mktemp("roost")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for prepared in (".venv", "node_modules", "services/gateway/web/vendor"):
        (folder / prepared).symlink_to(ROOT / prepared)
    project = Project(folder)
    try:
        yield project
    finally:
        project.make("down")


def test_up_brings_a_tweet_and_down_leaves_no_process(project: Project) -> None:
    up = project.make("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert up.stdout.splitlines()[-1] == project.url
        with urllib.request.urlopen(project.url, timeout=5) as page:
            assert b"<title>" in page.read()

        status = eventually_now(
            lambda: "source   synthetic: live" in (said := project.make("status").stdout) and said
        )
        assert isinstance(status, str)
        for service in ("broker", *SERVICES):
            assert f"{service:8} running" in status
        assert status.count(", ready") == len(SERVICES)
        assert re.search(r"^history  .* in 1 file", status, re.M)
        assert_balanced(status)
        for line in (r"gaps     0 told", r"lag      archive \d+ ms, gateway \d", r"terms    \d", r"drift    \d"):
            assert re.search(f"^{line}", status, re.M), line

        forgotten = project.make("forget", ID="x:1 https://x.com/somebody/status/2")
        assert forgotten.stdout.splitlines() == ["x:1 is to be forgotten", "x:2 is to be forgotten"]
        assert "make forget ID=x:" in project.make("forget").stderr

        # What a router can't read is looked at, sent back, and is there again. All of it is in the balance.
        assert "There are no dead letters." in project.make("dead-letters").stdout
        asyncio.run(send_garbage(project))
        eventually_now(lambda: "1 dead letter:" in (said := project.make("dead-letters").stdout) and said)
        assert "1 dead letter sent" in project.make("dead-letters", REQUEUE="1").stdout
        eventually_now(lambda: "garbage" in project.make("dead-letters", N="5").stdout)
        status = project.make("status").stdout
        assert_balanced(status)
        assert re.search(r"^ +[\d,]+ ingested and 4 sent by hand, of which$", status, re.M)
        assert re.search(r"^ +2 dead: ", status, re.M)

        again = project.make("up")
        assert again.returncode == 0
        assert "already up" in again.stdout

        with subprocess.Popen(
            ["make", "--no-print-directory", "tail", "KEY=term.nfl"],
            cwd=project.folder,
            env=project.environ,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as tail:
            assert tail.stdout is not None
            assert "nfl" in tail.stdout.readline().lower()
            # As Ctrl-C does: to make and what it runs.
            os.killpg(tail.pid, signal.SIGINT)

        router = ".venv/bin/python -m services.router"
        [process] = [process for process in processes.find(project.run) if process.command == router]
        os.kill(process.pid, signal.SIGKILL)
        eventually_now(
            lambda: (
                router in {other.command for other in processes.find(project.run) if other.pid != process.pid}
                and project.make("status").stdout.count(", ready") == len(SERVICES)
            ),
            within_s=30,
            what="the router is back",
        )
        assert re.search(
            r"^balance  can't be told: router was started \d+ s later", project.make("status").stdout, re.M
        )
    finally:
        down = project.make("down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert processes.find(project.run) == []
    log = (project.run / "log" / "services.log").read_text()
    assert "Traceback" not in log


async def send_garbage(project: Project) -> None:
    """Publish what no router can read."""
    url = f"amqp://ingest:ingest@127.0.0.1:{project.environ['ROOST_AMQP_PORT']}/"
    async with connect(url, name="test ingest") as connection:
        channel = await connection.channel(confirms=True)
        await channel.publish(RAW_EXCHANGE, b"\xc1 garbage", type=raw.TYPE, persistent=True)


def assert_balanced(status: str) -> None:
    """The sum holds, and its terms are those that are told."""
    told = status[status.index("balance  ") :]
    assert told.startswith("balance  holds\n"), told
    numbers = {
        what: int(number.replace(",", "")) for number, what in re.findall(r"^ {9} *([\d,]+) (\w+ ?\w*)", told, re.M)
    }
    by_hand = re.search(r"ingested and ([\d,]+) sent by hand", told)
    ingested = next(number for what, number in numbers.items() if what.startswith("ingested"))
    parts = sum(number for what, number in numbers.items() if not what.startswith(("ingested", "more")))
    assert ingested + (int(by_hand[1].replace(",", "")) if by_hand else 0) == parts > 0, told


def test_a_taken_port_ends_with_one_sentence_that_names_it(project: Project) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        for variable in ("ROOST_PORT", "ROOST_AMQP_PORT"):
            up = project.make("up", **{variable: port})
            assert up.returncode != 0
            [said] = [line for line in up.stderr.splitlines() if line.startswith("roost: ")]
            assert port in said
            assert variable in said
    assert processes.find(project.run) == []


def test_a_bad_setting_ends_with_a_line_that_names_it_and_nothing_is_left(project: Project) -> None:
    up = project.make("up", ROOST_INGEST_RATE="plenty")
    assert up.returncode != 0
    assert "ROOST_INGEST_RATE" in up.stdout + up.stderr
    assert processes.find(project.run) == []


def test_with_neither_docker_nor_rabbitmq_it_says_what_to_install(project: Project) -> None:
    # A machine that is no Debian: no program but Python to be found, and no RabbitMQ in the usual places.
    code = (
        "import sys; from deploy.local import broker, packages; broker._PLACES = ();"
        "packages.shutil.which = lambda *_: None; packages.require('broker')"
    )
    done = subprocess.run(
        [str(project.folder / ".venv/bin/python"), "-c", code],
        cwd=project.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "install Docker with Compose v2, or RabbitMQ 3.10 or newer" in done.stderr


def test_down_and_up_go_on_where_they_were_and_each_secret_is_seen_by_its_service_alone(project: Project) -> None:
    # Two stories in one, because a broker takes its time to come and to go.
    with living_jetstream() as host:
        settings = {
            "ROOST_INGEST_SOURCE": "bluesky",
            "ROOST_INGEST_BLUESKY_HOSTS": host.url,
            "ROOST_INGEST_BLUESKY_API": host.api,
        }
        up = project.make("up", **settings)
        try:
            assert up.returncode == 0, up.stdout + up.stderr
            assert "@ada.test: a post" in up.stdout
            # A source repeats itself every few seconds: a gateway that came a moment later waits for that.
            eventually_now(lambda: "source   bsky: live" in project.make("status").stdout)
            [newest] = eventually_now(lambda: past(project, "limit=1"))
        finally:
            # Whatever happened, the next one finds no Roost here.
            assert project.make("down").returncode == 0
        assert host.cursors == [None]

        token, secret = "a-token-of-the-operator", "a-secret-of-the-operator-of-32-bytes-or-more"
        settings |= {"ROOST_GATEWAY_AUTH": "jwt", "ROOST_GATEWAY_JWT_SECRET": secret}
        up = project.make("up", **settings, ROOST_INGEST_X_BEARER_TOKEN=token)
        try:
            assert up.returncode == 0, up.stdout + up.stderr
            assert (
                "The gateway asks for a token, and every service says it is ready; no tweet was looked for"
                in up.stdout
            )
            assert_seen_in_one_file(project, token, "x-bearer-token")
            assert_seen_in_one_file(project, secret, "jwt-secret")
            status = project.make("status").stdout
            assert status.count(", ready") == len(SERVICES)
            assert "source   who asks the gateway needs a token" in status
            eventually_now(
                lambda: [row["source"] for row in asked(project, "/_/api/sources", secret)["sources"]] == ["bsky"],
                what="the gateway has heard of the source",
            )
            eventually_now(lambda: len(host.cursors) == 2, what="the stream is opened again")
            assert host.cursors[1] is not None
            # What was said before is still there.
            before = f"before={newest['seq'] + 1},{newest['id']}&limit=1"
            assert eventually_now(lambda: past(project, before, secret))[0]["id"] == newest["id"]
        finally:
            assert project.make("down").returncode == 0
    for name in ("x-bearer-token", "jwt-secret"):
        assert not (project.run / name).exists()


def test_with_tokens_and_no_key_it_says_which_settings_are_missing(project: Project) -> None:
    up = project.make("up", ROOST_GATEWAY_AUTH="jwt")
    assert up.returncode != 0
    assert "ROOST_GATEWAY_JWT_PUBLIC_KEY_FILE" in up.stdout + up.stderr
    assert processes.find(project.run) == []


def asked(project: Project, path: str, secret: str | None = None) -> Any:
    """What the gateway answers under a path, with a token where it asks for one; nothing where it refuses."""
    request = urllib.request.Request(project.url.replace("/nfl", path))
    if secret is not None:
        token = jwt.encode({"exp": time.time() + 60}, secret, algorithm="HS256")
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        return {}


def past(project: Project, query: str, secret: str | None = None) -> list[dict[str, Any]]:
    """Tweets of the past, newest first; none as long as nobody can tell."""
    tweets: list[dict[str, Any]] = asked(project, f"/_/api/rooms/all/tweets?{query}", secret).get("tweets", [])
    return tweets


def assert_seen_in_one_file(project: Project, secret: str, name: str) -> None:
    """No process has it in its environment, and it is written to one file that only its owner reads."""
    running = processes.find(project.run)
    assert len(running) > 6
    for process in running:
        assert secret.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes(), process.command
    written = (path for path in project.run.rglob("*") if path.is_file())
    files = [path for path in written if secret.encode() in path.read_bytes()]
    assert [path.name for path in files] == [name]
    assert files[0].stat().st_mode & 0o077 == 0
