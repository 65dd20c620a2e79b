"""Whose address a request counts for, and which pages may connect: nobody can choose for themselves."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.addresses import MOST_PROXIES, UNKNOWN, client_address, networks
from services.gateway.origins import origins, policy

PROXIES = networks("10.0.0.0/8, 2001:db8:f::/48")
BALANCER = "10.0.0.2"
CLIENT = "203.0.113.7"


def test_without_a_trusted_proxy_the_peer_counts_whatever_it_says() -> None:
    assert client_address(CLIENT, None, ()) == CLIENT
    assert client_address(CLIENT, "192.0.2.1", ()) == CLIENT
    assert client_address(CLIENT, "192.0.2.1", PROXIES) == CLIENT
    assert client_address(BALANCER, "192.0.2.1", ()) == BALANCER


@pytest.mark.parametrize(
    ("forwarded_for", "counts"),
    [
        (CLIENT, CLIENT),
        (f"192.0.2.1, {CLIENT}", CLIENT),
        (f"192.0.2.1, {CLIENT}, 10.1.2.3, 10.0.0.9", CLIENT),
        (f"{CLIENT},2001:db8:f::1", CLIENT),
        (["192.0.2.1", CLIENT], CLIENT),
        ([f"192.0.2.1, {CLIENT}", "10.1.2.3"], CLIENT),
        (f" {CLIENT}:4711 ", CLIENT),
        ('"[2001:db8:1:2:3::4]:4711"', "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (f"::ffff:{CLIENT}", CLIENT),
        # All of them are proxies: the first is the farthest that is known.
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3, 10.4.5.6", "10.1.2.3"),
        # What is no address ends the walk at the last that is one.
        (f"{CLIENT}, unknown", BALANCER),
        (f"{CLIENT}, _hidden, 10.4.5.6", "10.4.5.6"),
        (f"{CLIENT}, 10.4.5.6.7", BALANCER),
        (f"{CLIENT},", BALANCER),
        ("", BALANCER),
        ([], BALANCER),
        (None, BALANCER),
    ],
)
def test_behind_a_trusted_proxy_the_last_address_that_is_no_proxy_counts(forwarded_for: Any, counts: str) -> None:
    assert client_address(BALANCER, forwarded_for, PROXIES) == counts


def test_an_ipv6_subscriber_counts_once_and_ipv4_as_such_however_it_is_written() -> None:
    assert client_address("2001:db8:1:2::1", None, ()) == client_address("2001:db8:1:2:a:b:c:d", None, ())
    assert client_address("2001:db8:1:3::1", None, ()) != client_address("2001:db8:1:2::1", None, ())
    assert client_address(f"::ffff:{CLIENT}", None, ()) == CLIENT
    assert client_address("::ffff:10.0.0.2", CLIENT, PROXIES) == CLIENT


def test_a_peer_without_an_address_is_one_for_all() -> None:
    for peer in ("", None, "/run/roost.sock"):
        assert client_address(peer, CLIENT, PROXIES) == UNKNOWN


def test_an_endless_list_of_proxies_is_not_walked_to_its_end() -> None:
    assert client_address(BALANCER, ",".join([CLIENT, *["10.0.0.1"] * 5000]), PROXIES) == "10.0.0.1"
    assert client_address(BALANCER, ",".join([CLIENT, *["10.0.0.1"] * (MOST_PROXIES - 1)]), PROXIES) == CLIENT


@given(st.text() | st.lists(st.text()), st.ip_addresses().map(str))
def test_what_a_client_puts_before_its_address_changes_nothing(said: str | list[str], client: str) -> None:
    seen = ipaddress.ip_address(client)
    seen = getattr(seen, "ipv4_mapped", None) or seen
    if any(seen in network for network in PROXIES):
        return
    headers = [*([said] if isinstance(said, str) else said), client]
    assert client_address(BALANCER, headers, PROXIES) == client_address(client, None, ())


@given(st.text(), st.text() | st.lists(st.text()))
def test_no_garbage_is_too_strange(peer: str, forwarded_for: str | list[str]) -> None:
    assert client_address(peer, forwarded_for, PROXIES)
    assert client_address(BALANCER, forwarded_for, PROXIES)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy.example", "10.0.0.0/8 10.1.0.0/16", "::1/x"])
def test_a_network_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="network") as refused:
        networks(f"192.0.2.0/24, {text}")
    assert repr(text) in str(refused.value)


OWN = {"HTTP_HOST": "roost.example", "wsgi.url_scheme": "http"}


class TestOrigins:
    def test_they_are_spelled_as_browsers_do(self) -> None:
        assert origins(" https://Example.org:443/, http://localhost:3000,https://bücher.example ,") == {
            "https://example.org",
            "http://localhost:3000",
            "https://xn--bcher-kva.example",
        }

    @pytest.mark.parametrize(
        "text",
        [
            "example.org",
            "https://",
            "https://a.example/path",
            "https://a.example?b",
            "ftp://a.example",
            "null",
            "*, *",
            "*, https://a.example",
            "https://*.example.org",
            "https://a.example:0",
            "https://a.example:x",
            "https://me:secret@a.example",
        ],
    )
    def test_what_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="origin") as refused:
            origins(text)
        assert "secret" not in str(refused.value)

    def test_without_any_the_library_compares_hosts_and_with_a_star_nothing_is_compared(self) -> None:
        assert policy("") is None
        assert policy(" , ") is None
        assert policy("*") == "*"

    def test_those_listed_may_connect_beside_the_gateways_own_pages(self) -> None:
        may = policy("https://example.org")
        assert callable(may)
        assert may("https://example.org", OWN)
        assert may("http://roost.example", OWN)
        assert not may("https://roost.example", OWN)
        assert may("https://roost.example", OWN | {"HTTP_X_FORWARDED_PROTO": "https, http"})
        assert may("https://a.example", OWN | {"HTTP_X_FORWARDED_HOST": "a.example", "wsgi.url_scheme": "https"})
        for stranger in (
            "https://evil.example",
            "http://example.org",
            "https://example.org.evil.example",
            "null",
            "",
        ):
            assert not may(stranger, OWN)
        assert not may(None, OWN)
        assert not may("://", {})
