"""The messages on the exchange `sources`: what each source says of itself, from ingest to whoever wants to know.

Sent when something changes and every `INTERVAL_S`, so that who comes later soon knows it all; a source that has
not been heard of for `FORGOTTEN_AFTER_S` is gone.
"""

from typing import Literal

import msgspec

from shared.events import UnreadableError

TYPE = "source"
"""AMQP `type` property of these messages."""

INTERVAL_S = 5.0
FORGOTTEN_AFTER_S = 20.0

MOST_NOT_ASKED = 1000
"""So many labels are named that a source can't be asked for; the others are only counted."""

State = Literal["connecting", "live", "away", "spent"]
"""`connecting` before the first contact, `live`, `away` while the origin can't be reached or refuses, `spent` while
a budget is used up."""


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One source at one moment."""

    source: str
    """As in `Tweet.source`."""
    state: State = "live"
    detail: str = ""
    """One line for people: what is wrong, or what comes next. Empty while all is well."""
    resumes_in_s: float | None = None
    """Seconds until a source that is `spent` goes on."""
    asking: dict[str, float] = {}
    """Labels (canonical keys) for which the source is being asked, with the seconds until it has to work."""
    not_asked: tuple[str, ...] = ()
    """Labels that somebody wants and that the source can't be, or may not be, asked for: at most
    `MOST_NOT_ASKED`. They are still found in whatever comes."""
    not_asked_count: int = 0
    """How many there are of them in all."""


def pack(status: SourceStatus) -> bytes:
    """The body of a message."""
    return msgspec.msgpack.encode(status)


def unpack(body: bytes) -> SourceStatus:
    """The status in a message's body; raises `UnreadableError`."""
    try:
        return msgspec.msgpack.decode(body, type=SourceStatus)
    except msgspec.DecodeError as error:
        raise UnreadableError(f"not a source's status: {error}") from None
