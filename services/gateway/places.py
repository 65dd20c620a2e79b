"""How many rooms a client, its address and the gateway may have."""

from collections.abc import Collection

from services.gateway.answers import Refusal, refusal
from services.gateway.bindings import Bindings
from services.gateway.connection import Connection
from services.gateway.limits import PerAddress
from services.gateway.rooms import Rooms
from services.gateway.settings import GatewaySettings
from shared.labels import Label

MAX_BEHIND = 100
"""Bindings that may be left over from rooms that were closed, beside a tenth of all rooms."""


class Places:
    """Takes a place for each room of a client, and for each that a subscription of it has its tweets from."""

    def __init__(self, rooms: Rooms[Connection], bindings: Bindings, settings: GatewaySettings) -> None:
        self._rooms = rooms
        self._bindings = bindings
        self._most = settings.max_rooms
        self._most_of_one = settings.max_rooms_per_client
        self._of_address = PerAddress(settings.max_rooms_per_address)

    def take(self, connection: Connection, labels: Collection[Label], *, instead_of: int = 0) -> Refusal | None:
        """Take places for rooms, and at least one, unless a client, its address or the gateway has too many.

        `instead_of` so many others, which the client gives back when it has these.
        """
        number = max(1, len(labels))
        address = connection.visitor.address
        if connection.places + number - instead_of > self._most_of_one:
            return _refused(f"you are in all the rooms that you may be in: {self._most_of_one}")
        if not self._of_address.take(address, number, instead_of=instead_of):
            return _refused(f"your address is in all the rooms that it may be in: {self._of_address.maximum}")
        new = sum(label not in self._rooms for label in labels)
        # What was let go has to be unbound some day: rooms that change faster than that would be without bound.
        behind = len(self._bindings) + new > self._most + self._most // 10 + MAX_BEHIND
        # One that is empty and only still bound makes place for one with somebody in it.
        while new and not behind and len(self._rooms) + new > self._most:
            behind = not self._bindings.let_go_longest_left()
        if new and behind:
            self._of_address.give_back(address, number)
            return _refused(f"all rooms that there may be here are open: {self._most}; try again later")
        connection.places += number
        return None

    def give_back(self, connection: Connection, number: int = 1) -> None:
        """Give places back."""
        connection.places -= number
        self._of_address.give_back(connection.visitor.address, number)


def _refused(message: str) -> Refusal:
    return refusal("too_many_rooms", message)
