"""From the settings to a source that can be read."""

import ipaddress
from collections.abc import Callable, Sequence

import yarl
from pydantic import SecretStr

from services.ingest.settings import IngestSettings
from services.ingest.sources import Source, SourceError
from services.ingest.sources.bluesky import BlueskySource
from services.ingest.sources.replay import ReplaySource
from services.ingest.sources.synthetic import SyntheticSource
from services.ingest.sources.x import XSource
from services.ingest.sources.x_api.rules import Wishes, fixed
from shared.lifecycle import StartError

DEMAND = "demand"
"""The value of `ROOST_INGEST_X_RULES` that makes rules of what people watch."""


def open_source(settings: IngestSettings) -> Source:
    """The source that the settings name; raises `StartError` where it can't be read."""
    openers: dict[str, Callable[[IngestSettings], Source]] = {
        "synthetic": _synthetic,
        "replay": _replay,
        "x": _x,
        "bluesky": _bluesky,
    }
    try:
        return openers[settings.source](settings)
    except SourceError as error:
        raise StartError(str(error)) from None


def _synthetic(settings: IngestSettings) -> Source:
    return SyntheticSource(rate=settings.rate, seed=settings.seed)


def _replay(settings: IngestSettings) -> Source:
    if settings.replay_path is None:
        raise SourceError("ROOST_INGEST_REPLAY_PATH: the source replay needs a file")
    return ReplaySource(path=settings.replay_path, speed=settings.replay_speed, loop=settings.replay_loop)


def _bluesky(settings: IngestSettings) -> Source:
    hosts = _listed(settings.bluesky_hosts)
    if not hosts:
        raise SourceError("ROOST_INGEST_BLUESKY_HOSTS: the source bluesky needs a host, such as wss://host")
    for host in hosts:
        _require_address("ROOST_INGEST_BLUESKY_HOSTS", host, ("ws", "wss"))
    _require_address("ROOST_INGEST_BLUESKY_API", settings.bluesky_api, ("http", "https"))
    return BlueskySource(hosts=hosts, api=settings.bluesky_api, max_catch_up_s=settings.bluesky_catch_up_s)


def _x(settings: IngestSettings) -> Source:
    token = _bearer_token(settings)
    _require_address("ROOST_INGEST_X_API", settings.x_api, ("http", "https"))
    if not settings.x_budget:
        raise SourceError("ROOST_INGEST_X_BUDGET: the budget is 0 posts a day, so there is nothing to read")
    if not settings.x_rules.strip():
        raise SourceError(f"ROOST_INGEST_X_RULES: the source x needs rules, such as 'nfl lang:en', or {DEMAND}")
    rules, wishes = None, None
    if settings.x_rules.strip().lower() == DEMAND:
        wishes = _wishes(settings)
    else:
        try:
            rules = fixed(settings.x_rules)
        except ValueError as error:
            raise SourceError(f"ROOST_INGEST_X_RULES: {error}") from None
    return XSource(bearer_token=token, rules=rules, wishes=wishes, budget=settings.x_budget, api=settings.x_api)


def _wishes(settings: IngestSettings) -> Wishes:
    allow = _listed(settings.x_allow)
    if not (allow or settings.x_min_bindings):
        raise SourceError(
            "ROOST_INGEST_X_ALLOW: name the rooms that X may be asked for, such as nfl, tag/ai, from/nasa; "
            "without it, and without ROOST_INGEST_X_MIN_BINDINGS, it is asked for nothing"
        )
    try:
        return Wishes(allow=allow, min_bindings=settings.x_min_bindings)
    except ValueError as error:
        raise SourceError(f"ROOST_INGEST_X_ALLOW: {error}") from None


def _bearer_token(settings: IngestSettings) -> str:
    given: SecretStr | None = settings.x_bearer_token
    token = given.get_secret_value().strip() if given else ""
    file = settings.x_bearer_token_file
    if file is not None and not token:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            # The name is not repeated: it may be the token itself, put into the wrong variable.
            reason = getattr(error, "strerror", None) or "it is not text"
            raise SourceError(f"ROOST_INGEST_X_BEARER_TOKEN_FILE: the file can't be read: {reason}") from None
    if not token:
        raise SourceError(
            "ROOST_INGEST_X_BEARER_TOKEN: the source x needs a bearer token, here or in a file that "
            "ROOST_INGEST_X_BEARER_TOKEN_FILE names"
        )
    return token


def _require_address(name: str, address: str, schemes: Sequence[str]) -> None:
    """Raise `SourceError` for what is no address with a host, or would send a secret over the net in clear."""
    # Without what stands before an "@", which may be a password.
    wanted = f"{name}: should be an address such as {schemes[-1]}://host, not {address.rpartition('@')[2][:100]!r}"
    try:
        url = yarl.URL(address)
        if url.scheme not in schemes or not url.host or url.explicit_port == 0:
            raise SourceError(wanted)
    except ValueError:
        raise SourceError(wanted) from None
    if name == "ROOST_INGEST_X_API" and url.scheme == "http" and not _is_private(url.host):
        raise SourceError(f"{name}: http to {url.host} would send the bearer token in clear; use https")


def _is_private(host: str) -> bool:
    """Whether a host is this machine or in a private network, as a proxy or a server for tests is."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
