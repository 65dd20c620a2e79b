"""What people post during the run, change and delete. Pure: moments are given, and chance has a seed."""

import heapq
import itertools
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.chaos.rooms import ROOMS, Content, content
from tests.support.jetstream_server import did, tid

UPDATED = 0.05
DESTROYED = 0.05
"""Shares of posts that are changed, and deleted, at some time."""

SOONEST_S, MEAN_S = 1.0, 5.0
"""After its creation or its change, mostly."""
OLD = 0.3
OLD_S = (20.0, 60.0)
"""The others, when the post is older than what is read once more after a break. A client still has it on its page."""

NOWHERE = 0.6
"""Share of posts that are in none of the rooms: most of what is said nobody asks for."""
TWICE = 0.1
"""Share of those that are in one which are in two."""

AUTHORS = [did(f"author{letter}") for letter in "abcdefghijklmnopqrstuvwx"]

_FILLER = ("why", "should", "they", "know", "how", "which", "way", "we", "threw", "what", "you", "hush", "hardly")
_CALL = re.compile(r"roll call (\d+) ")


class Post(NamedTuple):
    """One post in one version."""

    author: str
    rkey: str
    version: int
    rooms: tuple[int, ...]

    @property
    def id(self) -> str:
        """As clients are shown it."""
        return f"bsky:{self.author}/{self.rkey}"


class Change(NamedTuple):
    """What happens."""

    operation: str
    """`create`, `update` or `delete`."""
    post: Post
    content: Content


class World:
    """Those who post."""

    def __init__(self, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, str, Post]] = []
        self._calls = 0

    def create(self, now: float, us: int) -> Change:
        """Somebody posts, at a moment that nobody else posts at (microseconds since the epoch)."""
        number = next(self._numbers)
        post = Post(self._chance.choice(AUTHORS), tid(us), 0, self._some_rooms())
        self._plan(now, number, post)
        return Change("create", post, self._content(post))

    def changes(self, now: float) -> Iterator[Change]:
        """What happens by now to posts that there are."""
        while self._due and self._due[0][0] <= now:
            _, number, operation, post = heapq.heappop(self._due)
            if operation == "update":
                post = post._replace(version=post.version + 1, rooms=self._other_rooms(post.rooms))
                self._plan(now, number, post)
            yield Change(operation, post, self._content(post))

    def roll_call(self, us: int) -> Change:
        """A post for all rooms, by which a client that counts them knows whether it has been left out."""
        self._calls += 1
        post = Post(AUTHORS[0], tid(us), 0, tuple(range(len(ROOMS))))
        return Change("create", post, content([f"roll call {self._calls} for"], ROOMS))

    @property
    def calls(self) -> int:
        """How many roll calls there were."""
        return self._calls

    def _plan(self, now: float, number: int, post: Post) -> None:
        fate = self._chance.random()
        if fate < UPDATED + DESTROYED:
            after = SOONEST_S + self._chance.expovariate(1 / MEAN_S)
            if self._chance.random() < OLD:
                after = self._chance.uniform(*OLD_S)
            operation = "update" if fate < UPDATED else "delete"
            heapq.heappush(self._due, (now + after, number, operation, post))

    def _some_rooms(self) -> tuple[int, ...]:
        if self._chance.random() < NOWHERE:
            return ()
        return tuple(self._chance.sample(range(len(ROOMS)), 2 if self._chance.random() < TWICE else 1))

    def _other_rooms(self, rooms: tuple[int, ...]) -> tuple[int, ...]:
        """Half of the changes leave a post where it is; others take it out, or bring it into other rooms."""
        fate = self._chance.random()
        return rooms if fate < 0.5 else () if fate < 0.75 else self._some_rooms()

    def _content(self, post: Post) -> Content:
        words = self._chance.choices(_FILLER, k=14)
        return content([f"{post.rkey}v{post.version}", *words], [ROOMS[room] for room in post.rooms])


def call_number(text: str) -> int | None:
    """The number of a roll call, if that is one."""
    found = _CALL.match(text)
    return int(found[1]) if found else None
