"""Waits until a Roost that asks for tokens is ready: `wait_for_readiness.py URL SECONDS [READYZ]…`.

Without a token nobody is shown a tweet there, and Roost makes no tokens, so no tweet can be waited for. What can be
seen from outside: that a gateway answers and asks for a token; and, at each address READYZ, that a service says it
can do its work. Ends with 0 when all of that is so, with 1 when it is not in time.
"""

import sys
import time
import urllib.request

from deploy import sources

SAY_EVERY_S = 5
LOOK_EVERY_S = 0.5


def main() -> int:
    """Run with the command line's arguments; returns the exit code."""
    url, within, *readyz = sys.argv[1:]
    began = said = time.monotonic()
    print("A token is needed to see tweets (ROOST_GATEWAY_AUTH=jwt). Waiting until all is ready …", flush=True)
    while (now := time.monotonic()) - began < float(within):
        missing = _missing(url, readyz)
        if not missing:
            where = "every service says it is ready" if readyz else "`make status` tells of the other services"
            print(f"The gateway asks for a token, and {where}; no tweet was looked for", flush=True)
            return 0
        if now - said > SAY_EVERY_S:
            said = now
            print(f"  … {now - began:.0f} s: {missing}", flush=True)
        time.sleep(LOOK_EVERY_S)
    return 1


def _missing(url: str, readyz: list[str]) -> str:
    """What is not as it should be yet; empty when all is."""
    answer = sources.ask(url)
    if not sources.needs_token(answer):
        return f"{url} does not answer yet" if answer is None else f"{url} asks for no token"
    unready = [address for address in readyz if not _is_ready(address)]
    return f"not ready: {', '.join(unready)}" if unready else ""


def _is_ready(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
