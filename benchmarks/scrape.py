"""What services say of themselves at their private ports."""

import time
import urllib.request
from collections.abc import Iterable

from benchmarks.children import wait_until
from services.router.app import AT_REST_S, TOGETHER_S

_KNOWN_S = 120.0
"""Until a router knows all terms: a snapshot of very many bindings takes its time."""
_BUILD_S = 0.2
"""What bringing new terms to where they are found quickest takes in the end."""


def scrape(port: int) -> dict[str, float]:
    """The metrics that have no labels, by name."""
    found = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        for line in response.read().decode().splitlines():
            name, _, value = line.partition(" ")
            if line[:1] != "#" and "{" not in name:
                found[name] = float(value)
    return found


def await_terms(ports: Iterable[int], number: int) -> None:
    """Wait until the routers with these private ports search for `number` terms, each where it is found quickest."""
    for port in ports:
        wait_until(
            lambda port=port: scrape(port)["roost_router_terms"] == number,  # type: ignore[misc]
            within_s=_KNOWN_S,
            what=f"a router knows {number} terms",
        )
    time.sleep(TOGETHER_S + AT_REST_S + _BUILD_S)
