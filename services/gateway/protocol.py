"""The Socket.IO server, with what a server on the open Internet needs beside the library's defaults."""

import json
import logging
from functools import partial

from services.gateway import origins
from services.gateway.connection import Connection
from services.gateway.door import Door
from services.gateway.engine import Server
from services.gateway.settings import GatewaySettings
from shared import metrics


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


def make_server(settings: GatewaySettings) -> Server[Connection]:
    """The Socket.IO server. Events of one client are handled one after the other, in their order."""
    door = Door(settings)
    return Server(
        send_buffer_bytes=settings.send_buffer_bytes,
        admit=door.admit,
        dismiss=door.dismiss,
        make_socket=partial(Connection, stalled_after_s=settings.stalled_after_s),
        async_handlers=False,
        max_http_buffer_size=settings.max_payload_bytes,
        cors_allowed_origins=origins.policy(settings.origins),
        namespaces=["/"],
        # Each poll would be compressed by itself, while everybody waits.
        http_compression=False,
        json=_StrictJson,
        logger=_logger,
        engineio_logger=_logger,
    )
