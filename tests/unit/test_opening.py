"""From settings to a source: what is missing is said by the name of its setting, and a secret by no name at all."""

from pathlib import Path
from typing import Any

import pytest

from services.ingest.opening import open_source
from services.ingest.settings import IngestSettings
from shared.lifecycle import StartError

TOKEN = "AAAA-secret-of-the-operator"
X: dict[str, Any] = {"source": "x", "x_bearer_token": TOKEN, "x_rules": "nfl"}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"source": "replay"}, "ROOST_INGEST_REPLAY_PATH"),
        ({"source": "bluesky", "bluesky_hosts": ""}, "ROOST_INGEST_BLUESKY_HOSTS"),
        ({"source": "bluesky", "bluesky_hosts": "jetstream.example"}, "ROOST_INGEST_BLUESKY_HOSTS"),
        ({"source": "bluesky", "bluesky_hosts": "wss://"}, "ROOST_INGEST_BLUESKY_HOSTS"),
        ({"source": "bluesky", "bluesky_hosts": "wss://a.example,wss://[x"}, "ROOST_INGEST_BLUESKY_HOSTS"),
        ({"source": "bluesky", "bluesky_hosts": "wss://a.example:99999"}, "ROOST_INGEST_BLUESKY_HOSTS"),
        ({"source": "bluesky", "bluesky_api": "api.example"}, "ROOST_INGEST_BLUESKY_API"),
        (X | {"x_api": "api.x.com"}, "ROOST_INGEST_X_API"),
        (X | {"x_api": "http://api.x.com"}, "ROOST_INGEST_X_API"),
        (X | {"x_budget": 0}, "ROOST_INGEST_X_BUDGET"),
        (X | {"x_bearer_token": None}, "ROOST_INGEST_X_BEARER_TOKEN"),
        (X | {"x_bearer_token": " "}, "ROOST_INGEST_X_BEARER_TOKEN"),
        (X | {"x_bearer_token": f"{TOKEN} {TOKEN}"}, "ROOST_INGEST_X_BEARER_TOKEN"),
        (X | {"x_bearer_token": None, "x_bearer_token_file": "/is/not/there"}, "ROOST_INGEST_X_BEARER_TOKEN_FILE"),
        (X | {"x_bearer_token": None, "x_bearer_token_file": "/"}, "ROOST_INGEST_X_BEARER_TOKEN_FILE"),
        (X | {"x_bearer_token": None, "x_bearer_token_file": TOKEN}, "ROOST_INGEST_X_BEARER_TOKEN_FILE"),
        (X | {"x_rules": " "}, "ROOST_INGEST_X_RULES"),
        (X | {"x_rules": "demand"}, "ROOST_INGEST_X_ALLOW"),
        (X | {"x_rules": "nfl;" + "x" * 1025}, "ROOST_INGEST_X_RULES"),
        (X | {"x_rules": "demand", "x_allow": "nfl, lang/klingon"}, "ROOST_INGEST_X_ALLOW"),
    ],
)
def test_what_is_missing_or_wrong_is_named(settings: dict[str, Any], names: str) -> None:
    with pytest.raises(StartError) as refused:
        open_source(IngestSettings(**settings))
    assert str(refused.value).startswith(f"{names}: ")
    assert len(str(refused.value).splitlines()) == 1
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("source", ["synthetic", "bluesky", "x"])
def test_each_source_opens_with_little(source: str) -> None:
    opened = open_source(IngestSettings(**(X | {"source": source})))
    assert opened.name == {"bluesky": "bsky"}.get(source, source)


def test_a_token_may_be_in_a_file_with_a_line_break_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = IngestSettings(**(X | {"x_bearer_token": None, "x_bearer_token_file": tmp_path / "token"}))
    assert TOKEN not in repr(open_source(settings)) + repr(settings)


def test_rules_of_demand_have_a_demand_to_follow() -> None:
    assert open_source(IngestSettings(**X)).demand is None
    assert open_source(IngestSettings(**(X | {"x_rules": "demand", "x_allow": "nfl"}))).demand is not None
