"""What can be set about a running Roost from outside: the environment, the file `.env`, the defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.failure import Failure

ROOT = Path(__file__).resolve().parent.parent
"""The project."""

RUN = ROOT / ".run"
"""Everything that a running Roost writes on this machine: data, logs, what is up."""

LOGS = RUN / "log"

SERVICES = ("ingest", "router", "gateway", "archive")
"""The services, by the names of their folders, of their users at the broker and of their processes."""

SECRETS = {"ROOST_INGEST_X_BEARER_TOKEN": "x-bearer-token", "ROOST_GATEWAY_JWT_SECRET": "jwt-secret"}
"""The variables that hold a secret, which one service alone may see, and the file that local mode puts it into."""


@dataclass(frozen=True)
class Port:
    """A port that Roost listens on, by the variable that changes it."""

    variable: str
    number: int
    purpose: str
    host: str = "127.0.0.1"


_PUBLIC = ("ROOST_PORT", 8080, "the page", "0.0.0.0")
_DEFAULTS: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "compose": (
        _PUBLIC,
        ("ROOST_AMQP_PORT", 5672, "the broker", "127.0.0.1"),
        ("ROOST_MANAGEMENT_PORT", 15672, "the broker's management page", "127.0.0.1"),
    ),
    # A broker of the system may have the usual ports, so these are others.
    "local": (
        _PUBLIC,
        ("ROOST_AMQP_PORT", 5673, "the broker", "127.0.0.1"),
        ("ROOST_MANAGEMENT_PORT", 15673, "the broker's management page", "127.0.0.1"),
        ("ROOST_BROKER_METRICS_PORT", 15693, "the broker's metrics", "127.0.0.1"),
        ("ROOST_DIST_PORT", 25673, "Erlang's distribution", "127.0.0.1"),
        ("ROOST_EPMD_PORT", 4370, "Erlang's port mapper", "127.0.0.1"),
        ("ROOST_INGEST_OPS_PORT", 9101, "ingest's metrics and health", "127.0.0.1"),
        ("ROOST_ROUTER_OPS_PORT", 9102, "the router's metrics and health", "127.0.0.1"),
        ("ROOST_GATEWAY_OPS_PORT", 9103, "the gateway's metrics and health", "127.0.0.1"),
        ("ROOST_ARCHIVE_OPS_PORT", 9104, "the archive's metrics and health", "127.0.0.1"),
    ),
}


_PATHS = (
    "ROOST_INGEST_REPLAY_PATH",
    "ROOST_INGEST_X_BEARER_TOKEN_FILE",
    "ROOST_GATEWAY_JWT_SECRET_FILE",
    "ROOST_GATEWAY_JWT_PUBLIC_KEY_FILE",
)


class Settings:
    """The ports of a mode (`local` or `compose`) and the variables that its services are started with.

    Raises `Failure` for a port that is none or that is given twice, and for an archive that is neither on nor off.
    """

    def __init__(self, mode: str, environ: Mapping[str, str]) -> None:
        self.mode = mode
        self.environ = dict(environ)
        """Without the secrets: it is handed to every process that is started, and written down."""
        self._secrets = {name: value for name in SECRETS if (value := self.environ.pop(name, ""))}
        self.services = [name for name in SERVICES if name != "archive" or _wants_archive(environ)]
        """Those that run; where nobody wants history, the archive does not."""
        ports = [_port(environ, *default) for default in _DEFAULTS[mode]]
        absent = {f"ROOST_{name.upper()}_OPS_PORT" for name in SERVICES if name not in self.services}
        self.ports = [port for port in ports if port.variable not in absent]
        self._number = {port.variable: port.number for port in self.ports}
        by_number: dict[int, Port] = {}
        for port in self.ports:
            other = by_number.setdefault(port.number, port)
            if other is not port:
                raise Failure(f"{other.variable} and {port.variable} are both {port.number}.")

    def port(self, variable: str) -> int:
        """The number of one of the mode's ports."""
        return self._number[variable]

    @property
    def url(self) -> str:
        """Where a browser finds Roost."""
        return f"http://localhost:{self.port('ROOST_PORT')}"

    def amqp_url(self, user: str) -> str:
        """The broker for one of the development users, seen from this machine."""
        return f"amqp://{user}:{user}@127.0.0.1:{self.port('ROOST_AMQP_PORT')}/"

    @property
    def management_url(self) -> str:
        """The broker's management API for the user `router`, who may look but not change."""
        given = self.environ.get("ROOST_ROUTER_MANAGEMENT_URL") if self.mode == "local" else None
        return given or self._management_url("router")

    @property
    def source(self) -> str:
        """Where tweets come from: `ROOST_INGEST_SOURCE`."""
        return self.environ.get("ROOST_INGEST_SOURCE") or "synthetic"

    @property
    def asks_for_tokens(self) -> bool:
        """Whether tweets are shown only to those who have a token."""
        return self.environ.get("ROOST_GATEWAY_AUTH") == "jwt"

    @property
    def readiness_urls(self) -> list[str]:
        """Where the services say whether they can do their work, as far as this machine reaches them."""
        variables = [port.variable for port in self.ports if port.variable.endswith("_OPS_PORT")]
        return [f"http://127.0.0.1:{self.port(variable)}/readyz" for variable in variables]

    def _management_url(self, user: str) -> str:
        return f"http://{user}:{user}@127.0.0.1:{self.port('ROOST_MANAGEMENT_PORT')}"

    def for_compose(self) -> dict[str, str]:
        """The environment in which Compose brings the services up; it hands each secret to its service alone."""
        return {**self.environ, **self._secrets}

    def for_services(self, folder: Path) -> dict[str, str]:
        """The environment of the local services: what the user has set, and the defaults of local mode.

        A secret goes into a file in `folder`, because honcho gives all services the same environment.
        """
        defaults = {
            "ROOST_ROUTER_MANAGEMENT_URL": self.management_url,
            "ROOST_INGEST_MANAGEMENT_URL": self._management_url("ingest"),
        }
        for service in self.services:
            prefix = f"ROOST_{service.upper()}"
            defaults[f"{prefix}_AMQP_URL"] = self.amqp_url(service)
            defaults[f"{prefix}_OPS_HOST"] = "127.0.0.1"
            defaults[f"{prefix}_OPS_PORT"] = str(self.port(f"{prefix}_OPS_PORT"))
        defaults["ROOST_ARCHIVE_FOLDER"] = str(folder / "archive")
        defaults["ROOST_GATEWAY_HOST"] = "0.0.0.0"
        # Nobody balances here, so there is nobody to wait for when the gateway stops.
        defaults["ROOST_GATEWAY_DRAIN_S"] = "0"
        fixed = {"ROOST_GATEWAY_PORT": str(self.port("ROOST_PORT")), "PYTHONUNBUFFERED": "1"}
        for name, value in self._secrets.items():
            file = folder / SECRETS[name]
            file.unlink(missing_ok=True)
            file.touch(mode=0o600)
            file.write_text(value, encoding="utf-8")
            fixed[f"{name}_FILE"] = str(file)
        return {**defaults, **self.environ, **fixed}


def environment() -> dict[str, str]:
    """This process's environment, and beneath it what the project's `.env` says (which Compose reads too)."""
    values: dict[str, str] = {}
    file = ROOT / ".env"
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            name, separator, value = line.strip().removeprefix("export ").partition("=")
            if separator and not name.startswith("#"):
                values[name.strip()] = _unquoted(value.strip())
    environ = {**values, **os.environ}
    for name in _PATHS:
        if path := environ.get(name):
            # Compose mounts it under the same path, which has to be absolute.
            environ[name] = str(ROOT / path)
    return environ


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()


def _wants_archive(environ: Mapping[str, str]) -> bool:
    wanted = environ.get("ROOST_ARCHIVE") or "on"
    if wanted not in ("on", "off"):
        raise Failure(f"ROOST_ARCHIVE is on or off, not {wanted!r}.")
    return wanted == "on"


def _port(environ: Mapping[str, str], variable: str, default: int, purpose: str, host: str) -> Port:
    text = environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Failure(f"{variable} is a port from 1 to 65535, not {text!r}.")
    return Port(variable, int(text), purpose, host)
