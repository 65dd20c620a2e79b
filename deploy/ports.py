"""Is a port free? Asked before anything is started, so that the answer can name the variable to set."""

import errno
import socket
from collections.abc import Iterable

from deploy.failure import Failure
from deploy.settings import Port


def require_free(ports: Iterable[Port]) -> None:
    """Raise `Failure`, naming the first port that is taken and how to choose another."""
    for port in ports:
        try:
            _listen_once(port)
        except PermissionError:
            raise Failure(
                f"Port {port.number} ({port.purpose}) may not be used by this user; "
                f"choose another with {port.variable}."
            ) from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise Failure(
                f"Port {port.number} ({port.purpose}) is taken by another program; "
                f"choose another, for example {port.variable}={_suggestion(port)} make up."
            ) from None


def _listen_once(port: Port) -> None:
    with socket.socket() as probe:
        # Connections of a run just ended don't count, listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((port.host, port.number))
        probe.listen(1)


def _suggestion(port: Port) -> int:
    for number in range(port.number + 10, 65536, 10):
        try:
            _listen_once(Port(port.variable, number, port.purpose, port.host))
        except OSError:
            continue
        return number
    return port.number - 10
