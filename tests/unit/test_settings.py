"""Settings: each has a meaning, a bad one is named in one line, and the documentation knows them all."""

import ipaddress
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, FilePath, SecretStr, ValidationError

from services.archive.settings import ArchiveSettings
from services.gateway.settings import GatewaySettings
from services.ingest.settings import IngestSettings
from services.router.settings import RouterSettings
from shared.settings import AmqpUrl, BadSettingError, ServiceSettings, describe, load, parse_command_line, variable

ROOT = Path(__file__).parents[2]
SERVICES: list[tuple[str, type[ServiceSettings]]] = [
    ("ingest", IngestSettings),
    ("router", RouterSettings),
    ("gateway", GatewaySettings),
    ("archive", ArchiveSettings),
]
SECRET = "what-only-the-operator-knows-and-nobody-else"
all_services = pytest.mark.parametrize(("name", "cls"), SERVICES, ids=[name for name, _ in SERVICES])


@pytest.fixture(autouse=True)
def environment_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, cls in SERVICES:
        for name, _, _ in describe(cls):
            monkeypatch.delenv(name, raising=False)


def start(service: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a service as an operator does, in an environment in which it can't run."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", f"services.{service}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@all_services
def test_a_bad_setting_ends_the_start_with_one_line_that_names_it(
    name: str, cls: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = variable(cls, "ops_port")
    ended = start(name, monkeypatch, **{wrong: "eighty"})
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"python -m services.{name}: {wrong}: ")
    assert "'eighty'" in line
    assert ended.stdout == ""


def test_a_replay_without_a_file_names_the_setting_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = start("ingest", monkeypatch, ROOST_INGEST_SOURCE="replay")
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert "ROOST_INGEST_REPLAY_PATH" in line


@all_services
def test_help_lists_every_setting_with_its_default(
    name: str,
    cls: type[ServiceSettings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        parse_command_line(cls, program=name, about="About it.")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "About it." in text
    for variable_name, default, description in describe(cls):
        assert f"  {variable_name}" + (f"  [{default}]" if default else "") in text
        assert description.split()[0] in text


@all_services
def test_every_setting_has_a_meaning_and_a_default_that_is_allowed(name: str, cls: type[ServiceSettings]) -> None:
    settings = load(cls)
    for variable_name, _, description in describe(cls):
        assert variable_name.startswith(f"ROOST_{name.upper()}_")
        assert description.endswith("."), variable_name
    for field in cls.model_fields:
        cls.__pydantic_validator__.validate_assignment(settings.model_copy(), field, getattr(settings, field))


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (IngestSettings, "ROOST_INGEST_SOURCE", "twitter"),
        (IngestSettings, "ROOST_INGEST_RATE", "0"),
        (IngestSettings, "ROOST_INGEST_RATE", "nan"),
        (IngestSettings, "ROOST_INGEST_RATE", "inf"),
        (IngestSettings, "ROOST_INGEST_SEED", "1.5"),
        (IngestSettings, "ROOST_INGEST_REPLAY_LOOP", "maybe"),
        (IngestSettings, "ROOST_INGEST_REPLAY_SPEED", "-1"),
        (IngestSettings, "ROOST_INGEST_BUFFER_EVENTS", "0"),
        (IngestSettings, "ROOST_INGEST_AMQP_URL", "nonsense"),
        (RouterSettings, "ROOST_ROUTER_AMQP_URL", "http://localhost:5672/"),
        (RouterSettings, "ROOST_ROUTER_AMQP_URL", "amqp://localhost:port/"),
        (RouterSettings, "ROOST_ROUTER_MANAGEMENT_URL", "localhost"),
        (RouterSettings, "ROOST_ROUTER_PREFETCH", "0"),
        (RouterSettings, "ROOST_ROUTER_MAX_TERMS", ""),
        (RouterSettings, "ROOST_ROUTER_LOG_LEVEL", "loud"),
        (RouterSettings, "ROOST_ROUTER_LOG_FORMAT", "xml"),
        (GatewaySettings, "ROOST_GATEWAY_AMQP_URL", ""),
        (GatewaySettings, "ROOST_GATEWAY_PORT", "65536"),
        (GatewaySettings, "ROOST_GATEWAY_DRAIN_S", "3600"),
        (GatewaySettings, "ROOST_GATEWAY_UNBIND_AFTER_S", "-1"),
        (GatewaySettings, "ROOST_GATEWAY_UNBIND_AFTER_S", "inf"),
        (GatewaySettings, "ROOST_GATEWAY_OPS_PORT", "80\n81"),
        (GatewaySettings, "ROOST_GATEWAY_ORIGINS", "example.org"),
        (GatewaySettings, "ROOST_GATEWAY_ORIGINS", "*, https://example.org"),
        (GatewaySettings, "ROOST_GATEWAY_TRUSTED_PROXIES", "10.0.0.1/8"),
        (GatewaySettings, "ROOST_GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8, haproxy"),
        (GatewaySettings, "ROOST_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS", "0"),
        (GatewaySettings, "ROOST_GATEWAY_MAX_ROOMS_PER_ADDRESS", "many"),
        (GatewaySettings, "ROOST_GATEWAY_SUBSCRIBES_PER_S", "0"),
        (GatewaySettings, "ROOST_GATEWAY_SUBSCRIBES_PER_S", "inf"),
        (GatewaySettings, "ROOST_GATEWAY_MAX_PAYLOAD_BYTES", "10"),
        (GatewaySettings, "ROOST_GATEWAY_SEND_BUFFER_BYTES", "1 MiB"),
        (GatewaySettings, "ROOST_GATEWAY_STALLED_AFTER_S", "nan"),
        (GatewaySettings, "ROOST_GATEWAY_MAX_BACKFILL", "-1"),
        (ArchiveSettings, "ROOST_ARCHIVE_AMQP_URL", "localhost"),
        (ArchiveSettings, "ROOST_ARCHIVE_KEEP_HOURS", "0"),
        (ArchiveSettings, "ROOST_ARCHIVE_KEEP_HOURS", "nan"),
        (ArchiveSettings, "ROOST_ARCHIVE_KEEP_HOURS", "inf"),
        (ArchiveSettings, "ROOST_ARCHIVE_KEEP_BYTES", "8 GiB"),
        (ArchiveSettings, "ROOST_ARCHIVE_KEEP_BYTES", "1000"),
        (ArchiveSettings, "ROOST_ARCHIVE_SEGMENT_MINUTES", "-30"),
        (ArchiveSettings, "ROOST_ARCHIVE_SEGMENT_MINUTES", "inf"),
        (GatewaySettings, "ROOST_GATEWAY_AUTH", "JWT"),
        # About several settings: the one to look at first is named first, and what it lacks after it.
        (GatewaySettings, "ROOST_GATEWAY_AUTH", "jwt"),
        (GatewaySettings, "ROOST_GATEWAY_JWT_SECRET", SECRET),
        (GatewaySettings, "ROOST_GATEWAY_JWT_SECRET_FILE", "/run/secrets/jwt"),
        (GatewaySettings, "ROOST_GATEWAY_JWT_PUBLIC_KEY_FILE", "key.pem"),
    ],
)
def test_what_can_not_be_used_is_refused(
    cls: type[ServiceSettings], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettingError) as refused:
        load(cls)
    assert str(refused.value).startswith(f"{name}: ")
    assert len(str(refused.value).splitlines()) == 1
    assert SECRET not in str(refused.value)


def test_tokens_are_checked_with_one_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOST_GATEWAY_AUTH", "jwt")
    keys = ("ROOST_GATEWAY_JWT_SECRET", "ROOST_GATEWAY_JWT_SECRET_FILE", "ROOST_GATEWAY_JWT_PUBLIC_KEY_FILE")
    with pytest.raises(BadSettingError) as refused:
        load(GatewaySettings)
    assert all(name in str(refused.value) for name in keys)
    for first, second in itertools.combinations(keys, 2):
        with monkeypatch.context() as patch:
            for name in keys:
                # An empty one is as good as none: Compose hands on what `.env` has.
                patch.setenv(name, SECRET if name in (first, second) else "")
            with pytest.raises(BadSettingError) as refused:
                load(GatewaySettings)
        assert str(refused.value).startswith(f"{first}: ")
        assert second in str(refused.value)
        assert SECRET not in str(refused.value)
    for name in keys:
        with monkeypatch.context() as patch:
            patch.setenv(name, SECRET)
            settings = load(GatewaySettings)
            patch.setenv("ROOST_GATEWAY_AUTH", "none")
            with pytest.raises(BadSettingError) as refused:
                load(GatewaySettings)
            assert "ROOST_GATEWAY_AUTH" in str(refused.value)
        assert settings.auth == "jwt"


def test_empty_keys_are_none_where_no_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "SECRET_FILE", "PUBLIC_KEY_FILE", "AUDIENCE", "ISSUER"):
        monkeypatch.setenv(f"ROOST_GATEWAY_JWT_{name}", "")
    assert load(GatewaySettings).jwt_public_key_file is None


def test_no_error_and_no_repr_repeats_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(ServiceSettings):
        amqp_url: AmqpUrl = "amqp://localhost/"
        ops_port: int = 0
        key: SecretStr | None = Field(default=None, min_length=100)
        key_file: FilePath | None = None

    for name in ("KEY", "KEY_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, SECRET)
            with pytest.raises(BadSettingError) as refused:
                load(Strict)
            assert str(refused.value).startswith(f"{name}: ")
            assert SECRET not in str(refused.value)
    for arguments in ({"jwt_secret": SECRET}, {"auth": "jwt", "jwt_secret": SECRET, "jwt_secret_file": "x"}):
        with pytest.raises(ValidationError) as wrong:
            GatewaySettings(**arguments)  # type: ignore[arg-type]
        assert SECRET not in str(wrong.value)
    assert SECRET not in repr(GatewaySettings(auth="jwt", jwt_secret=SecretStr(SECRET)))


def test_what_can_be_used_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ROOST_INGEST_AMQP_URL": "amqps://a:b@broker.example:5671/roost",
        "ROOST_INGEST_RATE": "0.5",
        "ROOST_INGEST_REPLAY_LOOP": "true",
        "ROOST_INGEST_REPLAY_PATH": "posts.jsonl.gz",
        "ROOST_ROUTER_RATE": "7",
        "ROOST_GATEWAY_ORIGINS": "https://example.org, http://localhost:3000",
        "ROOST_GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8,::1",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(IngestSettings)
    assert settings.amqp_url == "amqps://a:b@broker.example:5671/roost"
    assert load(GatewaySettings).proxies == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128"))
    assert (settings.rate, settings.replay_loop, settings.replay_path) == (0.5, True, Path("posts.jsonl.gz"))


class TestDocumentation:
    def documented(self) -> set[str]:
        text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
        return set(re.findall(r"ROOST_(?:INGEST|ROUTER|GATEWAY|ARCHIVE)_[A-Z0-9_]*[A-Z0-9]", text))

    @all_services
    def test_every_setting_is_documented_as_it_is(self, name: str, cls: type[ServiceSettings]) -> None:
        lines = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
        for variable_name, default, description in describe(cls):
            assert f"| `{variable_name}` | {f'`{default}`' if default else ''} | {description} |" in lines

    @all_services
    def test_every_setting_reaches_the_container(self, name: str, cls: type[ServiceSettings]) -> None:
        handed_on = (ROOT / "deploy" / "compose.yml").read_text(encoding="utf-8")
        for variable_name, _, _ in describe(cls):
            assert f" {variable_name}:" in handed_on, f"deploy/compose.yml does not hand {variable_name} on"

    def test_nothing_is_documented_that_is_not_there(self) -> None:
        known = {variable_name for _, cls in SERVICES for variable_name, _, _ in describe(cls)}
        assert self.documented() - known == set()
