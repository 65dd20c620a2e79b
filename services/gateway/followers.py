"""Who holds tweets that their room does not show, and is told what becomes of them. Pure.

A page has tweets from before it came to this gateway. Those that match its room the room shows to everybody. But one
may have lost the term that it was found by, or nobody here knows it: then only those who say that they hold it are
told of it.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic

from services.gateway.rooms import MemberT, Room
from shared.history import MAX_IDS

MAX_OF_ONE = 2 * MAX_IDS
"""Tweets that one member is told of so; of more the last ones that it has named."""


class Followers(Generic[MemberT]):
    """From the ids of tweets to those who hold them."""

    def __init__(self) -> None:
        self._followers: dict[str, dict[tuple[MemberT, Room[MemberT]], int]] = {}
        self._followed: dict[MemberT, OrderedDict[tuple[str, Room[MemberT]], None]] = {}

    def follow(self, member: MemberT, room: Room[MemberT], id: str, mtime: int) -> None:
        """`member` holds a tweet in a room, in the version of `mtime`."""
        followed = self._followed.setdefault(member, OrderedDict())
        followed[id, room] = None
        followed.move_to_end((id, room))
        self._followers.setdefault(id, {})[member, room] = mtime
        if len(followed) > MAX_OF_ONE:
            oldest_id, oldest_room = next(iter(followed))
            self._let_go(member, oldest_room, oldest_id)

    def holding(self, id: str, room: Room[MemberT], mtime: int) -> list[MemberT]:
        """Who holds a tweet in a room, in the version of `mtime` or a newer one."""
        followers = self._followers.get(id, {})
        return [member for (member, of), held in followers.items() if of is room and held >= mtime]

    def updated(self, id: str, mtime: int) -> list[tuple[MemberT, Room[MemberT]]]:
        """A tweet has a newer version; returns who holds an older one, and in which room."""
        followers = self._followers.get(id, {})
        behind = [each for each, held in followers.items() if held < mtime]
        followers.update(dict.fromkeys(behind, mtime))
        return behind

    def gone(self, id: str) -> list[tuple[MemberT, Room[MemberT]]]:
        """A tweet is gone; returns who has held it, and in which room."""
        followers = list(self._followers.get(id, ()))
        for member, room in followers:
            self._let_go(member, room, id)
        return followers

    def leave(self, member: MemberT, room: Room[MemberT] | None = None) -> None:
        """`member` has left a room, or all of them."""
        followed: Iterable[tuple[str, Room[MemberT]]] = list(self._followed.get(member, ()))
        for id, of in followed:
            if room is None or of is room:
                self._let_go(member, of, id)

    def __len__(self) -> int:
        """How many tweets are followed."""
        return len(self._followers)

    def _let_go(self, member: MemberT, room: Room[MemberT], id: str) -> None:
        followed = self._followed[member]
        del followed[id, room]
        if not followed:
            del self._followed[member]
        followers = self._followers[id]
        followers.pop((member, room), None)
        if not followers:
            del self._followers[id]
