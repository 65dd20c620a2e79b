"""What somebody asks for who enters a room, and what of it anybody may ask for. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from shared.history import MAX_ID_CHARACTERS, MAX_IDS, MAX_SEQ

_DIGITS = re.compile(r"[0-9]{1,19}")


class BadRequestError(ValueError):
    """What was asked for can't be understood. The message says how to ask."""


class Wish(NamedTuple):
    """A room and what is to be told of its past."""

    room: object
    """As it was sent; what stands in the URL, if it is right."""
    backfill: int = 0
    """So many of the newest tweets."""
    since: int | None = None
    """All tweets after this `seq`."""
    documents: Mapping[str, int] = {}
    """The tweets that are held already, by id, and the `mtime` of their version: what has become of them."""
    brief: bool = True
    """Whether `true` is answer enough."""

    @property
    def looks_back(self) -> bool:
        """Whether anything of the past is asked for."""
        return bool(self.backfill or self.since is not None or self.documents)


def read(request: object, *, max_backfill: int) -> Wish:
    """The wish in a request; raises `BadRequestError`."""
    if not isinstance(request, dict):
        return Wish(request)
    backfill = request.get("backfill", 0)
    if type(backfill) is not int or not 0 <= backfill <= max_backfill:
        raise BadRequestError(f"backfill is a number of tweets, {max_backfill} at most")
    since, held = read_since(request.get("since")), read_documents(request.get("documents"))
    return Wish(request.get("room"), backfill, since, held, brief=False)


def read_since(value: object) -> int | None:
    """The `seq` that somebody asks for all after, if anybody does; raises `BadRequestError`."""
    if value is None:
        return None
    since = _number(value)
    if since is None:
        raise BadRequestError("since is the seq of a tweet: the greatest of those that came")
    return since


def read_documents(value: object) -> dict[str, int]:
    """What somebody holds, by id the `mtime` of the version; raises `BadRequestError`."""
    documents = value or {}
    if not isinstance(documents, dict) or len(documents) > MAX_IDS:
        raise BadRequestError(f"documents is a map from the ids of tweets to their mtime, of {MAX_IDS} at most")
    held: dict[str, int] = {}
    for id, mtime in documents.items():
        version = _number(mtime)
        if not isinstance(id, str) or len(id) > MAX_ID_CHARACTERS or not _is_unicode(id) or version is None:
            raise BadRequestError("documents is a map from the ids of tweets to their mtime")
        held[id] = version
    return held


def _is_unicode(text: str) -> bool:
    """Whether it can be written down: JSON may bring half of a pair of surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: object) -> int | None:
    """A number from 0 on, or the digits of one: JavaScript loses the last digits of great numbers."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_SEQ else None
