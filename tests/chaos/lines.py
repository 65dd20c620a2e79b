"""How the processes of the run talk: lines of JSON, one way or the other."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tests.support.broker import ROOT

Line = dict[str, Any]

END_S = 10.0
_LONGEST_LINE = 1 << 20


def say(**fields: object) -> None:
    """Say a line."""
    print(json.dumps(fields), flush=True)


async def lines_of_input() -> AsyncIterator[str]:
    """The lines of standard input until its end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode()


class Talker:
    """A process of the run that says lines; it ends when its input does."""

    def __init__(self, process: asyncio.subprocess.Process, on_line: Callable[[Line], None]) -> None:
        self._process = process
        self._reading = asyncio.create_task(self._read(on_line))

    @classmethod
    async def start(cls, module: str, *arguments: object, log: Path, on_line: Callable[[Line], None]) -> "Talker":
        """Run `module`; `on_line` is given what it says, and its standard error goes to a file."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *map(str, arguments),
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("ROOST_")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        return cls(process, on_line)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.returncode is None

    def tell(self, line: str = "") -> None:
        """Give it a line: what it does then is its own affair."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def end(self) -> None:
        """End its input, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def _read(self, on_line: Callable[[Line], None]) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            on_line(json.loads(line))
