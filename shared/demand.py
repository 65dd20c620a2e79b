"""Which labels somebody wants: the bindings of the exchange `tweets`, as the broker knows them.

A binding is the wish. `Demand` is the set of them; `follow` keeps it true. Events of the plugin
rabbitmq_event_exchange say what changes, at once, but are hints; the snapshot from the management API is the
truth. So the events are subscribed to first, then the snapshot is taken, then the events that came meanwhile
are applied to it: what an event touched is as its last event says, the rest as the snapshot says.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec
import structlog
import yarl

from shared import metrics
from shared.broker import CONNECT_TIMEOUT_S, BrokerLostError, Connection, Message, NotFoundError, Queue
from shared.topology import EVENT_EXCHANGE, TWEETS_EXCHANGE

log = structlog.get_logger()

SNAPSHOT_INTERVAL_S = 30.0
"""Least time between snapshots; with many bindings it is `SNAPSHOT_SHARE` of the time one takes."""
SNAPSHOT_SHARE = 100
SNAPSHOT_TIMEOUT_S = 60.0
SNAPSHOT_SILENCE_S = 20.0
"""Time without a byte after which a management API is given up. 100,000 bindings may take 10 s to begin with."""
RETRY_S = 1.0
LOOKED_AT_ONCE = 500
"""Bindings of a snapshot that are looked at in one turn of the event loop: some 3 ms where all are new."""

EVENTS = ("binding.created", "binding.deleted", "exchange.deleted")
"""Routing keys of what is listened to."""

PROBE_PATIENCE_S = 0.1
PROBE_ATTEMPTS = 100


class Binding(NamedTuple):
    """One binding of a queue or exchange to `tweets`."""

    kind: str
    """`queue` or `exchange`."""
    destination: str
    key: str


class Change(NamedTuple):
    """A binding that came (`created`) or went."""

    created: bool
    binding: Binding


class EventsMissingError(Exception):
    """The broker has no event exchange; the message says what to do."""


class SnapshotError(Exception):
    """The management API did not give the bindings; the message says why."""


class Demand:
    """The set of bindings, and whoever listens told of each key that is wanted first or no longer.

    Keeps bindings and not counts, so that a hint that comes twice or late does no harm.
    """

    def __init__(
        self,
        *,
        wanted: Callable[[str], None] = lambda _: None,
        unwanted: Callable[[str], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`wanted` and `unwanted` are told of keys, `changed` that a binding came or went, or that all are known."""
        self.known = False
        """Whether there has been a snapshot: before it only what has changed since is known."""
        self._bindings: dict[str, set[Binding]] = {}
        self._wanted = wanted
        self._unwanted = unwanted
        self._changed = changed

    def apply(self, change: Change) -> None:
        """Note one change; one that is known already changes nothing."""
        binding = change.binding
        holders = self._bindings.get(binding.key)
        if change.created:
            if holders is None:
                self._bindings[binding.key] = {binding}
                self._wanted(binding.key)
            else:
                holders.add(binding)
        elif holders is not None:
            holders.discard(binding)
            if not holders:
                del self._bindings[binding.key]
                self._unwanted(binding.key)
        self._changed()

    def __contains__(self, binding: object) -> bool:
        """Whether a binding is known."""
        return isinstance(binding, Binding) and binding in self._bindings.get(binding.key, ())

    def note_known(self) -> None:
        """All bindings are known now."""
        self.known = True
        self._changed()

    def bindings(self) -> set[Binding]:
        """All bindings, as a new set."""
        return {binding for holders in self._bindings.values() for binding in holders}

    def holders(self) -> dict[str, frozenset[str]]:
        """Who is bound by each wanted key (`queue gateway.…`), as a new dict."""
        return {
            key: frozenset(f"{binding.kind} {binding.destination}" for binding in bindings)
            for key, bindings in self._bindings.items()
        }

    def __len__(self) -> int:
        """How many keys are wanted."""
        return len(self._bindings)


class Follower:
    """Keeps one `Demand` true over one broker connection. Made by `follow`."""

    def __init__(
        self,
        demand: Demand,
        management_url: str,
        vhost: str,
        undone: Mapping[tuple[str, str], Callable[[], None]] = MappingProxyType({}),
    ) -> None:
        """`undone` are called when their binding, (exchange, queue), is undone."""
        self._demand = demand
        self._undone = undone
        self._vhost = vhost
        self._management_url = management_url
        self._meanwhile: dict[Binding, bool] | None = None
        """What events have said of bindings, while there is a snapshot to be compared with."""
        self._probe = f"roost.probe.{uuid.uuid4().hex}"
        self._probed = asyncio.Event()

    async def snapshot(self) -> int:
        """Take the snapshot and make the demand true; returns the drift. Raises `SnapshotError`."""
        self._meanwhile = {}
        began = asyncio.get_running_loop().time()
        try:
            truth = await self._fetch()
            truth.update(binding for binding, created in self._meanwhile.items() if created)
            truth.difference_update(binding for binding, created in self._meanwhile.items() if not created)
            # Those that are wanted first: who keeps a key through this hears nothing of it.
            drift = await self._apply(Change(True, binding) for binding in truth)
            known = self._demand.bindings()
            drift += await self._apply(Change(False, binding) for binding in known if binding not in truth)
            self._demand.note_known()
            return drift
        finally:
            self._meanwhile = None
            metrics.DEMAND_SNAPSHOT_SECONDS.set(asyncio.get_running_loop().time() - began)

    async def _apply(self, changes: Iterable[Change]) -> int:
        """Make changes where they are any, unless an event has come meanwhile, which is newer; returns how many."""
        assert self._meanwhile is not None
        made = 0
        for number, change in enumerate(changes, start=1):
            if (change.binding in self._demand) is not change.created and change.binding not in self._meanwhile:
                self._demand.apply(change)
                made += 1
            if not number % LOOKED_AT_ONCE:
                await asyncio.sleep(0)  # for everybody else
        return made

    async def snapshot_until_it_works(self) -> None:
        """Take the snapshot, trying again while the management API does not give it."""
        told = ""
        while True:
            try:
                await self.snapshot()
                return
            except SnapshotError as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("no snapshot of bindings, trying again until there is one", reason=told)
            await asyncio.sleep(RETRY_S)

    async def refresh(self) -> None:
        """Take a snapshot now and then, for ever; what it corrects is counted as drift."""
        loop = asyncio.get_running_loop()
        pause = SNAPSHOT_INTERVAL_S
        while True:
            await asyncio.sleep(pause)
            began = loop.time()
            try:
                drift = await self.snapshot()
            except SnapshotError as error:
                log.warning("no snapshot of bindings, going on with what is known", reason=str(error))
                continue
            if drift:
                metrics.DEMAND_DRIFT.inc(drift)
                log.warning("bindings had drifted", bindings=drift)
            pause = max(SNAPSHOT_INTERVAL_S, (loop.time() - began) * SNAPSHOT_SHARE)

    async def on_event(self, message: Message) -> None:
        """One message of the event exchange. Raises `BrokerLostError` where `tweets` itself is gone."""
        headers = message.headers
        if headers.get("vhost") != self._vhost:
            return
        if message.routing_key == "exchange.deleted":
            if headers.get("name") == TWEETS_EXCHANGE:
                # Its bindings are gone with it, and nobody has ceased to want anything.
                raise BrokerLostError(f"the exchange {TWEETS_EXCHANGE} was deleted")
            return
        key = headers.get("routing_key")
        if not isinstance(key, str):
            return  # not UTF-8, so no label
        created = message.routing_key == "binding.created"
        if key.startswith(self._probe):
            self._probed.set()
        source, destination = str(headers.get("source_name")), str(headers.get("destination_name"))
        if not created and (undone := self._undone.get((source, destination))):
            undone()
        if source != TWEETS_EXCHANGE:
            return
        binding = Binding(str(headers.get("destination_kind")), destination, key)
        change = Change(created, binding)
        if self._meanwhile is not None:
            self._meanwhile[binding] = created
        self._demand.apply(change)

    async def wait_for_events(self, queue: Queue) -> None:
        """Wait until the broker really sends events: for a moment after the first binding it does not.

        Binds `queue` once more, with keys that match nothing, until one of these bindings is told.
        """
        for attempt in range(PROBE_ATTEMPTS):
            key = f"{self._probe}.{attempt}"
            await queue.bind(EVENT_EXCHANGE, key)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._probed.wait(), PROBE_PATIENCE_S)
            await queue.unbind(EVENT_EXCHANGE, key)
            if self._probed.is_set():
                return
        raise EventsMissingError(
            "the broker tells nothing of its bindings: is event_exchange.vhost in rabbitmq.conf the vhost of Roost?"
        )

    async def _fetch(self) -> set[Binding]:
        return await fetch_bindings(self._management_url, self._vhost)


async def fetch_bindings(management_url: str, vhost: str) -> set[Binding]:
    """All bindings of `tweets` that there are now, from RabbitMQ's management API. Raises `SnapshotError`."""
    base = yarl.URL(management_url)
    headers = {"Authorization": aiohttp.encode_basic_auth(base.user or "guest", base.password or "guest")}
    path = f"/api/exchanges/{quote(vhost, safe='')}/{TWEETS_EXCHANGE}/bindings/source"
    url = yarl.URL(
        f"{base.with_user(None)!s}".rstrip("/") + path + "?columns=destination,destination_type,routing_key",
        encoded=True,
    )
    timeout = aiohttp.ClientTimeout(
        total=SNAPSHOT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=SNAPSHOT_SILENCE_S
    )
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.get(url) as response,
        ):
            body = await response.read()
            if response.status != 200:
                raise SnapshotError(f"the management API answered {response.status} for {url.raw_path}")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise SnapshotError(f"the management API can't be reached: {error or type(error).__name__}") from error
    return await asyncio.to_thread(_parse, body)


class _Row(msgspec.Struct):
    destination: str
    destination_type: str
    routing_key: str


def _parse(body: bytes) -> set[Binding]:
    try:
        rows = msgspec.json.decode(body, type=list[_Row])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SnapshotError(f"the management API answered something else: {error}") from None
    return {Binding(row.destination_type, row.destination, row.routing_key) for row in rows}


async def follow(
    demand: Demand,
    connection: Connection,
    *,
    queue_name: str,
    management_url: str,
    vhost: str,
    undone: Mapping[tuple[str, str], Callable[[], None]] = MappingProxyType({}),
) -> Follower:
    """Keep `demand` up to date by events from now on, as long as `connection` lives; the caller takes the snapshots.

    The functions in `undone` are called when their binding, (exchange, queue), is undone by whomever.

    Raises `EventsMissingError` where the plugin is not there, `BrokerLostError` where the connection is lost.
    """
    follower = Follower(demand, management_url, vhost, undone)
    channel = await connection.channel()
    queue = await channel.declare_exclusive_queue(queue_name)
    try:
        for key in EVENTS:
            await queue.bind(EVENT_EXCHANGE, key)
    except NotFoundError:
        raise EventsMissingError(
            "the broker has no exchange amq.rabbitmq.event: "
            "enable its plugin with `rabbitmq-plugins enable rabbitmq_event_exchange`"
        ) from None
    await queue.consume(follower.on_event, ack=False)
    await follower.wait_for_events(queue)
    return follower


def vhost_of(amqp_url: str) -> str:
    """The virtual host that an AMQP URL names: `/` where it names none."""
    return yarl.URL(amqp_url).path.removeprefix("/") or "/"
