"""What `make dead-letters` tells of a letter, whatever is in it, and what it becomes when it is sent back."""

import os
import subprocess
import sys
import time

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import letters
from deploy.settings import ROOT
from shared import raw
from tests.support.tweets import tweet

AT = 1_764_000_000
PASSWORD = "what-only-the-operator-knows"


def batch(text: str, seq: int = 1) -> bytes:
    return raw.pack([raw.entry(tweet(text), seq)])


def test_a_letter_is_told_in_two_lines() -> None:
    body = batch("the early bird")
    first, second = letters.lines(3, body, {"v": raw.FORMAT, "reason": "could not be classified", "at": AT})
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(AT))
    assert first == f"   3  {moment}  {len(body):>9,} bytes  could not be classified"
    assert '{"action": "create"' in second, "the document is decoded, too"
    assert second.endswith("…")


def test_when_nobody_says_when_it_is_when_ingest_numbered_it() -> None:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(AT))
    assert moment in letters.lines(1, batch("a", AT * 1_000_000), {"reason": "why"})[0]
    for body in (batch("a", 7), b"\xc1", b"", msgpack.packb([[b"x"]]), msgpack.packb({"seq": 1})):
        assert letters.lines(1, body, {"at": "yesterday"})[0].startswith(f"   1  {' ' * 19}  ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xc1 not MessagePack", r"\xc1 not MessagePack"),
        (b"", ""),
        (b"plain text", "plain text"),
        (msgpack.packb([1, None, True, "a", b"\xff", {2: [3]}]), '[1, null, true, "a", b"\\xff", {2: [3]}]'),
        (msgpack.packb([msgpack.packb({"id": "x:1"})]), '[{"id": "x:1"}]'),
        ("\x1b[2J\u202egone\r\n".encode(), " [2J gone  "),
        (msgpack.packb(["\x1b]0;title\x07"]), '[" ]0;title "]'),
    ],
)
def test_a_body_is_decoded_as_far_as_it_can_be_and_moves_no_cursor(body: bytes, said: str) -> None:
    assert letters.beginning(body) == said


def test_a_body_without_end_or_bottom_is_told_from_its_beginning() -> None:
    assert letters.beginning(msgpack.packb(list(range(1_000_000))), most=10) == "[0, 1, 2, …"
    assert letters.beginning(msgpack.packb(["x" * 1_000_000]), most=10) == '["xxxxxxxx…'
    deep = b"\x91" * 300 + b"\xc0"
    assert "…" in letters.beginning(deep)
    inside = msgpack.packb({"a": 1})
    for _ in range(50):
        inside = msgpack.packb({"a": inside})
    assert letters.beginning(inside).startswith('{"a": {"a": ')


@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(["reason", "at", "v"]), st.integers() | st.text()))
def test_whatever_it_is_two_printable_lines_come_of_it(body: bytes, headers: dict[str, object]) -> None:
    told = letters.lines(1, body, headers)
    assert len(told) == 2
    assert all(line.isprintable() for line in told)


def test_a_batch_that_is_sent_back_belongs_to_no_chain_and_gives_no_reason() -> None:
    dead = {"v": 7, "source": "bsky", "after": 12, "reason": "why", "at": AT, "x-death": [], "lang": "tlh"}
    assert letters.headers_of(dead) == {"v": 7, "lang": "tlh"}
    assert letters.headers_of({}) == raw.headers()
    assert raw.link(letters.headers_of(dead)) is None


def run(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.dead_letters", *arguments],
        cwd=ROOT,
        env={**os.environ, "ROOST_OPERATOR_AMQP_URL": url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("url", ["", f"http://operator:{PASSWORD}@localhost/", f"amqp:operator:{PASSWORD}"])
def test_an_address_that_is_none_is_named_and_not_repeated(url: str) -> None:
    ended = run(url=url)
    assert ended.returncode == 2
    assert ended.stderr == (
        "python -m deploy.dead_letters: ROOST_OPERATOR_AMQP_URL: should be amqp://user:password@host:port/vhost\n"
    )


def test_a_broker_that_is_away_is_said_in_one_line() -> None:
    ended = run("--requeue", url=f"amqp://operator:{PASSWORD}@127.0.0.1:9/")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("python -m deploy.dead_letters: not done: ")
    assert "`make status` tells" in line
    assert PASSWORD not in ended.stdout + ended.stderr


def test_the_broker_of_an_operator_need_not_be_one_of_ours() -> None:
    url = f"amqp://somebody:{PASSWORD}@broker.example/"
    environ = {**os.environ, "ROOST_OPERATOR_AMQP_URL": url}
    command = [sys.executable, "-m", "deploy", "amqp-url", "operator"]
    asked = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert asked.stdout == f"{url}\n"


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    assert run("--", number, url="amqp://operator:operator@127.0.0.1:9/").returncode == 2
