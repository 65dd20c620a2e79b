"""What goes wrong on the way to an origin, in words for people, and for how long an origin asks to wait. Pure."""

import ssl
from email.utils import parsedate_to_datetime

import aiohttp

LONGEST_ASKED_S = 3600.0
"""An origin, or a wrong clock, may ask for more; one request an hour does no harm."""


def in_words(error: BaseException) -> str:
    """What an error of the network or of aiohttp is: the same words each time, which say nothing of the request."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not to be trusted ({_certificate(error.certificate_error)})"
    words: list[tuple[tuple[type[BaseException], ...], str]] = [
        ((aiohttp.ClientSSLError, ssl.SSLError), "no TLS connection can be made"),
        ((aiohttp.ClientConnectorDNSError,), "its name is not found"),
        ((TimeoutError,), "no answer in time"),
        ((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError), "the connection was cut"),
    ]
    for kinds, what in words:
        if isinstance(error, kinds):
            return what
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "it refuses the connection"
    if isinstance(cause, ConnectionError):
        return "the connection was cut"
    return (cause.strerror if isinstance(cause, OSError) else None) or type(error).__name__


def retry_after_s(text: str, now_ms: int) -> float:
    """The seconds that a `Retry-After` asks for, given as a number or as a date; 0 where it says nothing."""
    if (number := text.strip()).isascii() and number.isdigit():
        return min(float(number[:12]), LONGEST_ASKED_S)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now_ms / 1000
    except (ValueError, OverflowError, TypeError):
        return 0.0
    return min(max(0.0, seconds), LONGEST_ASKED_S)


def _certificate(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
