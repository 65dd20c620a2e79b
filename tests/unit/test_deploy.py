"""What `make up` waits for and hands on, and what `make status` can tell."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deploy import archive, wait_for_readiness, wait_for_source
from deploy.composed import Composed
from deploy.failure import Failure
from deploy.local import broker, mode
from deploy.settings import ROOT, SERVICES, Settings
from deploy.sources import lines
from deploy.waiting import proof_of
from shared import metrics as _metrics  # noqa: F401 - so that they are registered

TOKENS = {"ROOST_GATEWAY_AUTH": "jwt", "ROOST_GATEWAY_JWT_SECRET": "what-only-the-gateway-may-know-of-all"}


@pytest.mark.parametrize(
    ("environ", "waits_for"),
    [
        ({}, "deploy.wait_for_tweet"),
        ({"ROOST_INGEST_SOURCE": "bluesky"}, "deploy.wait_for_tweet"),
        ({"ROOST_INGEST_SOURCE": "x"}, "deploy.wait_for_source"),
        (TOKENS, "deploy.wait_for_readiness"),
        (TOKENS | {"ROOST_INGEST_SOURCE": "x"}, "deploy.wait_for_readiness"),
    ],
)
@pytest.mark.parametrize("mode", ["local", "compose"])
def test_the_proof_is_one_that_can_be_had(mode: str, environ: dict[str, str], waits_for: str) -> None:
    assert proof_of(Settings(mode, environ), 60).command[0] == waits_for


def test_the_readiness_of_each_service_is_asked_where_this_machine_reaches_it() -> None:
    local = proof_of(Settings("local", TOKENS | {"ROOST_GATEWAY_OPS_PORT": "9999"}), 60).command
    assert local[3:] == [f"http://127.0.0.1:{port}/readyz" for port in (9101, 9102, 9999, 9104)]
    assert proof_of(Settings("compose", TOKENS), 60).command[3:] == []


def test_who_wants_no_history_runs_no_archive(tmp_path: Path) -> None:
    assert Settings("local", {}).services == list(SERVICES)
    without = Settings("local", TOKENS | {"ROOST_ARCHIVE": "off"})
    assert without.services == ["ingest", "router", "gateway"]
    assert "ROOST_ARCHIVE_AMQP_URL" not in without.for_services(tmp_path)
    assert proof_of(without, 60).command[3:] == [f"http://127.0.0.1:{port}/readyz" for port in (9101, 9102, 9103)]
    with pytest.raises(Failure, match="ROOST_ARCHIVE is on or off, not 'no'"):
        Settings("compose", {"ROOST_ARCHIVE": "no"})


def test_every_service_is_started_in_each_mode() -> None:
    procfile = (ROOT / "deploy" / "Procfile").read_text(encoding="utf-8")
    compose = (ROOT / "deploy" / "compose.yml").read_text(encoding="utf-8")
    for service in SERVICES:
        assert (ROOT / "services" / service / "__main__.py").exists()
        assert f"{service}: exec deploy/local/keep {service} .venv/bin/python -m services.{service}\n" in procfile
        assert f"    command: [python, -m, services.{service}]\n" in compose


def test_a_bad_setting_of_any_service_is_told_before_one_is_started() -> None:
    def checked(**environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
        command = [sys.executable, "-m", "deploy.check_settings", *SERVICES]
        return subprocess.run(command, cwd=ROOT, env=kept | environ, capture_output=True, text=True, check=False)

    assert checked().returncode == 0
    for service in SERVICES:
        name = f"ROOST_{service.upper()}_OPS_PORT"
        refused = checked(**{name: "eighty"})
        assert refused.returncode == 1
        [line] = refused.stdout.splitlines()
        assert line.startswith(f"{name}: ")


def test_a_secret_reaches_its_service_and_no_other_process(tmp_path: Path) -> None:
    secret = TOKENS["ROOST_GATEWAY_JWT_SECRET"]
    for name in ("local", "compose"):
        assert secret not in Settings(name, TOKENS).environ.values(), "of what is started, and written down"
    assert Settings("compose", TOKENS).for_compose()["ROOST_GATEWAY_JWT_SECRET"] == secret
    environ = Settings("local", TOKENS).for_services(tmp_path)
    assert secret not in environ.values()
    file = Path(environ["ROOST_GATEWAY_JWT_SECRET_FILE"])
    assert file.read_text(encoding="utf-8") == secret
    assert file.stat().st_mode & 0o077 == 0


def test_status_tells_how_much_there_is_of_the_past() -> None:
    now = time.time()

    def metrics_of(**values: float) -> archive.Ask:
        said = "".join(f"# HELP it\nroost_archive_{name} {value}\n" for name, value in values.items())
        return lambda path: said if path == "/metrics" else None

    assert archive.line(metrics_of(tweets=0, bytes=0, files=0)) == "history  0 tweets, 0 bytes in 0 files"
    some = archive.line(metrics_of(tweets=1, bytes=4096, files=1, oldest_seconds=now - 125))
    assert re.fullmatch(r"history  1 tweet, 4\.1 KB in 1 file, back to \d{4}-\d\d-\d\d \d\d:\d\d \(2 min ago\)", some)
    many = archive.line(metrics_of(tweets=1.25e6, bytes=1.5e9, files=13, oldest_seconds=now - 23.5 * 3600))
    assert many.startswith("history  1,250,000 tweets, 1.5 GB in 13 files, back to ")
    assert many.endswith(" (23 h 30 min ago)")
    assert archive.line(lambda _: None) == "history  the archive does not answer"


def test_the_archive_has_what_status_tells() -> None:
    known = {metric.name for metric in REGISTRY.collect()}
    assert {f"roost_archive_{name}" for name in archive.METRICS} <= known


def test_each_container_of_a_scaled_service_is_asked(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    rows = [
        {"Service": service, "Name": name, "State": "running"}
        for service, name in (("router", "r-1"), ("router", "r-2"), ("ingest", "i-1"), ("router", "r-3"))
    ]
    listed = "\n".join(json.dumps(row) for row in rows)
    docker.write_text(
        f"#!/bin/sh\ncase \"$1 $2\" in\n'compose ps') cat <<'ROWS'\n{listed}\nROWS\n;;\n"
        "'exec r-2') exit 1 ;;\nexec*) echo \"roost_of_$2 1.0\" | tr - _ ;;\nesac\n",
        encoding="utf-8",
    )
    docker.chmod(0o755)
    composed = Composed(Settings("compose", {"PATH": f"{tmp_path}:/usr/bin:/bin"}))
    routers, archives = composed.metrics("router", "archive")
    assert routers.service == "router"
    assert list(routers.processes) == [{"roost_of_r_1": 1}, None, {"roost_of_r_3": 1}]
    assert list(archives.processes) == []


def test_a_service_that_is_down_is_no_reason_to_tell_nothing() -> None:
    with answering(lambda _: (200, {})) as url:
        port = url.rpartition(":")[2]
        local = mode.Local(Settings("local", {"ROOST_ROUTER_OPS_PORT": port, "ROOST_INGEST_OPS_PORT": "1"}))
        routers, ingests = local.metrics("router", "ingest")
    assert list(routers.processes) == [{}]
    assert list(ingests.processes) == [None]


def test_a_service_that_is_not_ready_says_what_it_lacks() -> None:
    said = {"ready": False, "broker": True, "demand": False, "draining": True}
    with answering(lambda _: (503, said)) as url:
        assert mode._readiness(int(url.rpartition(":")[2])) == "not ready (demand, draining)"


def test_the_name_of_a_queue_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = [{"name": "consumer.\x1b[2J", "messages": 3}, {"name": "amq.gen-\x1b", "messages": 2, "exclusive": True}]
    monkeypatch.setattr(broker, "ask", lambda *_: queues)
    told = mode.queue_depths(Settings("local", {}))
    assert told == "consumer. [2J 3, 2 in 1 of gateways, routers and consumers"


def test_what_waits_for_routers_is_told_by_the_broker_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, waiting in (({"messages": 4}, 4), ({}, None), (None, None), ([], None)):
        monkeypatch.setattr(broker, "ask", lambda *_, said=said: said)
        assert mode.batches_for_routers(Settings("local", {})) == waiting


def test_a_gateway_that_asks_for_tokens_is_no_gateway_without_sources() -> None:
    [line] = lines({"error": {"code": "token_missing", "message": "a token is needed here"}})
    assert line.startswith("source   who asks the gateway needs a token")
    others: list[object] = [None, [], {"error": "no"}, {"error": {"code": "internal"}}, {"sources": []}]
    for other in others:
        assert lines(other) == []


@contextmanager
def answering(answer: Callable[[str], tuple[int, object]]) -> Iterator[str]:
    """A server on which each path has an answer: its code and its JSON. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answer(self.path)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ended(monkeypatch: pytest.MonkeyPatch, main: Callable[[], int], *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    return main()


@pytest.mark.parametrize(("state", "code"), [("live", 0), ("spent", 0), ("away", 1)])
def test_a_source_that_lets_us_in_is_waited_for(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[dict[str, str]] = [{"source": "x", "state": "connecting"}, {"source": "x", "state": state}]
    monkeypatch.setattr(wait_for_source, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(wait_for_source, "SAY_EVERY_S", 0)
    with answering(lambda _: (200, {"sources": [said.pop(0) if len(said) > 1 else said[0]]})) as url:
        assert ended(monkeypatch, wait_for_source.main, url, "x", "0.5") == code
    assert f"x: {state}" in capsys.readouterr().out


def test_where_tokens_are_asked_for_each_service_says_whether_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = False

    def answer(path: str) -> tuple[int, object]:
        if path == "/_/api/sources":
            return 401, {"error": {"code": "token_missing"}}
        return (200 if ready else 503), {}

    monkeypatch.setattr(wait_for_readiness, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(wait_for_readiness, "SAY_EVERY_S", 0)
    with answering(answer) as url:
        assert ended(monkeypatch, wait_for_readiness.main, url, "0.2", f"{url}/readyz") == 1
        assert f"not ready: {url}/readyz" in capsys.readouterr().out
        ready = True
        assert ended(monkeypatch, wait_for_readiness.main, url, "0.2", f"{url}/readyz") == 0
