"""What goes wrong with a broker, in words of our own."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import aiormq
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity


class BrokerLostError(Exception):
    """The connection, or a part of it, is gone; everything on it has to be done again on a new one."""


class NotFoundError(BrokerLostError):
    """What was to be used does not exist on the broker."""


class InUseError(BrokerLostError):
    """A queue that was to be consumed exclusively has another consumer."""


class RefusedError(Exception):
    """The broker did not take a message: a queue that it was routed to is full and refuses."""


class UnroutableError(RefusedError):
    """The broker did not take a message: no queue is bound to get it, and it had to get to one."""


@contextlib.contextmanager
def as_lost(lose: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Raise what the libraries below raise for a lost connection as `BrokerLostError`, and `lose` the connection.

    So nobody is told of a loss of which `Connection.lost` does not know.
    """
    try:
        yield
    except ChannelNotFoundEntity as error:
        lose(reason(error))
        raise NotFoundError(reason(error)) from error
    except asyncio.CancelledError as error:
        raise_if_cancelled()
        # Not our task was cancelled but what it waits for: aiormq does so when it gives a silent broker up.
        lose(reason(error))
        raise BrokerLostError(reason(error)) from error
    except (AMQPError, aiormq.AMQPError, OSError, TimeoutError, RuntimeError) as error:
        lose(reason(error))
        raise BrokerLostError(reason(error)) from error


def reason(error: BaseException | None) -> str:
    """What a loss is told with."""
    if isinstance(error, asyncio.CancelledError):
        return "no sign of life from the broker"
    if isinstance(error, TimeoutError):
        return "the broker does not answer"
    text = str(error) if error is not None else ""
    return text or (type(error).__name__ if error is not None else "connection closed")


def raise_if_cancelled() -> None:
    """Raise a cancellation that a library has swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
