"""A Roost that is brought up whole, beside whatever else runs on the machine."""

import contextlib
import os
import random
import socket
from collections.abc import Sequence


def environment(ports: Sequence[str]) -> dict[str, str]:
    """What it is brought up in: none of the user's own settings, and free ports for these variables.

    They are none of those that other tests take (`free_port`), which may run at the same time: it is a while between
    `make down` and the next `make up`.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
    numbers = random.SystemRandom().sample(range(6_000, 10_000), 400)
    free = (number for number in numbers if _is_free(number))
    return kept | {name: str(next(free)) for name in ports}


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("", port))
        return True
    return False
