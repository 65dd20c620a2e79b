"""The way to RabbitMQ: connections that are watched, channels that publish with confirms and consume.

This is the only package that knows aio-pika. A connection here is never repaired: when anything of it is lost,
it is lost as a whole and says so once (`Connection.lost`), and `keep_session` runs the service's session again
with a new one. So what a service wants of the broker is written down once, in its session, and holds at the
first start as after any failure.
"""

from shared.broker.burst import Outgoing
from shared.broker.channel import Channel, Depth, Message, Queue
from shared.broker.connection import CONNECT_TIMEOUT_S, HEARTBEAT_S, Connection, connect
from shared.broker.errors import BrokerLostError, InUseError, NotFoundError, RefusedError, UnroutableError
from shared.broker.session import keep_session

__all__ = [
    "CONNECT_TIMEOUT_S",
    "HEARTBEAT_S",
    "BrokerLostError",
    "Channel",
    "Connection",
    "Depth",
    "InUseError",
    "Message",
    "NotFoundError",
    "Outgoing",
    "Queue",
    "RefusedError",
    "UnroutableError",
    "connect",
    "keep_session",
]
