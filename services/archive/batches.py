"""From a message on `tweets.raw` to what the archive keeps of it. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.archive.versions import Version, of_entry
from shared import raw
from shared.events import UnreadableError

DAY_US = 24 * 3_600_000_000
"""A clock that is wrong by more is broken."""


class Batch(NamedTuple):
    """What one message brings."""

    versions: list[Version]
    link: raw.Link | None
    last: int
    """The greatest `seq` in it."""


def read(body: bytes, headers: Mapping[str, Any], *, now_us: int) -> tuple[Batch, int]:
    """The batch in a message, and how much of it could not be read: entries, or 1 for a whole batch.

    What can't be read nobody gets: routers send it to the dead letters. So of a batch in which some can be read none
    counts as missing.

    Nor can be what is said to come more than a day after `now_us`: the archive would take itself to be complete until
    then, and forget nothing before.
    """
    nothing = Batch([], None, 0)
    try:
        raw.check(headers)
        entries, unreadable = raw.read(body)
    except UnreadableError:
        return nothing, 1
    versions: list[Version] = []
    for entry in entries:
        try:
            version = of_entry(entry)
        except UnreadableError:
            continue
        if version.seq <= now_us + DAY_US:
            versions.append(version)
    last = max((version.seq for version in versions), default=0)
    link = raw.link(headers)
    if link is not None and link.after < 0:
        link = None
    return Batch(versions, link, last), len(unreadable) + len(entries) - len(versions)
