"""Roost: a whole gateway as `python -m services.gateway` runs it, given messages as the broker would give them.

The broker's place is empty: the gateway looks for one at a port where nobody listens, at its usual growing pauses,
and tweets are put where its session puts those that it consumes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import IO, Any

from benchmarks import tweets
from benchmarks.control import Answer, Commands, obey, own_output, paced
from benchmarks.servers import ROOM
from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.gateway.subscriptions.fields import Projection
from services.gateway.subscriptions.query import Query
from shared.broker import Message
from shared.lifecycle import run
from shared.tasks import first_of

_NOBODY = "amqp://nobody:nobody@127.0.0.1:1/"


class Roost:
    """The commands."""

    def __init__(self, app: GatewayApp) -> None:
        # A session of the gateway has these, and nobody else.
        self._fanout = app._fanout
        self._overflow = app._overflow
        self._messages: list[Message] = []
        self._counted: Counter[str] | None = None

    async def prepare(self, *, first: int, count: int, tagged: bool = False) -> Answer:
        """Make the messages of the exchange `tweets`, one a tweet: what a router makes when tweets come singly.

        They are for the room of all of them or, `tagged`, each for that of a hashtag of its own.
        """
        self._messages = []
        for number in range(first, first + count):
            document = tweets.document(number)
            if tagged:
                document["hashtags"] = [tweets.tag(number)]
            made = tweets.message([document], [f"tag.{tweets.tag(number)}" if tagged else f"term.{ROOM}"])
            self._messages.append(Message(made.body, made.routing_key, made.headers, _acknowledged))
        return {}

    async def count(self) -> Answer:
        """How often since the last time a query was matched and a document encoded for a subscription.

        Who asks a second time is slowed down from the first time on: nothing is measured then.
        """
        if self._counted is None:
            self._counted = Counter(matches=0, encodings=0)
            Query.matches = _counted(Query.matches, self._counted, "matches")  # type: ignore[method-assign]
            Projection.__call__ = _counted(  # type: ignore[method-assign]
                Projection.__call__, self._counted, "encodings"
            )
        counted = dict(self._counted)
        self._counted.subtract(counted)
        return counted

    async def fire(self, *, tweets: int, times: int, every_ms: float) -> Answer:
        """Deliver `tweets` messages one after the other, each time."""

        async def turn(number: int) -> None:
            for message in self._messages[number * tweets : (number + 1) * tweets]:
                self._overflow.received(self._fanout.deliver(message))

        await paced(turn, times=times, every_ms=every_ms)
        return {}


class Benchmarked:
    """The gateway as a service that obeys commands besides."""

    def __init__(self, app: GatewayApp, output: IO[str]) -> None:
        self.health = app.health
        self._app = app
        self._output = output

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until the commands end."""
        await first_of(self._app.run(stopping), self._obey())

    async def _obey(self) -> None:
        while not self._app.health.state()["http"]:  # noqa: ASYNC110 - as from outside, and once
            await asyncio.sleep(0.01)
        roost = Roost(self._app)
        commands: Commands = {"prepare": roost.prepare, "fire": roost.fire, "count": roost.count}
        await obey(self._output, commands, port=self._app.port)


def _counted(function: Callable[..., Any], into: Counter[str], name: str) -> Callable[..., Any]:
    def counting(*arguments: object) -> object:
        into[name] += 1
        return function(*arguments)

    return counting


async def _acknowledged() -> None:
    """No broker waits for it."""


if __name__ == "__main__":
    answers = own_output()
    settings = GatewaySettings(amqp_url=_NOBODY, port=0, ops_port=0, log_level="warning")
    run(Benchmarked(GatewayApp(settings), answers), settings, name="gateway")
