"""Who writes the demo's posts: a few hundred invented people, some of whom write a lot."""

from collections.abc import Sequence
from random import Random
from zlib import crc32

from services.ingest.sources.demo.grammar import Zipf, words
from shared.events import User

AVATARS = 12
"""So many pictures there are for them, `0.svg` to `11.svg` among the gateway's static files."""

_FIRST = words("cedar,amber,quiet,river,pixel,copper,lunar,maple,north,velvet,sunny,rusty,tidal,paper,mossy")
_SECOND = words("fox,kite,heron,bagel,comet,otter,teapot,sparrow,lantern,turtle,radio,violet,cactus,moth")


def make_authors(lang: str, names: Sequence[str], count: int, random: Random) -> Zipf[User]:
    """`count` authors with display names like `names`, the most talkative first."""
    authors = []
    for number in range(count):
        handle = f"{random.choice(_FIRST)}_{random.choice(_SECOND)}{number or ''}"
        screen_name = handle if lang == "en" else f"{handle}_{lang}"
        authors.append(
            User(
                id=f"demo-{lang}-{number}",
                screen_name=screen_name,
                name=names[number % len(names)],
                avatar=f"/_/static/avatars/{crc32(screen_name.encode()) % AVATARS}.svg",
            )
        )
    return Zipf(authors, offset=5)
