"""How requests to X fail, and what X asks of clients then: which pauses, and for how long at least. Pure."""

from collections.abc import Mapping

from services.ingest.sources.backoff import Growth, Limit
from services.ingest.sources.network import LONGEST_ASKED_S, in_words, retry_after_s

NETWORK = Growth(0.25, 16.0, doubling=False)
"""Errors of the network: 250 ms more each time."""
HTTP = Growth(5.0, 320.0)
"""X answers with an error, or ends a connection soon after it began."""
TOO_MANY = Growth(60.0, 900.0)
"""X says 429. A window of its limits is a quarter of an hour long."""
REFUSED = Growth(320.0, 320.0)
"""X will not have us; only an operator can change that."""

LIMITS = (Limit(10, 60.0), Limit(45, 15 * 60.0))
"""Attempts to connect, whatever the failures are: X allows 50 in a quarter of an hour."""

_PLAIN = {
    401: "X does not know the bearer token (401): is it complete and not revoked?",
    402: "X wants to be paid first (402): the account has no credits left",
    403: "X denies access (403): may the project use the filtered stream, and does the token belong to it?",
    409: "X has no rules to send posts for (409)",
    429: "X says that these were too many requests or connections (429)",
}


class Failure(Exception):
    """A request to X, or the stream, failed; it can be tried again after a pause."""

    def __init__(
        self,
        reason: str,
        growth: Growth,
        *,
        at_least_s: float = 0.0,
        status: int | None = None,
        errors: tuple[Mapping[str, object], ...] = (),
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        """One line for people: what happened, the same each time that it happens."""
        self.growth = growth
        """How pauses grow while this goes on."""
        self.at_least_s = at_least_s
        """So many seconds X asked to wait."""
        self.status = status
        """The HTTP status, where X answered."""
        self.errors = errors
        """What X said is wrong with which part of the request."""


def of_status(
    status: int,
    headers: Mapping[str, str],
    *,
    now_ms: int,
    complaint: str = "",
    errors: tuple[Mapping[str, object], ...] = (),
) -> Failure:
    """The failure that an answer of this HTTP status is. `complaint` is what its body says, in one line."""
    reason = _PLAIN.get(status, f"X answers {status}")
    if complaint and status not in (401, 409):
        reason += f": {complaint}"
    growth = {401: REFUSED, 403: REFUSED, 429: TOO_MANY}.get(status, HTTP)
    return Failure(reason, growth, at_least_s=asked_s(status, headers, now_ms), status=status, errors=errors)


def of_network(error: BaseException) -> Failure:
    """The failure that an error of the network is."""
    return Failure(f"X can't be reached: {in_words(error)}", NETWORK)


def asked_s(status: int, headers: Mapping[str, str], now_ms: int) -> float:
    """How many seconds to wait at least, as the headers of an answer say; 0 where they say nothing."""
    waits = [retry_after_s(headers.get("Retry-After", ""), now_ms)]
    if status == 429:
        waits.append(_until_s(headers.get("x-rate-limit-reset", ""), now_ms))
    return min(max(0.0, *waits), LONGEST_ASKED_S)


def _until_s(text: str, now_ms: int) -> float:
    """Seconds until a moment that is written in seconds since the epoch."""
    moment = text.strip()
    return float(moment[:12]) - now_ms / 1000 if moment.isascii() and moment.isdigit() else 0.0
