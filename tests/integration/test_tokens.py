"""A gateway that asks for tokens: who is let in, to what, and for how long."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.gateway.app import GatewayApp
from shared import sources
from shared.broker import connect
from shared.sources import SourceStatus
from shared.topology import SOURCES_EXCHANGE
from tests.support.broker import Broker
from tests.support.exchange import publish
from tests.support.node_client import node_client
from tests.support.services import gateway, metric, router
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.wire import Polling, Transport, Visits, WebSocket, code_of, refused
from tests.unit.tokens import P256, RSA, SECRET, public_pem, token

pytestmark = pytest.mark.usefixtures("hurry")
TRANSPORTS = pytest.mark.parametrize("transport", [WebSocket, Polling])


@asynccontextmanager
async def locked(broker: Broker, **settings: Any) -> AsyncIterator[GatewayApp]:
    """A gateway that asks for a token that is signed with the secret."""
    async with gateway(broker, auth="jwt", jwt_secret=SECRET, **settings) as app:
        yield app


def valid(algorithm: str = "HS256", *, for_s: float = 60, **claims: Any) -> str:
    """A token that holds from now on."""
    return token(algorithm, exp=time.time() + for_s, **claims)


async def ask(app: GatewayApp, path: str, given: str | None = None, scheme: str = "Bearer") -> tuple[int, Any]:
    """Status and content of an answer of the HTTP API."""
    headers = {} if given is None else {"Authorization": f"{scheme} {given}"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{app.port}/_/api/{path}", headers=headers) as response,
    ):
        assert response.status == 200 or response.headers["WWW-Authenticate"] == "Bearer"
        return response.status, await response.json()


async def rooms_of(app: GatewayApp, given: str) -> dict[str, int]:
    """The rooms that the API names to whoever has a token and that somebody is in, and how many are."""
    status, answer = await ask(app, "rooms", given)
    assert status == 200
    return {row["label"]: row["members"] for row in answer["rooms"] if row["members"]}


class TestLettingIn:
    """Nobody is let in without a token that holds."""

    @TRANSPORTS
    async def test_every_refusal_says_why_and_ends_the_connection(
        self, broker: Broker, visits: Visits, transport: Transport
    ) -> None:
        async with locked(broker) as app:
            for auth, code, message in [
                (None, "token_missing", "a token is needed here"),
                ({}, "token_missing", "a token is needed here"),
                ([valid()], "token_missing", "a token is needed here"),
                ({"token": 7}, "token_invalid", "the token has to be a string"),
                ({"token": "nonsense"}, "token_invalid", "this is no JSON Web Token"),
                ({"token": valid("RS256")}, "token_invalid", "the token has to be signed with HS256"),
                ({"token": valid(rooms=["nfl"])}, "token_invalid", None),
                ({"token": valid(for_s=-1)}, "token_expired", "the token has expired"),
            ]:
                session = await visits.open(app, transport)
                said, payload = await session.connect(auth)
                assert said == "refused"
                assert payload["data"] == {"code": code}
                assert payload["message"] == message or message is None
                if isinstance(session.wire, WebSocket):
                    await session.ended()
                    assert session.websocket.closed == (1008, "refused")
            session = await visits.connected(app, transport, token=valid())
            assert await session.join("nfl") is True

    async def test_a_polling_session_that_was_refused_ends(self, broker: Broker, visits: Visits) -> None:
        async with locked(broker) as app:
            session = await visits.open(app, Polling)
            assert await code_of(session, "nonsense") == "token_invalid"
            await session.ended()
            await eventually(lambda: not app._server.eio.sockets)

    async def test_a_token_in_the_address_is_none(self, broker: Broker, visits: Visits) -> None:
        async with locked(broker) as app:
            url = f"http://127.0.0.1:{app.port}/socket.io/?EIO=4&transport=websocket&token={valid()}"
            async with visits.http.ws_connect(url) as socket:
                await socket.receive_str()
                await socket.send_str("40")
                assert (await socket.receive_str()).startswith("44")
            for name in ("rooms", "sources"):
                status, answer = await ask(app, f"{name}?token={valid()}&access_token={valid()}")
                assert (status, answer["error"]["code"]) == (401, "token_missing")

    @pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256"])
    async def test_keys_come_from_files(self, broker: Broker, visits: Visits, tmp_path: Path, algorithm: str) -> None:
        file = tmp_path / "key"
        keys = {"HS256": f"{SECRET}\n".encode(), "RS256": public_pem(RSA.public_key())}
        file.write_bytes(keys.get(algorithm) or public_pem(P256.public_key()))
        setting = "jwt_secret_file" if algorithm == "HS256" else "jwt_public_key_file"
        async with gateway(broker, auth="jwt", **{setting: file}) as app:
            for other in ("HS256", "RS256", "ES256"):
                expected = "ok" if other == algorithm else "token_invalid"
                assert await code_of(await visits.open(app), valid(other)) == expected


class TestRooms:
    """What a token grants holds for all that shows tweets."""

    @TRANSPORTS
    async def test_only_rooms_that_are_granted_can_be_joined(
        self, broker: Broker, visits: Visits, transport: Transport
    ) -> None:
        async with locked(broker) as app:
            session = await visits.connected(app, transport, token=valid(rooms=["term.NFL", "tag.*", "has_url"]))
            for room in ("nfl", "/NFL", "tag/ai", "tag/nfl", "url"):
                assert await session.join(room) is True, room
            for other in ("nyc", "", "all", "word/nfl", "has_media", {"room": "from/tag"}):
                answer = await session.join(other)
                assert refused(answer) == "not_allowed"
                assert answer["error"]["message"] == "your token does not grant this room"
            assert await rooms_of(app, valid()) == {"term.nfl": 1, "tag.ai": 1, "tag.nfl": 1, "has_url": 1}
            nothing = await visits.connected(app, transport, token=valid(rooms=[]))
            assert refused(await nothing.join("nfl")) == "not_allowed"

    async def test_tweets_come_to_what_is_granted(self, broker: Broker, visits: Visits) -> None:
        async with router(broker), locked(broker) as app:
            session = await visits.connected(app, token=valid(rooms=["term.nfl"]))
            assert await session.join("nfl") is True
            assert refused(await session.join("nyc")) == "not_allowed"
            await eventually(lambda: metric("roost_router_wanted_keys") == 3)
            await publish(broker, tweet("only nyc"), tweet("nfl in nyc"))
            document, room = await session.event("newTweet")
            assert (document["text"], room) == ("nfl in nyc", "nfl")

    async def test_the_api_shows_what_is_granted(self, broker: Broker, visits: Visits) -> None:
        async with locked(broker) as app:
            session = await visits.connected(app, token=valid())
            for room in ("nfl", "tag/ai", "tag/nfl", ""):
                assert await session.join(room) is True
            everything = {"term.nfl": 1, "tag.ai": 1, "tag.nfl": 1, "all": 1}
            assert await rooms_of(app, valid()) == everything
            assert await rooms_of(app, valid(rooms=["*"])) == everything
            assert await rooms_of(app, valid(rooms=["tag.*"])) == {"tag.ai": 1, "tag.nfl": 1}
            assert await rooms_of(app, valid(rooms=["all"])) == {"all": 1}
            assert await rooms_of(app, valid(rooms=[])) == {}

    async def test_the_api_names_no_label_of_a_source_that_is_not_granted(self, broker: Broker) -> None:
        labels = (*(f"term.secret{number}" for number in range(60)), "tag.ai", "term.nfl")
        status = SourceStatus(source="x", state="live", not_asked=labels, not_asked_count=70)
        async with locked(broker) as app, connect(broker.amqp_url("ingest"), name="test ingest") as ingest:
            channel = await ingest.channel(confirms=True)

            async def named(given: str) -> Any:
                await channel.publish(SOURCES_EXCHANGE, sources.pack(status), type=sources.TYPE)
                code, answer = await ask(app, "sources", given)
                assert code == 200
                return answer["sources"] and (
                    answer["sources"][0]["not_asked"],
                    answer["sources"][0]["not_asked_labels"],
                )

            async def heard() -> bool:
                return bool(await named(valid()))

            await eventually(heard)
            assert await named(valid()) == (70, list(labels[:50]))
            assert await named(valid(rooms=["tag.*"])) == (70, ["tag.ai"])
            assert await named(valid(rooms=["term.NFL"])) == (70, ["term.nfl"])
            assert await named(valid(rooms=[])) == (70, [])

    async def test_without_a_token_the_api_says_what_it_needs(self, broker: Broker) -> None:
        async with locked(broker) as app:
            for given, scheme, code in [
                (None, "", "token_missing"),
                (valid(), "Basic", "token_missing"),
                ("nonsense", "Bearer", "token_invalid"),
                (valid(for_s=-1), "Bearer", "token_expired"),
            ]:
                for name in ("rooms", "sources"):
                    status, answer = await ask(app, name, given, scheme)
                    assert status == 401
                    assert refused(answer) == code
            assert (await ask(app, "sources", valid(), "bearer"))[0] == 200

    async def test_the_page_itself_is_for_everybody(self, broker: Broker, visits: Visits) -> None:
        async with locked(broker) as app:
            for path in ("/nfl", "/_/static/app.js", "/favicon.ico"):
                async with visits.http.get(f"http://127.0.0.1:{app.port}{path}") as response:
                    assert response.status == 200


class TestExpiry:
    """A token ends, and the connection with it."""

    async def test_a_websocket_is_closed_with_the_reason(self, broker: Broker, visits: Visits) -> None:
        async with locked(broker) as app:
            short = valid(for_s=1.5)
            session = await visits.connected(app, token=short)
            lasting = await visits.connected(app, token=valid())
            assert await session.join("nfl") is True
            await session.ended()
            assert session.websocket.closed == (4401, "the token has expired")
            assert await code_of(await visits.open(app), short) == "token_expired"
            await eventually(lambda: metric("roost_gateway_sockets") == 1)
            assert await lasting.join("nyc") is True
            assert await rooms_of(app, valid()) == {"term.nyc": 1}

    async def test_a_polling_session_ends(self, broker: Broker, visits: Visits) -> None:
        async with locked(broker) as app:
            session = await visits.connected(app, Polling, token=valid(for_s=1.5))
            assert await session.join("nfl") is True
            await session.ended()
            with pytest.raises(aiohttp.ClientResponseError):
                await session.wire.send('42["subscribe","nyc"]')
            assert not app._server.eio.sockets

    async def test_a_client_may_change_its_token_without_a_new_connection(
        self, broker: Broker, visits: Visits
    ) -> None:
        async with locked(broker) as app:
            first = valid(for_s=2, rooms=["term.nfl"])
            began = time.time()
            session = await visits.connected(app, token=first)
            assert await session.join("nfl") is True
            await session.wire.send("41")
            assert await code_of(session, valid(rooms=["term.nyc"])) == "ok"
            assert await rooms_of(app, valid()) == {}, "what was joined with the other one was left"
            assert refused(await session.join("nfl")) == "not_allowed"
            assert await session.join("nyc") is True
            # Wait until the first one is over: it has no say any more.
            await eventually(lambda: time.time() > began + 2.2)
            assert await session.join("nyc") is True
            await session.wire.send("41")
            assert await code_of(session, first) == "token_expired"
            await session.ended()

    async def test_a_client_that_left_the_namespace_has_no_rights_left(self, broker: Broker, visits: Visits) -> None:
        async with locked(broker) as app:
            session = await visits.connected(app, token=valid(for_s=1.5))
            await session.wire.send("41")
            await session.wire.send('421["subscribe","nfl"]')
            await session.ended()
            assert await rooms_of(app, valid()) == {}


@pytest.mark.parametrize("transports", ["websocket", "polling,websocket"])
async def test_the_javascript_client_sends_its_token_and_hears_of_its_end(broker: Broker, transports: str) -> None:
    async with locked(broker) as app:
        given = valid(for_s=5, rooms=["term.nfl"])
        async with node_client(app.port, ["nfl", "nyc"], transports=transports, token=given) as client:
            subscribed = {room: answer for event, answer, room in client.lines if event == "subscribed"}
            assert subscribed["nfl"] == {"room": "nfl", "label": "term.nfl", "url": "/nfl", "seq": None}
            assert refused(subscribed["nyc"]) == "not_allowed"
            await eventually(lambda: ["error", "the token has expired", "token_expired"] in client.lines)
