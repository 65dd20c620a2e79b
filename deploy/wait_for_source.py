"""Waits until a source says that it works: `wait_for_source.py URL SOURCE SECONDS`.

Says from time to time what the source says. Ends with 0 when it is live, or rests because its budget is used up, and
with 1 when it is not in time.
"""

import sys
import time

from deploy import sources

SAY_EVERY_S = 5
LOOK_EVERY_S = 0.5


def main() -> int:
    """Run with the command line's arguments; returns the exit code."""
    url, source, within = sys.argv[1:]
    began = said = time.monotonic()
    print(f"Waiting for the source {source} …", flush=True)
    while (now := time.monotonic()) - began < float(within):
        answer = sources.ask(url)
        said_of_it = [line for line in sources.lines(answer) if line.startswith(f"{sources.HEAD}{source}: ")]
        if sources.states(answer).get(source) in ("live", "spent"):
            print(said_of_it[0].removeprefix(sources.HEAD), flush=True)
            return 0
        if now - said > SAY_EVERY_S:
            said = now
            stage = said_of_it[0].removeprefix(sources.HEAD) if said_of_it else f"{url} has not heard of it yet"
            print(f"  … {now - began:.0f} s: {stage}", flush=True)
        time.sleep(LOOK_EVERY_S)
    return 1


if __name__ == "__main__":
    sys.exit(main())
