"""The process that has all clients.

    python -m tests.chaos.clients FOLDER NUMBER PORT…

They note what they get in files of FOLDER. Four times a second it says `{"in", "heard", "newest", …}`: how many
memberships stand, the roll call up to which everybody has heard all, and the one that everybody has reached. It ends
with its input.
"""

import asyncio
import contextlib
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.chaos.client import Client, run_all
from tests.chaos.lines import lines_of_input, say
from tests.chaos.records import Delivery, Gap, Join, Writer
from tests.chaos.rooms import NUMBER

TELL_EVERY_S = 0.25
COME_WITHIN_S = 2.0


def rooms_of(number: int) -> list[int]:
    """The rooms of a client: its own, and for every second one that of a neighbour, who begins on another gateway.

    So when a gateway dies the other one has half of its rooms open already, and opens the rest.
    """
    own = number % NUMBER
    beside = {0: [own + 1], 3: [own - 1]}
    return [own, *beside.get(number % 4, [])]


def memberships(number: int) -> int:
    """How many the clients have together."""
    return sum(len(rooms_of(one)) for one in range(number))


class Files:
    """Notes in files, and how many they are."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._deliveries: Writer[Delivery] = Writer(stack.enter_context((folder / "deliveries").open("wb")))
        self._gaps: Writer[Gap] = Writer(stack.enter_context((folder / "gaps").open("wb")))
        self._joins: Writer[Join] = Writer(stack.enter_context((folder / "joins").open("wb")))
        self.deliveries = 0
        self.gaps = 0

    def delivery(self, row: Delivery) -> None:
        """Note it."""
        self.deliveries += 1
        self._deliveries.note(row)

    def gap(self, row: Gap) -> None:
        """Note it."""
        self.gaps += 1
        self._gaps.note(row)

    def join(self, row: Join) -> None:
        """Note it."""
        self._joins.note(row)


async def main(folder: Path, number: int, ports: list[int]) -> None:
    """Be all clients."""
    with ExitStack() as stack:
        files = Files(folder, stack)
        clients = [Client(one, rooms_of(one), ports, files) for one in range(number)]
        tasks = [
            asyncio.create_task(run_all(clients, within_s=COME_WITHIN_S)),
            asyncio.create_task(_tell(clients, files)),
        ]
        async for _ in lines_of_input():
            pass
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def _tell(clients: list[Client], files: Files) -> None:
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        rooms = [each for client in clients for each in client.memberships.values()]
        say(
            **{"in": sum(each.is_in for each in rooms)},
            heard=min(each.heard for each in rooms),
            newest=min(each.newest for each in rooms),
            deliveries=files.deliveries,
            gaps=files.gaps,
            connections=sum(client.connections for client in clients),
            refused=dict(sum((client.refused for client in clients), Counter())),
        )


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
