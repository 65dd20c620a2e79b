"""Making events for tests."""

import itertools
import time
from typing import Any

from shared.events import Action, Destroy, Media, Tweet, User

_numbers = itertools.count(1)


def tweet(text: str, **fields: Any) -> Tweet:
    """A new tweet; `fields` are those of `Tweet`, and `screen_name` for the author."""
    number = next(_numbers)
    screen_name = fields.pop("screen_name", "somebody")
    values: dict[str, Any] = {
        "id": f"test:{time.time_ns()}-{number}",
        "mtime": time.time_ns() // 1_000_000,
        "source": "test",
        "url": f"https://example.org/status/{number}",
        "lang": "en",
        "created_at": "2026-01-02T03:04:05Z",
        "user": User(id=screen_name, screen_name=screen_name, name=screen_name.title()),
    }
    return Tweet(text=text, **(values | fields))


def edited(original: Tweet, text: str, *, later_ms: int = 1000) -> Tweet:
    """A later version of a tweet."""
    return tweet(text, id=original.id, mtime=original.mtime + later_ms, action=Action.UPDATE, user=original.user)


def deleted(original: Tweet, *, later_ms: int = 2000) -> Destroy:
    """The end of a tweet."""
    return Destroy(id=original.id, mtime=original.mtime + later_ms)


PHOTO = Media(type="photo", url="https://example.org/photo.jpg", alt="a bird")
