"""How a process of a benchmark is told what to do: a line of JSON in, a line of JSON out.

The process first says `{"port": …, "pid": …}`. Each command is `{"do": name, …}`, answered with one object; one that
fails is answered with `{"error": …}`. At the end of its input the process ends, so that nothing outlives the
benchmark.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any

Answer = dict[str, Any]
"""What a command answers."""

Commands = Mapping[str, Callable[..., Awaitable[Answer]]]
"""Commands by name; the other fields of a line are their keyword arguments."""

_LONGEST_LINE = 1 << 24


def own_output() -> IO[str]:
    """The standard output for answers alone: what libraries print goes to standard error from now on."""
    output = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return output


async def obey(output: IO[str], commands: Commands, *, port: int = 0) -> None:
    """Say where we are and do what standard input says, one command after the other, until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"port": port, "pid": os.getpid()}), file=output)
    while line := await reader.readline():
        arguments = json.loads(line)
        try:
            answer = await commands[arguments.pop("do")](**arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=output)


async def paced(turn: Callable[[int], Awaitable[None]], *, times: int, every_ms: float) -> None:
    """Do `turn(number)` `times` times, one every `every_ms`; one that takes longer puts off those after it."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number in range(times):
        await asyncio.sleep(max(0.0, due - loop.time()))
        due = max(due, loop.time() - every_ms / 1000) + every_ms / 1000
        await turn(number)
