"""What one line of X's filtered stream says. Pure.

A line is `{"data": post, "includes": …, "matching_rules": …}`, or `{"errors": […]}` before X ends the connection.
`errors` beside `data` say what of the post could not be given, such as a quoted post that is deleted.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import msgspec

from services.ingest.sources.records import Unreadable
from services.ingest.sources.x_api.payload import Includes, read_post
from shared.events import Tweet, UnreadableError

MAX_TEXT_CHARACTERS = 50_000
"""X's longest posts have 25,000. A much longer text is no post, and would take seconds to be searched for links."""

_MOST_DEPTH = 20
"""What X says of errors is not nested deeper."""


class Complaint(NamedTuple):
    """X says that something is wrong with the connection, and mostly ends it then."""

    text: str
    """One line for people."""


Message = Tweet | Unreadable | Complaint


def read_message(line: bytes, hide: Callable[[str], str] = str) -> Message:
    """What a line says that is not empty. Never raises. `hide` takes out what must not be repeated of it where it is
    no post."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable("not_json", str(error))
    try:
        message = _read(record)
        # Only now, because few lines are no posts. And before anything is cut off what they say.
        return message if isinstance(message, Tweet) else _read(hidden(record, hide))
    except Exception as error:
        # A mistake of ours, which one line must not make the end of the stream.
        return Unreadable("unforeseen", type(error).__name__)


def _read(record: object) -> Message:
    if not isinstance(record, dict):
        return Unreadable("not_an_object", f"a line holds {type(record).__name__}")
    if "data" in record:
        return _read_post(record["data"], record.get("includes"))
    if record.get("errors") or "disconnect_type" in record:
        return Complaint(complaint_of(record))
    return Unreadable("unknown_kind", f"an object with the fields {', '.join(list(record)[:8])[:200]}")


def _read_post(post: object, includes: object) -> Message:
    if _longest_text(post) > MAX_TEXT_CHARACTERS:
        return Unreadable("too_large", f"a text is longer than {MAX_TEXT_CHARACTERS} characters")
    try:
        return read_post(post, Includes(includes))
    except UnreadableError as error:
        return Unreadable("bad_post", str(error))


def _longest_text(post: object) -> int:
    """How many characters the texts of a post have."""
    holders = (post, post.get("note_tweet")) if isinstance(post, dict) else ()
    texts = [holder.get("text") for holder in holders if isinstance(holder, dict)]
    return max((len(text) for text in texts if isinstance(text, str)), default=0)


T = TypeVar("T")


def hidden(value: T, hide: Callable[[str], str]) -> T:
    """`value`, decoded from JSON, with `hide` done to each text in it. What is nested very deeply becomes None."""
    return cast(T, _hidden(value, hide, _MOST_DEPTH))


def _hidden(value: object, hide: Callable[[str], str], depth: int) -> object:
    if isinstance(value, str):
        return hide(value)
    if not isinstance(value, (list, dict)):
        return value
    if not depth:
        return None
    if isinstance(value, list):
        return [_hidden(item, hide, depth - 1) for item in value]
    return {hide(str(name)): _hidden(item, hide, depth - 1) for name, item in value.items()}


def complaint_of(problem: object) -> str:
    """What a problem object of X's API says, as one line of at most 200 characters; empty where it says nothing."""
    if not isinstance(problem, dict):
        return ""
    errors = problem.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    texts: list[str] = []
    for some in (first, problem):
        if isinstance(some, str):
            texts.append(some)
        elif isinstance(some, dict):
            texts += [some[name] for name in ("title", "detail", "message") if isinstance(some.get(name), str)]
        if texts:
            break
    return " ".join("".join(c if c.isprintable() else " " for c in ": ".join(texts)).split())[:200]
