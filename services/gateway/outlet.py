"""What clients are told something under: a room, or equal subscriptions of one name."""

from collections.abc import Collection
from typing import Protocol, TypeVar

MemberT_co = TypeVar("MemberT_co", covariant=True)


class Outlet(Protocol[MemberT_co]):
    """All of its members are told the same, in the same order."""

    @property
    def members(self) -> Collection[MemberT_co]:
        """Those who are told."""

    def event(self, name: str, json: bytes) -> bytes:
        """The Socket.IO packet of something that has happened here; `json` says what."""
