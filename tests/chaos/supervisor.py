"""Services as real processes that are started again whenever they end, as Compose does it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.support.broker import ROOT

START_AGAIN_S = 0.2
END_S = 15.0


class Service:
    """One service, for as long as it is kept."""

    def __init__(self, name: str, kind: str, settings: Mapping[str, object], log: Path) -> None:
        """`kind` is the package below `services`; settings are such as `port=8080`, with `ops_port` among them."""
        self.name = name
        self.kind = kind
        self.port = int(str(settings.get("port", 0)))
        self.ended: list[int] = []
        """Exit codes with which it ended though nobody had ended it."""
        self._ops_port = settings["ops_port"]
        self._log = log
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
        prefix = f"ROOST_{kind.upper()}_"
        self._environ = environ | {prefix + name.upper(): str(value) for name, value in settings.items()}
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False
        self._stopping = False
        self._keeping = asyncio.create_task(self._keep())

    async def ready(self) -> bool:
        """Whether its /readyz says yes."""
        if self._process is None or self._process.returncode is not None:
            return False
        return await asyncio.to_thread(self._says_ready)

    async def kill(self) -> float:
        """SIGKILL: no time to tidy up. Returns the moment."""
        assert self._process is not None, f"{self.name} does not run"
        self._killed = True
        at = time.monotonic()
        self._process.kill()
        return at

    async def stop(self) -> None:
        """End it in good order, and for good; an exit code other than 0 counts as an end of its own."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), END_S)
            except TimeoutError:
                process.kill()
                await process.wait()
            if process.returncode:
                self.ended.append(process.returncode)
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)

    def log(self) -> str:
        """All it has printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def _keep(self) -> None:
        while not self._stopping:
            with self._log.open("ab") as log:
                process = self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    f"services.{self.kind}",
                    cwd=ROOT,
                    env={**self._environ, "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            code = await process.wait()
            if not (self._killed or self._stopping):
                self.ended.append(code)
            self._killed = False
            await asyncio.sleep(START_AGAIN_S)

    def _says_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ops_port}/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False
