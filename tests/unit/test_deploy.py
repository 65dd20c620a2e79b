"""What `make up` waits for and hands on, and what `make status` can tell."""

from pathlib import Path

import pytest

from deploy.settings import Settings
from deploy.sources import lines
from deploy.waiting import proof_of

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
    assert local[3:] == [f"http://127.0.0.1:{port}/readyz" for port in (9101, 9102, 9999)]
    assert proof_of(Settings("compose", TOKENS), 60).command[3:] == []


def test_a_secret_reaches_its_service_and_no_other_process(tmp_path: Path) -> None:
    secret = TOKENS["ROOST_GATEWAY_JWT_SECRET"]
    for mode in ("local", "compose"):
        assert secret not in Settings(mode, TOKENS).environ.values(), "of what is started, and written down"
    assert Settings("compose", TOKENS).for_compose()["ROOST_GATEWAY_JWT_SECRET"] == secret
    environ = Settings("local", TOKENS).for_services(tmp_path)
    assert secret not in environ.values()
    file = Path(environ["ROOST_GATEWAY_JWT_SECRET_FILE"])
    assert file.read_text(encoding="utf-8") == secret
    assert file.stat().st_mode & 0o077 == 0


def test_a_gateway_that_asks_for_tokens_is_no_gateway_without_sources() -> None:
    [line] = lines({"error": {"code": "token_missing", "message": "a token is needed here"}})
    assert line.startswith("source   who asks the gateway needs a token")
    others: list[object] = [None, [], {"error": "no"}, {"error": {"code": "internal"}}, {"sources": []}]
    for other in others:
        assert lines(other) == []
