"""A private RabbitMQ node: own name, cookie, data and ports, all on loopback; the system's is not touched."""

import base64
import json
import secrets
import shutil
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.settings import ROOT

_SHARED = ROOT / "deploy" / "rabbitmq"
_PLACES = (
    "/usr/lib/rabbitmq/bin",  # Debian, Fedora; not /usr/sbin, where scripts change the user
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/rabbitmq/sbin",
    "/opt/rabbitmq_server-*/sbin",
)


@dataclass(frozen=True)
class Node:
    """One node, in a folder of its own. `prepare` writes its configuration; starting it is the caller's."""

    folder: Path
    binaries: Path
    amqp_port: int
    management_port: int
    metrics_port: int
    dist_port: int
    epmd_port: int

    def prepare(self) -> None:
        """Write the folder's configuration and, the first time, the cookie."""
        for name in ("home", "data", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(20))
            cookie.chmod(0o400)
        own = (
            f"listeners.tcp.default = 127.0.0.1:{self.amqp_port}",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {self.management_port}",
            "prometheus.tcp.ip = 127.0.0.1",
            f"prometheus.tcp.port = {self.metrics_port}",
            # Imported before the broker listens: who can connect finds everything in place.
            f"load_definitions = {_SHARED / 'definitions.json'}",
            "log.console = true",
            "log.console.level = info",
        )
        shared = (_SHARED / "rabbitmq.conf").read_text(encoding="utf-8")
        (self.folder / "rabbitmq.conf").write_text(shared + "\n" + "\n".join(own) + "\n", encoding="utf-8")
        shutil.copyfile(_SHARED / "enabled_plugins", self.folder / "enabled_plugins")

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The environment for the node's programs: `base` without what it says of other nodes."""
        foreign = ("RABBITMQ_", "ERL_", "ERLANG_")
        return {
            **{name: value for name, value in base.items() if not name.startswith(foreign)},
            "HOME": str(self.folder / "home"),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Not where whoever started it happens to be.
            "ERL_CRASH_DUMP": str(self.folder / "log" / "erl_crash.dump"),
            # A host part that always resolves, whatever the machine calls itself.
            "RABBITMQ_NODENAME": "roost@localhost",
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_BASE": str(self.folder),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            # Files that don't exist, so that those of the system are not read.
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "no-environment"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "no-advanced.config"),
        }

    def server(self) -> list[str]:
        """The command that runs the node in the foreground; SIGTERM stops it in good order."""
        return [str(self.binaries / "rabbitmq-server")]

    def port_mapper(self) -> list[str]:
        """The command that runs Erlang's port mapper in the foreground.

        The node would start one by itself, but as a daemon that outlives it.
        """
        epmd = shutil.which("epmd") or next(iter(_glob("/usr/lib/erlang/erts-*/bin/epmd")), "epmd")
        return [str(epmd), "-port", str(self.epmd_port), "-address", "127.0.0.1"]


def find_binaries() -> Path | None:
    """The folder that has the `rabbitmq-server` which runs as whoever calls it."""
    for pattern in _PLACES:
        for folder in _glob(pattern):
            if (folder / "rabbitmq-server").is_file():
                return folder
    return None


def ask(management_url: str, path: str) -> object:
    """GET a path of the management API, `http://user:password@host:port`, as JSON; None if it won't answer."""
    url = urllib.parse.urlsplit(management_url)
    token = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    request = urllib.request.Request(
        f"{url.scheme}://{url.hostname}:{url.port}{path}", headers={"Authorization": f"Basic {token}"}
    )
    # A proxy that the machine may use for the web has no business here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=3) as response:
            return json.load(response)
    except (OSError, ValueError):
        return None


def _glob(pattern: str) -> list[Path]:
    return sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
