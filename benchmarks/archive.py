"""What the archive takes in a second on one core, and how soon it answers.

    python -m benchmarks.archive [--quick] [--json] [--save]

An archive with its default settings has a core to itself; broker and load are on the other one. A million posts with
the statistics of real ones (`benchmarks.posts`; 4 % of the events delete one, 1 % change one) go through the broker,
never so many ahead that its queue would drop any: `inserts_per_s_one_core` is how many the archive commits a second,
its own share of the core is told beside it. Then the last 50 of a label are asked for over the broker, one query
after the other: `p50_ms` and `p99_ms` for terms of three characters and more — words from the most frequent to the
rarest, two of them in a row, pieces of words, and what is in no post —, `short_p99_ms` for one and two, among them an
emoji that hardly any post has. `restart_s` is the time from a SIGKILL under load to the first answer after it.
"""

import asyncio
import os
import signal
import struct
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import BinaryIO

from benchmarks.broker import private_broker
from benchmarks.children import Process, wait_until
from benchmarks.failure import BenchmarkError
from benchmarks.figures import Options, Outcome, log, percentile, rounded, run, share_of_core, table
from benchmarks.machine import cores, cpu_s, description
from benchmarks.posts import START_MS, Posts
from services.archive.settings import MOST_HOURS
from shared import raw
from shared.broker import Channel, connect
from shared.labels import Label
from shared.topology import RAW_EXCHANGE, ROUTER_QUEUE
from tests.support.archive import Asking, asking
from tests.support.broker import Broker, free_port
from tests.support.management import delete_queue
from tests.support.waiting import eventually

BATCH = 300
"""Posts of one message."""
UNDER_LOAD = 3_000
"""Posts that the archive has stored of those that come when it is killed."""
AHEAD = 30_000
"""Posts that may wait for the archive."""
APART_US = 160
"""Between two posts: about 6,000 a second."""
LAST = 50
SHORT = ("e", "a", "q", "z", "7", "th", "xz", "qu", "zz", "pl", "é", "😊", "😭", "🦚", "🪕", "🫠", "日", "試", "日本")
PIECES = "etaoinshrdlu"

_START_S = 30.0
_SIZE = struct.Struct("<II")


class Archive:
    """The archive's process and its folder."""

    def __init__(self, broker: Broker, folder: Path, stack: ExitStack) -> None:
        self._broker = broker
        self._folder = folder
        self._stack = stack
        self.process = self._start()

    def restart(self) -> None:
        """Kill it and start another one, without waiting until that can work."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(_START_S)
        self.process = self._start()

    def await_ready(self) -> None:
        """Wait until it can work."""
        wait_until(self._ready, within_s=_START_S, what="the archive is ready")

    def written(self) -> int:
        """Events that it has committed since its start."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as response:
            for line in response.read().decode().splitlines():
                if line.startswith("roost_archive_written_total "):
                    return int(float(line.split()[1]))
        raise BenchmarkError("the archive does not tell how much it has written")

    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def _start(self) -> Process:
        self._port = free_port()
        values = {
            "amqp_url": self._broker.amqp_url("archive"),
            "ops_port": self._port,
            "folder": self._folder,
            # The posts are of one day long ago.
            "keep_hours": MOST_HOURS,
            "log_level": "warning",
        }
        settings = {f"ROOST_ARCHIVE_{name.upper()}": str(value) for name, value in values.items()}
        command = [sys.executable, "-m", "services.archive"]
        process = Process(command, core=cores().server, name="the archive", settings=settings)
        self._stack.callback(process.end)
        return process

    def _ready(self) -> bool:
        if not self.process.alive():
            raise BenchmarkError(f"the archive has ended: {self.process.log()}")
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2) as response,
        ):
            return bool(response.status == 200)
        return False


def measure(options: Options) -> Outcome:
    """Run it."""
    return asyncio.run(_measure(options))


async def _measure(options: Options) -> Outcome:
    number, later, queries = (20_000, 12_000, 200) if options.quick else (1_000_000, 40_000, 2_000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roost-benchmark-")))
        file = stack.enter_context((folder / "posts").open("w+b"))
        log.info("making up %d posts", number + later)
        posts = Posts()
        _write(posts, file, number + later)
        broker = stack.enter_context(private_broker())
        # No router takes what waits there, and it refuses to be overfull.
        delete_queue(broker, ROUTER_QUEUE)
        archive = Archive(broker, folder / "archive", stack)
        archive.await_ready()
        messages = _read(file)
        rate, share = await _fill(broker, archive, messages, number)
        log.info("%d a second, %.0f %% of the core", rate, share * 100)
        bytes_each = archive.size() / number
        async with asking(broker) as somebody:
            await _ask(somebody, _terms(posts, 50))
            long = await _ask(somebody, _terms(posts, queries))
            short = await _ask(somebody, [*SHORT] * 3)
        restart_s = await _restart(broker, archive, messages)
    figures = {
        "inserts_per_s_one_core": rounded(rate),
        "p50_ms": rounded(percentile(long, 50)),
        "p99_ms": rounded(percentile(long, 99)),
        "short_p99_ms": rounded(percentile(short, 99)),
        "bytes_per_tweet": rounded(bytes_each),
        "restart_s": rounded(restart_s, 2),
    }
    details = {"with": description(), "posts": number, "share_of_core": rounded(share)}
    return Outcome(figures, _table(figures, number, share), details)


async def _fill(
    broker: Broker, archive: Archive, messages: Iterator[tuple[bytes, raw.Link]], number: int
) -> tuple[float, float]:
    """Publish so many posts; returns how many the archive took a second, and its share of the core meanwhile."""
    async with connect(broker.amqp_url("ingest"), name="benchmark") as connection:
        channel = await connection.channel(confirms=True)
        published = written = 0
        began, used = time.perf_counter(), cpu_s(archive.process.pid)
        while written < number:
            while published < min(number, written + AHEAD):
                published += await _publish(channel, *next(messages))
            await asyncio.sleep(0.05)
            written = await asyncio.to_thread(archive.written)
        took, used = time.perf_counter() - began, cpu_s(archive.process.pid) - used
    return number / took, used / took


async def _ask(somebody: Asking, terms: list[str]) -> list[float]:
    """Ask for the last posts with each term; returns how long each took in milliseconds, in order of size."""
    taken = []
    for term in terms:
        key = Label.of("term", term).key
        began = time.perf_counter()
        answer = await somebody.tweets(key, LAST)
        taken.append((time.perf_counter() - began) * 1000)
        if answer.error:
            raise BenchmarkError(f"{key}: {answer.error}")
    return sorted(taken)


async def _restart(broker: Broker, archive: Archive, messages: Iterator[tuple[bytes, raw.Link]]) -> float:
    """Kill the archive under load; returns after how many seconds it answers again."""
    async with connect(broker.amqp_url("ingest"), name="benchmark") as connection, asking(broker) as somebody:
        channel = await connection.channel(confirms=True)

        async def load() -> None:
            for message in messages:
                await _publish(channel, *message)
                await asyncio.sleep(BATCH / 3000)

        loading = asyncio.create_task(load())
        enough = archive.written() + UNDER_LOAD
        await eventually(lambda: archive.written() >= enough, within_s=_START_S, what="the archive stores what comes")
        began = time.perf_counter()
        archive.restart()
        answer = await somebody.tweets("term.the", LAST)
        took = time.perf_counter() - began
        loading.cancel()
        if answer.error:
            raise BenchmarkError(f"after a kill: {answer.error}")
    return took


async def _publish(channel: Channel, body: bytes, link: raw.Link) -> int:
    await channel.publish(RAW_EXCHANGE, body, type=raw.TYPE, headers=raw.headers(link), persistent=True)
    return BATCH


def _write(posts: Posts, file: BinaryIO, number: int) -> None:
    """Write the messages that bring so many posts."""
    for first in range(0, number, BATCH):
        body = raw.pack([raw.entry(posts.draw(), _seq(first + at)) for at in range(BATCH)])
        file.write(_SIZE.pack(first, len(body)) + body)
    file.seek(0)


def _read(file: BinaryIO) -> Iterator[tuple[bytes, raw.Link]]:
    while head := file.read(_SIZE.size):
        first, size = _SIZE.unpack(head)
        yield file.read(size), raw.Link("bench", _seq(first - 1) if first else 0)


def _seq(number: int) -> int:
    return START_MS * 1000 + (number + 1) * APART_US


def _terms(posts: Posts, number: int) -> list[str]:
    """Of three characters and more; a hundredth of all words make up half of all texts."""
    random = Random(number)
    found: list[str] = []
    while len(found) < number:
        word, other = (posts.words[int(len(posts.words) ** random.random()) - 1] for _ in range(2))
        at = random.randrange(max(1, len(word) - 2))
        kinds = (
            word,
            word,
            word,
            f"{word} {other}",
            word[at : at + 3],
            "".join(random.choices(PIECES, k=4)),
            f"xq{word}",
        )
        term = random.choice(kinds)
        if len(term) >= 3:
            found.append(term)
    return found


def _table(figures: dict[str, float], number: int, share: float) -> str:
    rows = [
        ["posts committed a second", f"{figures['inserts_per_s_one_core']:,.0f}"],
        [f"last {LAST} of a term, median, ms", f"{figures['p50_ms']:.3g}"],
        ["99th percentile, ms", f"{figures['p99_ms']:.3g}"],
        ["of one or two characters, 99th percentile, ms", f"{figures['short_p99_ms']:.3g}"],
        ["bytes on the disk for a post", f"{figures['bytes_per_tweet']:,.0f}"],
        ["from a kill to an answer, s", f"{figures['restart_s']:.2g}"],
    ]
    shared = share_of_core("the load generator", 0.0, cores()).splitlines()[1:]
    busy = f"the archive: {share:.0%} of its core while posts came in"
    return "\n".join([table([f"{number:,} posts, one core", ""], rows), busy, *shared])


if __name__ == "__main__":
    run("archive", __doc__ or "", measure)
