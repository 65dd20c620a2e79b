"""`python -m services.ingest.forget ID…`: take tweets off every page, whatever their source says.

X does not tell of deletions, so somebody has to: `make forget ID=x:1377…` publishes a destroy for each id. It goes
the way of all events; a tweet is gone from every page that shows it, and is not shown again by a late copy.
"""

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Sequence

from services.ingest.pump import SequenceClock
from services.ingest.settings import IngestSettings
from shared import raw
from shared.broker import BrokerLostError, RefusedError, connect
from shared.events import Destroy
from shared.settings import BAD_SETTING_EXIT_CODE, BadSettingError, load
from shared.topology import RAW_EXCHANGE

_ID = re.compile(r"[a-z][a-z0-9_-]*:[!-~]{1,600}")
_X_POST = re.compile(r"https://(?:www\.)?(?:x|twitter)\.com/[^/]+/status/(\d+)")
_BLUESKY_POST = re.compile(r"https://bsky\.app/profile/(did:[^/]+)/post/([^/?#]+)")

PATIENCE_S = 10.0


def id_of(text: str) -> str:
    """The id that `text` names: an id as in an event, or the address of a post; raises `ValueError`."""
    text = text.strip()
    if post := _X_POST.match(text):
        # An edited post has the id of its first version, and its address may have a later one.
        return f"x:{post[1]}"
    if post := _BLUESKY_POST.match(text):
        return f"bsky:{post[1]}/{post[2]}"
    if text.startswith("https:") or not _ID.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no id: it should be as in an event, x:1377650090978992134")
    return text


async def forget(amqp_url: str, ids: Sequence[str]) -> None:
    """Publish a destroy of each id, made now; raises `BrokerLostError`, `RefusedError`."""
    clock = SequenceClock()
    now_ms = time.time_ns() // 1_000_000
    body = raw.pack([raw.entry(Destroy(id=id, mtime=now_ms), clock.next()) for id in ids])
    async with connect(amqp_url, name="forget") as connection:
        channel = await connection.channel(confirms=True)
        await channel.publish(
            RAW_EXCHANGE, body, type=raw.TYPE, headers=raw.headers(), persistent=True, to_some_queue=True
        )


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.ingest.forget", description=__doc__)
    parser.add_argument("id", nargs="+", help="the id of a tweet, as in its event: x:1377650090978992134")
    arguments = parser.parse_args()
    try:
        ids = [id_of(text) for text in arguments.id]
        url = load(IngestSettings).amqp_url
    except (ValueError, BadSettingError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_SETTING_EXIT_CODE
    try:
        asyncio.run(asyncio.wait_for(forget(url, ids), PATIENCE_S))
    except (BrokerLostError, RefusedError, TimeoutError) as error:
        print(f"{parser.prog}: not done: {error or 'the broker does not answer'}", file=sys.stderr)
        return 1
    for id in ids:
        print(f"{id} is to be forgotten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
