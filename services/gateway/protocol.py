"""The Socket.IO server, with what a server on the open Internet needs beside the library's defaults."""

import json
import logging
from functools import partial
from typing import Any

import socketio

from shared import metrics

MAX_PAYLOAD_BYTES = 100_000
"""Largest packet a client may send; Socket.IO's own default is ten times that."""

RESERVED_EVENTS = frozenset({"connect", "connect_error", "disconnect"})
"""Events that the protocol itself raises; a client has no business to send one (nor do the JavaScript clients)."""


class _StrictJson:
    """JSON as browsers read it: without NaN and Infinity, which are refused with `ValueError`."""

    dumps = staticmethod(partial(json.dumps, allow_nan=False))
    loads = staticmethod(json.loads)


class _NoClientMistakes(logging.Filter):
    """Counts what clients do wrong and keeps it out of the log, where anybody could fill the disk with it.

    What the library reports with a traceback are packets and requests that it could not read: errors in our own
    handlers don't get that far (`services.gateway.clients`).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        told_once = "further occurrences of this error" in record.getMessage()
        if record.exc_info or told_once or record.levelno < logging.ERROR:
            metrics.GATEWAY_CLIENT_MISTAKES.inc()
            return False
        return True


_logger = logging.getLogger(__name__)
for _name in (__name__, "aiohttp.server"):
    logging.getLogger(_name).addFilter(_NoClientMistakes())


class _Server(socketio.AsyncServer):  # type: ignore[misc]
    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]) -> None:
        """Let no client play the protocol's own events: `connect` and `disconnect` reach handlers by name."""
        if not data or data[0] in RESERVED_EVENTS:
            metrics.GATEWAY_CLIENT_MISTAKES.inc()
            return
        await super()._handle_event(eio_sid, namespace, id, data)


def make_server() -> socketio.AsyncServer:
    """The Socket.IO server. Events of one client are handled one after the other, in their order."""
    return _Server(
        async_mode="aiohttp",
        async_handlers=False,
        max_http_buffer_size=MAX_PAYLOAD_BYTES,
        namespaces=["/"],
        json=_StrictJson,
        logger=_logger,
        engineio_logger=_logger,
    )
