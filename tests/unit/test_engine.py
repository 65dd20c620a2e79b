"""What the engine takes for granted of three libraries, beside what they document.

When one of these fails after an update, the library has moved something that `services/gateway/engine/` overrides,
calls or replaces: read the message, then the library's own version of that function, and adapt the engine.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import engineio
import pytest
import socketio
from aiohttp import web, web_protocol, web_ws
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader
from engineio import async_socket, base_socket, payload
from engineio.async_drivers import aiohttp as driver
from socketio import base_manager

from services.gateway.connection import Connection
from services.gateway.engine import server as engine_server
from services.gateway.engine import socket as engine_socket
from services.gateway.engine import websocket as engine_websocket

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "services" / "gateway" / "engine"
DOCUMENTED = {"_asdict", "_replace", "_fields", "_make", "_exit"}
"""Names that begin so and are nobody's secret: of named tuples, and of `os`."""

LIBRARIES = {"aiohttp", "engineio", "socketio", "uvloop"}

SIGNATURES: dict[str, tuple[Callable[..., Any], list[str]]] = {
    # python-engineio
    "AsyncServer._handle_connect": (
        engineio.AsyncServer._handle_connect,
        ["self", "environ", "transport", "jsonp_index"],
    ),
    "AsyncServer._trigger_event": (engineio.AsyncServer._trigger_event, ["self", "event", "args", "kwargs"]),
    "AsyncServer._upgrades": (engineio.AsyncServer._upgrades, ["self", "sid", "transport"]),
    "AsyncServer._ok": (engineio.AsyncServer._ok, ["self", "packets", "headers", "jsonp_index"]),
    "AsyncServer._bad_request": (engineio.AsyncServer._bad_request, ["self", "message"]),
    "AsyncServer.start_background_task": (
        engineio.AsyncServer.start_background_task,
        ["self", "target", "args", "kwargs"],
    ),
    "AsyncSocket.receive": (async_socket.AsyncSocket.receive, ["self", "pkt"]),
    "AsyncSocket.poll": (async_socket.AsyncSocket.poll, ["self"]),
    "AsyncSocket.send": (async_socket.AsyncSocket.send, ["self", "pkt"]),
    "AsyncSocket.close": (async_socket.AsyncSocket.close, ["self", "wait", "abort", "reason"]),
    "AsyncSocket.schedule_ping": (async_socket.AsyncSocket.schedule_ping, ["self"]),
    "AsyncSocket.check_ping_timeout": (async_socket.AsyncSocket.check_ping_timeout, ["self"]),
    "AsyncSocket.handle_get_request": (async_socket.AsyncSocket.handle_get_request, ["self", "environ"]),
    "AsyncSocket.handle_post_request": (async_socket.AsyncSocket.handle_post_request, ["self", "environ"]),
    "AsyncSocket._upgrade_websocket": (async_socket.AsyncSocket._upgrade_websocket, ["self", "environ"]),
    "BaseSocket": (base_socket.BaseSocket.__init__, ["self", "server", "sid"]),
    "Payload": (payload.Payload.__init__, ["self", "packets", "encoded_payload"]),
    # python-socketio
    "socketio.AsyncServer._handle_eio_connect": (
        socketio.AsyncServer._handle_eio_connect,
        ["self", "eio_sid", "environ"],
    ),
    "socketio.AsyncServer._handle_eio_message": (
        socketio.AsyncServer._handle_eio_message,
        ["self", "eio_sid", "data"],
    ),
    "socketio.AsyncServer._handle_eio_disconnect": (
        socketio.AsyncServer._handle_eio_disconnect,
        ["self", "eio_sid", "reason"],
    ),
    "socketio.AsyncServer._handle_event": (
        socketio.AsyncServer._handle_event,
        ["self", "eio_sid", "namespace", "id", "data"],
    ),
    "socketio.AsyncServer._engineio_server_class": (socketio.AsyncServer._engineio_server_class, ["self"]),
    "BaseManager.basic_disconnect": (
        base_manager.BaseManager.basic_disconnect,
        ["self", "sid", "namespace", "kwargs"],
    ),
    "BaseManager.basic_leave_room": (base_manager.BaseManager.basic_leave_room, ["self", "sid", "namespace", "room"]),
    "BaseManager.eio_sid_from_sid": (base_manager.BaseManager.eio_sid_from_sid, ["self", "sid", "namespace"]),
    "BaseManager.sid_from_eio_sid": (base_manager.BaseManager.sid_from_eio_sid, ["self", "eio_sid", "namespace"]),
    # aiohttp
    "RequestHandler.connection_lost": (web_protocol.RequestHandler.connection_lost, ["self", "exc"]),
    "StreamResponse.prepare": (web.StreamResponse.prepare, ["self", "request"]),
    "StreamResponse.write_eof": (web.StreamResponse.write_eof, ["self", "data"]),
}

OURS: dict[type, dict[type, set[str]]] = {
    engine_server.Engine: {engineio.AsyncServer: {"__init__", "_handle_connect"}},
    engine_server.Sessions: {socketio.AsyncManager: {"basic_disconnect"}},
    engine_server.Server: {
        socketio.AsyncServer: {
            "__init__",
            "_engineio_server_class",
            "_handle_eio_connect",
            "_handle_eio_disconnect",
            "_handle_eio_message",
            "_handle_event",
        }
    },
    engine_socket.Socket: {
        async_socket.AsyncSocket: {
            "__init__",
            "_upgrade_websocket",
            "check_ping_timeout",
            "close",
            "handle_get_request",
            "handle_post_request",
            "poll",
            "schedule_ping",
            "send",
        }
    },
    engine_websocket.Taken: {web.StreamResponse: {"prepare", "write_eof"}},
    engine_websocket._Messages: {WebSocketDataQueue: {"__init__", "_limit", "_size", "feed_data", "set_exception"}},
}
"""What each class of the engine overrides of its base: nothing by accident."""

CALLERS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    # What the library does with what we override, as it stands in its source.
    "a GET without a session is a connect": (
        engineio.AsyncServer.handle_request,
        ["await self._handle_connect(environ, transport, jsonp_index)", "socket.handle_get_request("],
    ),
    "a POST is handed to the session": (
        engineio.AsyncServer.handle_request,
        ["await socket.handle_post_request(environ)", "exceptions.EngineIOError", "await self.disconnect(sid)"],
    ),
    "a list is what a poll answers, and a response passes": (
        engineio.AsyncServer.handle_request,
        ["isinstance(packets, list)", "if not isinstance(r, dict):", "return r"],
    ),
    "who has upgraded is refused": (engineio.AsyncServer.handle_request, ["socket.upgraded", "socket.connected"]),
    "a PONG is a sign of life": (async_socket.AsyncSocket.receive, ["self.schedule_ping()", "self.close(wait=False"]),
    "closing tells the handlers, then is closed": (
        async_socket.AsyncSocket.close,
        ["self.closing = True", "_trigger_event(", "'disconnect'", "self.closed = True"],
    ),
    "the request is in the environ": (driver.translate_request, ["'aiohttp.request': request"]),
    "sending finds the session and hands it the packet": (
        engineio.AsyncServer.send_packet,
        ["self._get_socket(sid)", "await socket.send(pkt)"],
    ),
    "events of Engine.IO come in by these": (
        socketio.AsyncServer.__mro__[1].__init__,
        ["self._handle_eio_connect", "self._handle_eio_message", "self._handle_eio_disconnect"],
    ),
    "the server's class is asked for": (socketio.AsyncServer.__mro__[1].__init__, ["self._engineio_server_class()"]),
    "events go through one place": (
        socketio.AsyncServer._handle_eio_message,
        ["await self._handle_event(eio_sid, pkt.namespace, pkt.id,"],
    ),
    "a session ends by the manager": (
        base_manager.BaseManager.basic_disconnect,
        ["self.callbacks", "pending_connect"],
    ),
    "a session has a room of its own and one for all": (
        base_manager.BaseManager.pre_connect,
        ["basic_enter_room(sid, namespace, None, eio_sid=eio_sid)", "basic_enter_room(sid, namespace, sid, "],
    ),
    "the environ goes with the session": (
        socketio.AsyncServer._handle_eio_connect,
        ["self.environ[eio_sid] = environ"],
    ),
    "a handshake is checked, and its answer's headers are made, in one place": (
        web_ws.WebSocketResponse._handshake,
        ["SEC_WEBSOCKET_KEY", "SEC_WEBSOCKET_VERSION", "raise HTTPBadRequest", "response_headers,"],
    ),
    "what came early waits here": (web_protocol.RequestHandler.data_received, ["self._message_tail = tail"]),
    "a lost connection is forgotten and, having no transport, not closed": (
        web_protocol.RequestHandler.force_close,
        ["if self.transport is not None:", "self.transport.close()"],
    ),
    "a lost connection takes no further request": (
        web_protocol.RequestHandler.connection_lost,
        ["self._manager.connection_lost(self, exc)", "self.force_close()"],
    ),
    "a handler's answer is prepared and ended": (
        web_protocol.RequestHandler.finish_response,
        ["prepare_meth", "write_eof()"],
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_the_engine_overrides_and_calls_takes_the_same_arguments(name: str) -> None:
    function, expected = SIGNATURES[name]
    found = list(inspect.signature(function).parameters)
    assert found == expected, f"{name} has changed: see where services/gateway/engine/ overrides or calls it"


@pytest.mark.parametrize("name", CALLERS)
def test_the_libraries_still_do_what_the_engine_builds_on(name: str) -> None:
    function, expected = CALLERS[name]
    source = re.sub(r"\s+", " ", inspect.getsource(function))
    missing = [piece for piece in expected if re.sub(r"\s+", " ", piece) not in source]
    assert not missing, f"{function.__qualname__} no longer has {missing}: is it still true that {name}?"


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.__name__)
def test_the_engine_overrides_what_is_listed_and_nothing_by_accident(ours: type) -> None:
    for base, expected in OURS[ours].items():
        ignored = {"__module__", "__doc__", "__annotations__", "__slots__", "__dict__", "__weakref__"}
        overridden = {name for name in vars(ours) if name not in ignored and hasattr(base, name)}
        generic = {
            "__firstlineno__",
            "__static_attributes__",
            "__abstractmethods__",
            "_abc_impl",
            "__annotate_func__",
        }
        assert overridden - generic == expected, "a name of ours is one of the library's, or one of theirs is gone"


def test_state_of_a_session_has_the_names_that_the_engine_knows() -> None:
    server = engineio.AsyncServer(async_mode="aiohttp")
    session = base_socket.BaseSocket(server, "sid")
    flags = {"connected", "upgrading", "upgraded", "closing", "closed"}
    known = {"server", "sid", "queue", "last_ping", "session", *flags}
    assert set(vars(session)) == known, "does a new one matter to services/gateway/engine/socket.py?"
    taken = known & (set(vars(engine_socket.Socket)) | set(vars(Connection)))
    assert not taken, "a method of ours would be hidden by an attribute of theirs"
    settings = {"ping_interval", "ping_timeout", "max_http_buffer_size", "sockets", "handlers", "reason"}
    assert settings <= set(dir(server))


def test_aiohttp_reads_frames_as_the_engine_calls_for() -> None:
    received: list[tuple[object, int]] = []
    errors: list[BaseException] = []

    class Queue(WebSocketDataQueue):
        _size = _limit = 0

        def __init__(self) -> None:
            pass

        def feed_data(self, data: Any, size: int) -> None:
            received.append((data.data, size))

        def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
            errors.append(exc)

    reader = WebSocketReader(Queue(), 1000, compress=False, decode_text=True)
    reader.feed_data(b"\x81\x02ok\x82\x01x\xff")
    assert received == [("ok", 2), (b"x", 1)], "WebSocketDataQueue.feed_data is how messages arrive"
    reader.feed_data(b"\x00")
    assert [type(error) for error in errors] == [aiohttp.WebSocketError], "set_exception is how errors do"


def test_the_http_server_has_the_attributes_that_are_set() -> None:
    for name in ("transport", "_message_tail"):
        assert any(name in getattr(base, "__slots__", ()) for base in web_protocol.RequestHandler.__mro__), name


def test_the_engine_works_where_aiohttp_has_no_compiled_reader() -> None:
    script = """
import asyncio
from aiohttp._websocket import reader
assert reader.WebSocketReader.__module__.endswith("reader_py"), "this has to be the one in Python"
from services.gateway.engine.websocket import WebSocket
class Owner:
    def arrived(self, data): print(data)
class Transport:
    def write(self, data): print("written", data)
websocket = WebSocket(Transport(), Owner(), 1000, 1000)
websocket.received(b"\\x81\\x02ok\\x81")
websocket.received(b"\\x04more\\x89\\x00")
"""
    environ = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("ok\nmore\nwritten b'\\x8a\\x00'\n", 0), run.stderr


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.AST) -> set[str]:
    """Private names that a module defines, as functions, classes or attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


@pytest.mark.parametrize(
    "path",
    [path.relative_to(ROOT) for path in sorted((ROOT / "services").rglob("*.py")) if ENGINE not in path.parents],
    ids=str,
)
def test_no_other_module_touches_what_a_library_keeps_to_itself(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    defined = own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            # A module may look into another object of a class of its own.
            assert own or node.attr in defined | DOCUMENTED, f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom | ast.Import):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            hidden = [name for name in modules if any(private(part) for part in name.split("."))]
            assert not hidden, f"line {node.lineno}: {hidden}"


def test_the_list_of_overrides_is_of_the_classes_that_there_are() -> None:
    def classes(module: ModuleType) -> set[type]:
        found = (value for value in vars(module).values() if isinstance(value, type))
        return {one for one in found if one.__module__ == module.__name__ and of_a_library(one)}

    def of_a_library(one: type) -> bool:
        return any(base.__module__.split(".")[0] in LIBRARIES for base in one.__mro__)

    there = classes(engine_server) | classes(engine_socket) | classes(engine_websocket)
    assert there - {engine_socket.Posted} == set(OURS)
