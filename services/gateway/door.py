"""Who may connect: so many connections for each address."""

from aiohttp import web

from services.gateway.addresses import client_address
from services.gateway.engine import Visitor
from services.gateway.limits import PerAddress
from services.gateway.settings import GatewaySettings
from shared import metrics

MAX_REFUSED_PER_ADDRESS = 10
"""Connections of one address at most that are kept open for as long as it takes to tell why they are refused."""


class Door:
    """Counts the connections of each address."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._proxies = settings.proxies
        self._open = PerAddress(settings.max_connections_per_address)
        self._refused = PerAddress(MAX_REFUSED_PER_ADDRESS)

    def admit(self, request: web.Request) -> Visitor:
        """Who comes, and why it can't stay, if so. One with too many comes in to hear it; past that it gets a 429."""
        forwarded_for = request.headers.getall("X-Forwarded-For", ())
        address = client_address(request.remote, forwarded_for, self._proxies)
        if self._open.take(address):
            return Visitor(address, None)
        metrics.GATEWAY_REFUSED.labels(code="too_many_connections").inc()
        reason = f"your address has all the connections that it may have: {self._open.maximum}"
        if not self._refused.take(address):
            raise web.HTTPTooManyRequests(text=f"{reason}\n", headers={"Retry-After": "10"})
        return Visitor(address, reason)

    def dismiss(self, visitor: Visitor) -> None:
        """Undo `admit`."""
        (self._open if visitor.refusal is None else self._refused).give_back(visitor.address)
