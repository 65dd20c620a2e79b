"""Whose address a request comes from. Pure.

Limits count by address, so an address must not be somebody's own claim: what a request says of where it comes from
(`X-Forwarded-For`) is worth as much as whoever wrote it down.
"""

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNKNOWN = "unknown"
"""The address of a peer that has none, as one on a Unix socket."""

MOST_PROXIES = 20
"""So many entries of `X-Forwarded-For` are looked at, from the last one on."""

IPV6_PREFIX = 64
"""One subscriber has at least so much of IPv6, and can come from any address in it."""


def networks(text: str) -> tuple[Network, ...]:
    """The networks that `text` lists, with commas between: `10.0.0.0/8, ::1`. A lone address is a network of one.

    Raises `ValueError` with a message that names the first that is none.
    """
    return tuple(_network(item.strip()) for item in text.split(",") if item.strip())


def client_address(peer: str | None, forwarded_for: str | Sequence[str] | None, trusted: Iterable[Network]) -> str:
    """The address that a request of `peer` counts for: an IPv4 address, or the /64 of an IPv6 one.

    `forwarded_for` is the header `X-Forwarded-For`, or each of them in their order. It counts only where the peer is
    in one of the `trusted` networks: then the client is the last address of it that is not trusted itself. Addresses
    before that one are what the client says, and ignored. Where all are trusted it is the first of them; an entry
    that is no address ends the walk at the last one that was good.
    """
    client = _address(peer or "")
    if client is None:
        return UNKNOWN
    trusted = tuple(trusted)
    headers = [forwarded_for] if isinstance(forwarded_for, str) else forwarded_for or ()
    for entry in reversed(",".join(headers).rsplit(",", MOST_PROXIES)[-MOST_PROXIES:]):
        if not _is_in(client, trusted):
            break
        before = _address(_without_port(entry.strip()))
        if before is None:
            break
        client = before
    return _counted(client)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text[:60]!a} is no network such as 10.0.0.0/8") from None
    raise ValueError(f"{text[:60]!a} is an address in a network; the network is {meant}")


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(entry: str) -> str:
    """`entry` without quotes, brackets and a port: `192.0.2.1:80`, `[2001:db8::1]:80`, `"[2001:db8::1]"`."""
    entry = entry.strip('"')
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    # A lone colon stands before a port; an IPv6 address has more of them.
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _counted(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
