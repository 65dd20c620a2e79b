"""The truth about a run: every event that ingest published, and by it what each room has to show in the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import msgpack

from shared import raw
from shared.events import Action
from shared.labels import Facets, Label, parse_path
from tests.support.broker import Broker


class Ledger:
    """Everything that went over `tweets.raw`, in the form in which the router gets it."""

    def __init__(self) -> None:
        self.events: list[tuple[dict[str, object], Facets]] = []
        self._pages: dict[str, tuple[int, dict[str, str]]] = {}

    async def note(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        """One raw batch."""
        for document, facets in raw.Batch(message.body).entries():
            self.events.append((msgpack.unpackb(document), facets))

    def page(self, path: str) -> dict[str, str]:
        """What a room that was open all the time shows in the end: id → text of the newest version.

        A tweet is in the room if any of its versions has the room's label, and gone if it was destroyed.
        """
        events, page = self._pages.get(path, (0, {}))
        if events != len(self.events):
            page = self._make_page(parse_path(path))
            self._pages[path] = (len(self.events), page)
        return page

    def _make_page(self, label: Label) -> dict[str, str]:
        newest: dict[str, tuple[tuple[int, int], str]] = {}
        matched: set[str] = set()
        destroyed: set[str] = set()
        for document, facets in self.events:
            name = str(document["id"])
            action = Action(str(document["action"]))
            if action is Action.DESTROY:
                destroyed.add(name)
                continue
            if label.matches(facets):
                matched.add(name)
            version = (int(str(document["mtime"])), action.rank)
            newest[name] = max(newest.get(name, (version, "")), (version, str(document["text"])))
        return {name: newest[name][1] for name in matched - destroyed}


@asynccontextmanager
async def ledger(broker: Broker) -> AsyncIterator[Ledger]:
    """A second reader of `tweets.raw`, as an archive would be."""
    taken = Ledger()
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("tweets.raw")
        await queue.consume(taken.note, no_ack=True)
        yield taken
