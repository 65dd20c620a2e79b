"""Roost: a whole gateway as `python -m services.gateway` runs it, given messages as the broker would give them.

The broker's place is empty: the gateway looks for one at a port where nobody listens, at its usual growing pauses,
and tweets are put where its session puts those that it consumes.
"""

import asyncio
from typing import IO

from benchmarks import tweets
from benchmarks.control import Answer, obey, own_output, paced
from benchmarks.servers import ROOM
from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
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

    async def prepare(self, *, first: int, count: int) -> Answer:
        """Make the messages of the exchange `tweets`, one a tweet: what a router makes when tweets come singly."""
        self._messages = []
        for number in range(first, first + count):
            made = tweets.message([tweets.document(number)], [f"term.{ROOM}"])
            self._messages.append(Message(made.body, made.routing_key, made.headers, _acknowledged))
        return {}

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
        await obey(self._output, {"prepare": roost.prepare, "fire": roost.fire}, port=self._app.port)


async def _acknowledged() -> None:
    """No broker waits for it."""


if __name__ == "__main__":
    answers = own_output()
    settings = GatewaySettings(amqp_url=_NOBODY, port=0, ops_port=0, log_level="warning")
    run(Benchmarked(GatewayApp(settings), answers), settings, name="gateway")
