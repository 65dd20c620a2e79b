"""The parts of a gateway between the broker's messages and its clients, put together as the gateway does."""

from collections.abc import Iterable

from services.gateway.connection import Connection
from services.gateway.fanout import Fanout
from services.gateway.followers import Followers
from services.gateway.outbox import Outbox
from services.gateway.rooms import Rooms
from services.gateway.subscriptions.delivery import Subscribers
from services.gateway.subscriptions.followed import Followed
from services.gateway.versions import Versions
from services.gateway.views import View


class Parts:
    """Rooms and what tells them."""

    def __init__(
        self,
        *,
        remembered: int = 1000,
        everybody: Iterable[Connection] = (),
        outbox: Outbox | None = None,
        max_followed: int = 100_000,
        max_followed_each: int = 1000,
    ) -> None:
        self.rooms: Rooms[Connection] = Rooms()
        self.versions: Versions[View] = Versions(remembered)
        self.followers: Followers[Connection] = Followers()
        self.outbox = outbox or Outbox(lambda: everybody)
        self.followed: Followed[Connection] = Followed(limit=max_followed, limit_of_one=max_followed_each)
        self.subscribers = Subscribers(self.versions, self.outbox, self.followed)
        self.fanout = Fanout(self.rooms, self.versions, self.followers, self.subscribers, self.outbox)
