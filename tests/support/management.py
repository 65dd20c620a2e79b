"""Things an operator does to the broker, for tests that need them done."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aio_pika

from tests.support.broker import ROOT, Broker


def request(broker: Broker, method: str, path: str, payload: object = None) -> Any:
    """One call of the management API as the administrator."""
    token = base64.b64encode(b"admin:admin").decode()
    call = urllib.request.Request(
        f"http://{broker.host}:{broker.management_port}{path}",
        method=method,
        data=None if payload is None else json.dumps(payload).encode(),
        headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=10) as response:
        body = response.read()
        return json.loads(body) if body else None


def delete_queue(broker: Broker, name: str) -> None:
    """Delete a queue, if it is there."""
    try:
        request(broker, "DELETE", f"/api/queues/%2F/{name}")
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise


class Vhost:
    """A virtual host of its own, with Roost's exchanges and the administrator's rights, for the time of a test."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._broker = broker
        self._name = name
        self.amqp_url = f"{broker.amqp_url('admin')}{name}"

    async def __aenter__(self) -> Self:
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        await self._call("PUT", f"/api/vhosts/{self._name}", {})
        await self._call("PUT", f"/api/permissions/{self._name}/admin", everything)
        await self._call("PUT", f"/api/exchanges/{self._name}/tweets", {"type": "topic", "durable": True})
        await self._call("PUT", f"/api/queues/{self._name}/router.raw", {"durable": True})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._call("DELETE", f"/api/vhosts/{self._name}")

    async def _call(self, method: str, path: str, payload: object = None) -> None:
        await asyncio.to_thread(request, self._broker, method, path, payload)


class Policy:
    """A policy that outranks Roost's own, for the time of a test."""

    def __init__(self, broker: Broker, pattern: str, **definition: object) -> None:
        self._broker = broker
        self._payload = {"pattern": pattern, "definition": definition, "priority": 100, "apply-to": "queues"}

    async def __aenter__(self) -> None:
        await asyncio.to_thread(request, self._broker, "PUT", "/api/policies/%2F/of-a-test", self._payload)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(request, self._broker, "DELETE", "/api/policies/%2F/of-a-test")


class Alarm:
    """The broker short of its `disk` or its `memory`, for the time of a test: it takes nothing from publishers."""

    def __init__(self, broker: Broker, what: str) -> None:
        self._broker = broker
        limit = {"disk": "set_disk_free_limit", "memory": "set_vm_memory_high_watermark"}[what]
        self._raise = (limit, *{"disk": ("mem_relative", "1000"), "memory": ("0",)}[what])
        self._end = (limit, {"disk": "50MB", "memory": "0.4"}[what])

    async def __aenter__(self) -> None:
        try:
            await asyncio.to_thread(self._broker.ctl, *self._raise)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._broker.ctl, *self._end)


async def load_definitions(broker: Broker) -> None:
    """What an operator does when an exchange is missing; users and rights that are there stay as they are."""
    definitions = json.loads((ROOT / "deploy" / "rabbitmq" / "definitions.json").read_text(encoding="utf-8"))
    await asyncio.to_thread(request, broker, "POST", "/api/definitions", definitions)


def queues(broker: Broker, prefix: str) -> list[str]:
    """The names of the queues that begin with `prefix`."""
    rows = broker.get("/api/queues/%2F?columns=name") or []
    return sorted(row["name"] for row in rows if row["name"].startswith(prefix))


def bound_to(broker: Broker, exchange: str, prefix: str) -> list[tuple[str, str]]:
    """(queue, key) of each binding of `exchange` to a queue that begins with `prefix`, as often as there are any."""
    rows = broker.get(f"/api/exchanges/%2F/{exchange}/bindings/source") or []
    found = ((row["destination"], row["routing_key"]) for row in rows)
    return sorted(binding for binding in found if binding[0].startswith(prefix))


async def depth(broker: Broker, queue: str) -> int:
    """Messages that are ready in a queue, asked of the queue itself."""
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    async with connection:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


async def dead_letters(broker: Broker) -> list[tuple[bytes, str]]:
    """(body, reason) of all dead letters, taken away."""
    connection = await aio_pika.connect(broker.amqp_url("admin"))
    letters = []
    async with connection:
        queue = await (await connection.channel()).get_queue("dead-letters")
        while message := await queue.get(no_ack=True, fail=False):
            letters.append((message.body, str(message.headers.get("reason"))))
    return letters
