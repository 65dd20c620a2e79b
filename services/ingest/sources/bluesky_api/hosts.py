"""The addresses of Jetstream's hosts, read once, so that nothing that comes later can fail on one. Pure."""

from typing import NamedTuple

import yarl

from services.ingest.sources import SourceError


class Host(NamedTuple):
    """One host of Jetstream."""

    url: yarl.URL
    """Where it is subscribed to."""
    name: str
    """What people are shown of it: neither a path nor what may stand before an `@`."""


def read_host(address: str) -> Host:
    """The host with that base URL (`wss://…`); raises `SourceError` where no host can have it."""
    shown = address.rpartition("@")[2]
    try:
        url = yarl.URL(f"{address.rstrip('/')}/subscribe")
        name = url.host
    except ValueError as error:
        raise SourceError(f"ROOST_INGEST_BLUESKY_HOSTS: {shown} is no address: {error}") from None
    if not name:
        raise SourceError(f"ROOST_INGEST_BLUESKY_HOSTS: {shown} names no host")
    return Host(url, name)
