"""The router's parts put together: demand on one side, raw batches on the other."""

import asyncio
import contextlib
import uuid

import structlog

from services.router.matcher import Matcher, TooManyTermsError
from services.router.settings import RouterSettings
from services.router.worker import Worker
from shared import metrics
from shared.broker import Connection, NotFoundError, Queue, connect, keep_session
from shared.demand import Demand, EventsMissingError, Follower, SnapshotError, follow, vhost_of
from shared.health import Health
from shared.labels import LabelError
from shared.lifecycle import StartError
from shared.tasks import first_of, together
from shared.topology import RAW_EXCHANGE, ROUTER_QUEUE, TWEETS_EXCHANGE

log = structlog.get_logger()

DRAIN_S = 3.0
"""How long a router that stops waits for the batches under way; what is not done by then another router gets."""


SNAPSHOT_PATIENCE_S = 2.0
"""How long a router that knows the demand from before waits for a new snapshot until it works on without."""


TOGETHER_S = 0.05
"""How long new terms are waited for that may be brought together with the first one."""

AT_REST_S = 1.0
"""Time without a change after which there will be none for a while."""


REFUSALS_TOLD = 20
"""Bindings that ask for nothing are logged up to this many; who binds thousands shall not fill the log."""


class RouterApp:
    """One router. It keeps no state but what it knows of the demand."""

    def __init__(self, settings: RouterSettings) -> None:
        self.health = Health("broker", "demand", "consuming", "publishing")
        self._settings = settings
        self._matcher = Matcher(max_terms=settings.max_terms)
        self._demand = Demand(wanted=self._wanted, unwanted=self._unwanted)
        self._knows_demand = False
        self._terms_changed = asyncio.Event()
        self._refused = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Route until `stopping`. Raises `StartError` where the broker lacks the event exchange."""
        await keep_session(lambda: self._session(stopping), stopping, grace_s=DRAIN_S + 1)

    async def _session(self, stopping: asyncio.Event) -> None:
        url = self._settings.amqp_url
        async with (
            connect(url, name="router consuming") as consuming,
            connect(url, name="router publishing") as publishing,
        ):
            self.health.set("broker", True)
            worker = Worker(self._matcher, await publishing.channel(confirms=True), held_up=self._note_held_up)
            queue: Queue | None = None

            async def stop() -> None:
                await stopping.wait()
                if queue is not None:
                    await queue.stop_consuming()
                    await first_of(worker.idle(), asyncio.sleep(DRAIN_S))

            async def route() -> None:
                nonlocal queue
                unbound = asyncio.Event()
                follower = await follow(
                    self._demand,
                    consuming,
                    queue_name=f"router.events.{uuid.uuid4().hex}",
                    management_url=self._settings.management_url,
                    vhost=vhost_of(url),
                    undone={(RAW_EXCHANGE, ROUTER_QUEUE): unbound.set},
                )
                if not await publishing.has_exchange(TWEETS_EXCHANGE):
                    raise NotFoundError("the broker lacks the exchange tweets: load deploy/rabbitmq/definitions.json")
                queue = await self._have_queue(consuming)
                await together(
                    self._route(follower, queue, worker),
                    worker.run(queue),
                    self._improve(),
                    _keep_bound(queue, unbound),
                )

            try:
                await first_of(
                    stop(),
                    consuming.lost(),
                    publishing.lost(),
                    publishing.watch_alarms(self._note_held_up),
                    route(),
                )
            except EventsMissingError as error:
                raise StartError(str(error)) from None
            finally:
                for part in ("broker", "consuming", "publishing"):
                    self.health.set(part, False)

    async def _have_queue(self, connection: Connection) -> Queue:
        """The queue of raw batches; made and bound where somebody has deleted it."""
        channel = await connection.channel(prefetch=self._settings.prefetch)
        if await connection.has_queue(ROUTER_QUEUE):
            # Whatever it is: in a cluster it may be of another type.
            queue = await channel.queue(ROUTER_QUEUE)
        else:
            log.warning("the broker lacks the queue of raw batches, making it anew", queue=ROUTER_QUEUE)
            queue = await channel.declare_durable_queue(ROUTER_QUEUE)
        await queue.bind(RAW_EXCHANGE, "")
        return queue

    async def _route(self, follower: Follower, queue: Queue, worker: Worker) -> None:
        """Learn the demand, then work; go on learning meanwhile."""
        up_to_date = False
        if self._knows_demand:
            # A new snapshot, but not at any price: what was known before the connection was lost will do.
            with contextlib.suppress(TimeoutError, SnapshotError):
                async with asyncio.timeout(SNAPSHOT_PATIENCE_S):
                    await follower.snapshot()
                up_to_date = True
        else:
            await follower.snapshot_until_it_works()
            up_to_date = True
        self._knows_demand = True
        self.health.set("demand", True)
        metrics.ROUTER_KEYS.set(len(self._demand))
        # Else the first batch would have to wait until all are brought to where they are found, in one go.
        await self._step_by_step(at_rest=True)
        await queue.consume(worker.handle)
        self.health.set("consuming", True)
        self.health.set("publishing", True)
        log.info("routing", keys=len(self._demand), terms=self._matcher.terms)
        if not up_to_date:
            await follower.snapshot_until_it_works()
        await follower.refresh()

    async def _improve(self) -> None:
        """Bring new terms to where they are found quicker, step by step, and the last ones when no more come."""
        while True:
            await self._terms_changed.wait()
            self._terms_changed.clear()
            await asyncio.sleep(TOGETHER_S)
            await self._step_by_step(at_rest=False)
            try:
                async with asyncio.timeout(AT_REST_S):
                    await self._terms_changed.wait()
            except TimeoutError:
                await self._step_by_step(at_rest=True)

    async def _step_by_step(self, *, at_rest: bool) -> None:
        more = True
        while more:
            more = self._matcher.improve(at_rest=at_rest)
            await asyncio.sleep(0)  # for everybody else

    def _note_held_up(self, held_up: bool) -> None:
        self.health.set("publishing", not held_up)

    def _wanted(self, key: str) -> None:
        metrics.ROUTER_KEYS.set(len(self._demand))
        try:
            self._matcher.want(key)
            self._note_terms()
        except (LabelError, TooManyTermsError) as error:
            metrics.ROUTER_REFUSED_KEYS.inc()
            self._refused += 1
            if self._refused <= REFUSALS_TOLD:
                log.warning(
                    "a binding that gets nothing",
                    key=key,
                    reason=str(error),
                    last_told=self._refused == REFUSALS_TOLD,
                )

    def _unwanted(self, key: str) -> None:
        metrics.ROUTER_KEYS.set(len(self._demand))
        self._matcher.unwant(key)
        self._note_terms()

    def _note_terms(self) -> None:
        self._terms_changed.set()
        metrics.ROUTER_TERMS.set(self._matcher.terms)


async def _keep_bound(queue: Queue, unbound: asyncio.Event) -> None:
    """Bind the queue of raw batches again whenever somebody has undone that."""
    while True:
        await unbound.wait()
        unbound.clear()
        log.warning("the queue of raw batches gets none any more, binding it anew", queue=ROUTER_QUEUE)
        await queue.bind(RAW_EXCHANGE, "")
