"""`python -m deploy.dead_letters [--requeue] [N]`: what could not be read, listed or sent back.

`make dead-letters` lists what waits in the queue `dead-letters`, and leaves it there. `make dead-letters REQUEUE=1`
sends it to where ingest publishes, so that routers and the archive get it once more: after whatever was wrong with
them was mended. What still can't be read comes back; it is not sent again by the same command, which sends only as
many as there were when it began.

The broker, as a user that may read `dead-letters` and write to `tweets.raw`: `ROOST_OPERATOR_AMQP_URL`.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from deploy import letters
from shared import logging, raw
from shared.broker import BrokerLostError, Connection, Message, RefusedError, connect
from shared.settings import BAD_SETTING_EXIT_CODE, AmqpUrl
from shared.tasks import first_of
from shared.topology import RAW_EXCHANGE

QUEUE = "dead-letters"
VARIABLE = "ROOST_OPERATOR_AMQP_URL"
LISTED = 20
MOST_LISTED = 10_000
"""All that are listed are in memory at the same time."""
IN_HAND = 50
"""Letters that are sent back at the same time."""
PATIENCE_S = 10.0
"""For so long the broker may be silent."""


@dataclass
class Sent:
    """How far it has come."""

    number: int = 0
    of: int = 0


async def look(amqp_url: str, most: int) -> tuple[list[Message], int]:
    """The oldest `most` dead letters, and how many there are.

    None is acknowledged, so with the end of the connection, whatever ends it, the broker has them as before.
    Raises `BrokerLostError`.
    """
    found: list[Message] = []
    progress = Sent()
    async with connect(amqp_url, name="dead letters") as connection:

        async def take() -> None:
            async for message in _waiting(connection, most, progress, prefetch=most):
                found.append(message)

        await first_of(connection.lost(), take())
    return found, progress.of


async def send_back(amqp_url: str, most: int | None, progress: Sent) -> None:
    """Send the oldest `most` dead letters, or all, to routers and the archive, and take them away.

    Each is taken away when the broker has confirmed the batch that was made of it; so what is not sent stays, and one
    that is sent just as the connection breaks may be there still. Raises `BrokerLostError`, `RefusedError`,
    `TimeoutError`.
    """
    async with connect(amqp_url, name="dead letters") as connection:
        channel = await connection.channel(confirms=True)

        async def send(message: Message) -> None:
            await channel.publish(
                RAW_EXCHANGE,
                message.body,
                type=raw.TYPE,
                headers=letters.headers_of(message.headers),
                persistent=True,
                to_some_queue=True,
            )
            await message.ack()
            progress.number += 1

        async def send_together(messages: list[Message]) -> None:
            # The failure of one leaves the others time to be confirmed.
            async with asyncio.timeout(PATIENCE_S):
                outcomes = await asyncio.gather(*map(send, messages), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

        async def send_all() -> None:
            in_hand: list[Message] = []
            async for message in _waiting(connection, most, progress, prefetch=IN_HAND):
                in_hand.append(message)
                if len(in_hand) == IN_HAND:
                    await send_together(in_hand)
                    in_hand = []
            await send_together(in_hand)

        await first_of(connection.lost(), send_all())


async def _waiting(
    connection: Connection, most: int | None, progress: Sent, *, prefetch: int
) -> AsyncIterator[Message]:
    """The dead letters that are there now, oldest first, `most` or all; for nobody else meanwhile."""
    channel = await connection.channel(prefetch=prefetch)
    queue = await channel.queue(QUEUE)
    progress.of = (await queue.depth()).messages
    came: asyncio.Queue[Message] = asyncio.Queue()
    # Also where there seem to be none: somebody else may have them in hand.
    await queue.consume(came.put, exclusive=True)
    for _ in range(progress.of if most is None else min(most, progress.of)):
        try:
            async with asyncio.timeout(PATIENCE_S):
                message = await came.get()
        except TimeoutError:
            # Somebody else took some just before, or the queue was full and has dropped its oldest.
            return
        yield message


def _counted(number: int) -> str:
    return f"{number:,} dead letter{'' if number == 1 else 's'}"


def _list(amqp_url: str, most: int) -> None:
    found, there = asyncio.run(look(amqp_url, most))
    if not there:
        print("There are no dead letters.")
        return
    print(f"{_counted(there)}{', the oldest first' if there > 1 else ''}:")
    for number, message in enumerate(found, 1):
        print("\n".join(letters.lines(number, message.body, message.headers)))
    if there > len(found):
        print(f"… and {there - len(found):,} more: `make dead-letters N={min(there, MOST_LISTED)}`")
    print("`make dead-letters REQUEUE=1` sends them to routers and the archive once more.")


def _requeue(amqp_url: str, most: int | None) -> None:
    progress = Sent()
    try:
        asyncio.run(send_back(amqp_url, most, progress))
    except BaseException:
        if progress.number:
            print(f"{_counted(progress.number)} of {progress.of:,} sent back; the others are where they were.")
        raise
    if not progress.of:
        print("There are no dead letters.")
        return
    print(f"{_counted(progress.number)} sent to routers and the archive; what can't be read still comes back.")
    if progress.of > progress.number:
        print(f"{progress.of - progress.number:,} more: `make dead-letters`")


def _advice(error: BaseException) -> str:
    """What went wrong, and what to do about it."""
    text = str(error)
    if isinstance(error, TimeoutError):
        return "the broker does not answer, or takes nothing: has it raised an alarm? `make logs` tells"
    if isinstance(error, RefusedError):
        return f"{text}; `make status` tells whether routers run; try again when they have caught up"
    # By the words: who is told first that the connection is lost for that reason is left to chance.
    if "somebody else consumes" in text:
        return f"{text}: another command is at it, or was a moment ago; try again"
    if "NOT_FOUND" in text:
        return f"{text}; load deploy/rabbitmq/definitions.json"
    if "ACCESS_REFUSED" in text or "the broker refuses" in text:
        return f"{text}; deploy/rabbitmq/definitions.json has the user operator, {VARIABLE} names another one"
    return f"{text}; `make status` tells whether the broker runs"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of letters")
    return int(text)


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.dead_letters", description=__doc__)
    parser.add_argument("--requeue", action="store_true", help="send them back")
    parser.add_argument("number", nargs="?", type=_number, help=f"how many; else {LISTED} are listed, all sent back")
    arguments = parser.parse_args()
    # What goes wrong is said once, in the end.
    logging.configure(level="error", json=False, service="dead-letters")
    try:
        url = TypeAdapter(AmqpUrl).validate_python(os.environ.get(VARIABLE, ""))
    except ValidationError:
        # Not what it is: it may hold a password.
        print(f"{parser.prog}: {VARIABLE}: should be amqp://user:password@host:port/vhost", file=sys.stderr)
        return BAD_SETTING_EXIT_CODE
    try:
        if arguments.requeue:
            _requeue(url, arguments.number)
        else:
            _list(url, min(arguments.number or LISTED, MOST_LISTED))
    except (BrokerLostError, RefusedError, TimeoutError) as error:
        print(f"{parser.prog}: not done: {_advice(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
