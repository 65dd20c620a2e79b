"""What is noted during a run, for the verdict: rows in files, one kind of row in each.

Moments are `time.monotonic()`, which all processes of a machine share.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Generic, NamedTuple, TypeVar

import msgpack


class Version(NamedTuple):
    """What the host sent: one version of a post, or its end."""

    at: float
    """When."""
    us: int
    """The same by the clock of the wall, in microseconds since the epoch."""
    id: str
    """As clients are shown it."""
    mtime: int
    gone: bool
    """Whether it is the end."""
    rooms: tuple[int, ...]
    """Those that it belongs to, as places in `ROOMS`."""
    check: int
    """`zlib.crc32` of its text."""


class Delivery(NamedTuple):
    """What a client was sent of a tweet."""

    client: int
    connection: int
    """A number that no other connection of any client has."""
    room: int
    at: float
    id: str
    mtime: int
    gone: bool
    check: int


class Gap(NamedTuple):
    """A client was told that tweets are missing."""

    client: int
    room: int
    at: float
    since: int | None
    """`from` and …"""
    until: int | None
    """… `to`: microseconds since the epoch, or nobody knows."""


class Join(NamedTuple):
    """A client's first subscription to a room was acknowledged."""

    client: int
    room: int
    at: float


class Fault(NamedTuple):
    """What was done to the system."""

    name: str
    at: float


RowT = TypeVar("RowT", Version, Delivery, Gap, Join)


class Writer(Generic[RowT]):
    """Writes rows to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pack = msgpack.Packer().pack

    def note(self, row: RowT) -> None:
        """Add one."""
        self._file.write(self._pack(row))


def read(kind: type[RowT], path: Path) -> Iterator[RowT]:
    """The rows of a file."""
    with path.open("rb") as file:
        for row in msgpack.Unpacker(file, use_list=False):
            yield kind(*row)
