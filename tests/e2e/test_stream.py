"""The whole way with real processes: one source, two routers, two gateways, clients in Python and Node.js."""

from collections.abc import Callable

from shared.labels import parse_path
from tests.support.broker import Broker, free_port
from tests.support.browsers import browser
from tests.support.captures import CAPTURES, needs_captures
from tests.support.ledger import Ledger, ledger
from tests.support.node_client import node_client
from tests.support.processes import processes
from tests.support.waiting import eventually

ROOMS = [
    "", "nfl", "nyc", "url", "has_media", "word/nfl", "tag/nfl", "lang/en", "lang/ja", "lang/ar", "e",
    "the ", "ß", "ال", "の", "don't", "http", "term/url", "@", "from/nobody", "xyzzy",
]  # fmt: skip

Page = Callable[[str], dict[str, str]]


PATIENT_BYTES = 100_000_000
"""The test's own process may be seconds behind; a gateway would skip tweets for such a client, and tell it so."""


def differences(truth: Ledger, page: Page) -> dict[str, tuple[int, int]]:
    """Rooms that do not show exactly what they should: how many they lack and how many they have too many."""
    found = {}
    for path in ROOMS:
        expected, shown = truth.page(path), page(parse_path(path).room)
        if expected != shown:
            found[path] = (len(expected.keys() - shown.keys()), len(shown.keys() - expected.keys()))
    return found


async def test_every_room_gets_exactly_its_tweets(broker: Broker) -> None:
    ports = [free_port(), free_port()]
    async with processes(broker) as start, ledger(broker) as truth:
        routers = [await start.start("router") for _ in ports]
        gateways = [await start.start("gateway", port=port, send_buffer_bytes=PATIENT_BYTES) for port in ports]
        async with (
            browser(ports[0]) as python,
            node_client(ports[0], ROOMS, transports="websocket") as node,
            node_client(ports[1], ROOMS, transports="polling,websocket") as upgrading,
        ):
            for room in ROOMS:
                assert await python.call("subscribe", room) is True
            await eventually(
                lambda: all(router.metric("roost_router_wanted_keys") == len(ROOMS) + 2 for router in routers)
            )
            ingest = await start.start("ingest", rate=400, seed=7)
            await eventually(lambda: len(truth.events) > 2400, what="2,400 events are published")
            assert await ingest.stop() == 0
            pages: dict[str, Page] = {"python": python.page, "node": node.page, "upgrading": upgrading.page}
            await eventually(
                lambda: not any(differences(truth, page) for page in pages.values()),
                what="every room shows exactly what it should",
            )
            assert len(truth.page("")) > 2000
            assert all(truth.page(room) for room in ROOMS[:13])
            assert {document["action"] for document, _ in truth.events} == {"create", "update", "destroy"}
        for process in (*routers, *gateways):
            assert await process.stop() == 0
        for process in (ingest, *routers, *gateways):
            assert not [line for line in process.log().splitlines() if "error" in line.lower()], process.log()


async def test_a_router_killed_at_work_costs_nothing(broker: Broker) -> None:
    port = free_port()
    async with processes(broker) as start, ledger(broker) as truth:
        routers = [await start.start("router") for _ in range(2)]
        await start.start("gateway", port=port, send_buffer_bytes=PATIENT_BYTES)
        async with browser(port) as client:
            for room in ROOMS:
                await client.call("subscribe", room)
            await eventually(
                lambda: all(router.metric("roost_router_wanted_keys") == len(ROOMS) + 2 for router in routers)
            )
            ingest = await start.start("ingest", rate=500, seed=3)
            await eventually(lambda: len(truth.events) > 500)
            routers[0].kill()
            more = len(truth.events) + 1500
            await eventually(lambda: len(truth.events) > more)
            await ingest.stop()
            await eventually(lambda: not differences(truth, client.page), what="nothing is missing")


async def test_any_service_killed_and_started_again_goes_on(broker: Broker) -> None:
    port = free_port()
    async with processes(broker) as start:
        running = {
            "router": await start.start("router"),
            "gateway": await start.start("gateway", port=port, send_buffer_bytes=PATIENT_BYTES),
            "ingest": await start.start("ingest", rate=100),
        }
        async with browser(port, reconnect=True) as client:
            await client.call("subscribe", "")
            for service, process in running.items():
                process.kill()
                if service == "gateway":
                    await start.start(service, port=port)
                    await eventually(lambda: client.connected)
                    # What a page does on every connection.
                    await client.call("subscribe", "")
                else:
                    await start.start(service)
                seen = len(client.events)
                await eventually(lambda seen=seen: len(client.events) > seen + 20, what=f"tweets after {service}")


@needs_captures
async def test_real_posts_reach_their_rooms(broker: Broker) -> None:
    rooms = ["", "brexit", "word/labour", "url", "has_media", "tag/brexit", "lang/en", "lang/ko", "bts", "rt @", "&"]
    posts = {
        "streaming_output_with_error.jsonl": 7,
        "brexit.jsonl": 100,
        "kpop.jsonl": 100,
        "edited_before.jsonl": 1,
        "edited_after.jsonl": 0,  # the same post
        "tweets_compliance.jsonl": 0,
    }
    port = free_port()
    async with processes(broker) as start, ledger(broker) as truth:
        router = await start.start("router")
        await start.start("gateway", port=port, send_buffer_bytes=PATIENT_BYTES)
        async with browser(port) as client:
            for room in rooms:
                await client.call("subscribe", room)
            await eventually(lambda: router.metric("roost_router_wanted_keys") == len(rooms) + 2)
            for capture, number in posts.items():
                before, shown = len(truth.events), len(truth.page(""))
                path = CAPTURES / capture
                ingest = await start.start("ingest", source="replay", replay_path=path, replay_speed=0)
                await eventually(lambda log=ingest.log: "the source has ended" in log())
                read = ingest.metric("roost_source_events_total")
                await eventually(lambda total=before + read: len(truth.events) == total)
                assert await ingest.stop() == 0
                assert len(truth.page("")) == shown + number, capture
            await eventually(
                lambda: all(client.page(parse_path(room).room) == truth.page(room) for room in rooms),
                what="every room shows exactly what it should",
            )
            assert all(truth.page(room) for room in rooms if room != "word/labour")
