"""What goes over the wire, read by aiohttp's WebSocket reader and by python-socketio's packets."""

import asyncio
from typing import Any

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_websocket import WebSocketReader, WSMessage, WSMessageTextBytes
from engineio import packet as engineio_packet
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet as socketio_packet

from services.gateway import frames

SIZES = [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 1_000_000]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def read(data: bytes) -> list[WSMessage | WSMessageTextBytes]:
    """The messages in `data`, as the reader of a client finds them."""
    loop = asyncio.new_event_loop()
    try:
        queue = WebSocketDataQueue(BaseProtocol(loop), 2**26, loop=loop)
        reader = WebSocketReader(queue, 0, compress=False, decode_text=True)
        reader.feed_data(data)
        assert queue.exception() is None
        queue.feed_eof()

        async def all_of_it() -> list[WSMessage | WSMessageTextBytes]:
            return [await queue.read() for _ in range(len(queue._buffer))]

        return loop.run_until_complete(all_of_it())
    finally:
        loop.close()


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_of_any_size_is_read_as_it_was(size: int) -> None:
    wire = frames.frame(frames.TEXT, b"x" * size) + frames.frame(frames.BINARY, b"\xff" * size)
    text, binary = read(wire)
    assert (text.type, text.data) == (WSMsgType.TEXT, "x" * size)
    assert (binary.type, binary.data) == (WSMsgType.BINARY, b"\xff" * size)
    head = 2 if size < 126 else 4 if size < 65_536 else 10
    assert len(wire) == 2 * (head + size), "the shortest form, as the protocol demands"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("", ""),
        ("this gateway stops", "this gateway stops"),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("ß" * 62, "ß" * 61),
        ("x" + "🏈" * 40, "x" + "🏈" * 30),
    ],
)
def test_a_reason_that_is_too_long_is_cut_between_characters(reason: str, told: str) -> None:
    (message,) = read(frames.close(4401, reason))
    assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4401, told)


@given(st.text(min_size=1), st.lists(JSON, max_size=3))
def test_an_event_is_what_the_library_reads_and_would_write(name: str, arguments: list[Any]) -> None:
    event = frames.event(name, *map(frames.json, arguments)).decode()
    parsed = socketio_packet.Packet(encoded_packet=event)
    assert (parsed.packet_type, parsed.namespace, parsed.id) == (socketio_packet.EVENT, None, None)
    assert parsed.data == [name, *arguments]
    written = socketio_packet.Packet(socketio_packet.EVENT, data=[name, *arguments]).encode()
    assert socketio_packet.Packet(encoded_packet=written).data == parsed.data


def test_a_batch_says_the_same_by_either_transport() -> None:
    batch = frames.Batch()
    events = [frames.event("newTweet", frames.json({"text": "ß" * number}), b'"nfl"') for number in range(100)]
    for seq, event in enumerate(events):
        batch.add(event, seq + 7)
    batch.add(frames.event("asking", b"{}"))
    messages = read(batch.wire)
    assert [message.data for message in messages] == [packet.encode() for packet in batch.packets]
    assert [message.data for message in messages][:100] == ["4" + event.decode() for event in events]
    assert all(packet.packet_type == engineio_packet.MESSAGE for packet in batch.packets)
    assert (batch.first_seq, batch.last_seq) == (7, 106)
    assert batch.size == sum(map(len, batch.events))


def test_a_batch_is_made_once_and_again_when_more_is_added() -> None:
    batch = frames.Batch()
    batch.add(b'2["one"]')
    wire, packets = batch.wire, batch.packets
    assert batch.wire is wire
    assert batch.packets is packets
    batch.add(b'2["two"]')
    assert batch.wire == wire + frames.frame(frames.TEXT, b'42["two"]')
    assert len(batch.packets) == 2


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_a_packet_is_a_text_frame_and_an_attachment_a_binary_one(data: str | bytes) -> None:
    (message,) = read(frames.of_packet(data))
    assert message.type is (WSMsgType.TEXT if isinstance(data, str) else WSMsgType.BINARY)
    assert message.data == data
