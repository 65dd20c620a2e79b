"""Messages of Bluesky's Jetstream as events. Pure functions on what a host sends: no I/O.

A message is JSON: `{"did": …, "time_us": …, "kind": "commit", "commit": {"rev": …, "operation": …, "collection": …,
"rkey": …, "record": …, "cid": …}}`, or of the kinds `identity` and `account`, which come whatever was asked for.

Choices made here:

- A post's id is `bsky:<did>/<rkey>`: both are for ever, where a handle is not.
- A version's `mtime` is the moment in `rev`, which the author's server gave the commit: the same on every host.
  (`time_us` is a host's own clock; it is good for cursors and for nothing else.)
- `created_at` is what the author's client says, if that is not after the commit: posts may be imported with the
  dates they had elsewhere, but none is from the future.
- That an account was deleted, deactivated or taken down does not delete its posts here: Jetstream reports it as one
  message about the account, and which posts were its no message says. A post that is deleted is.
"""

import re
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from services.ingest.sources.bluesky_api.record import Contents, TooLargeError, read_record
from services.ingest.sources.times import iso, parse_iso
from shared.events import Action, Destroy, Tweet, UnreadableError, User

SOURCE = "bsky"
COLLECTION = "app.bsky.feed.post"
"""The collection that posts are in."""

_MOST_US = 2**53
"""The last moment that is a whole number in every language: in the year 2255."""
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]{1,200}")
_RKEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}")
_HANDLE = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+")
_MOST_HANDLE_CHARACTERS = 253
_NO_HANDLE = "handle.invalid"
"""What Bluesky shows for a handle whose domain does not confirm it."""
_TID = re.compile(r"[234567a-j][234567a-z]{12}")
_TID_DIGITS = {digit: value for value, digit in enumerate("234567abcdefghijklmnopqrstuvwxyz")}
_TID_CLOCK_BITS = 10


class Author(NamedTuple):
    """Who wrote a post, as far as that has been looked up."""

    handle: str
    name: str | None = None
    """What the author calls themselves; None where they don't."""
    avatar: str | None = None


class Key(NamedTuple):
    """Names one change of one post, on whichever host it is read."""

    did: str
    rkey: str
    rev: str
    operation: str


class Message(NamedTuple):
    """One readable message of a host."""

    time_us: int
    """Microseconds since the epoch, by the host's clock."""
    did: str
    """Whose repository, or account, it is about."""
    rev_us: int | None = None
    """Microseconds since the epoch at which the author's server made the commit; None where it is none of a post."""
    key: Key | None = None
    """None where it is no change of a post."""
    event: Tweet | Destroy | None = None
    """The change. A tweet's author is still shown by the DID: see `signed`."""
    renamed: bool = False
    """Whether it says that the account's handle has changed, or may have. Which one it says nobody has checked."""


class BadRecordError(UnreadableError):
    """A message that tells its place in the stream, but can't be read otherwise."""

    def __init__(self, detail: str, *, reason: str, message: Message) -> None:
        super().__init__(detail)
        self.reason = reason
        """One of a few fixed words, for counting."""
        self.message = message
        """What of it can be read."""


class _Commit(msgspec.Struct):
    collection: str
    rev: str
    operation: str
    rkey: str
    record: msgspec.Raw = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct):
    did: str
    time_us: int
    kind: str
    commit: msgspec.Raw = msgspec.Raw(b"null")


_envelope = msgspec.json.Decoder(_Envelope)
_commit = msgspec.json.Decoder(_Commit)
_record = msgspec.json.Decoder()


def read_message(body: bytes) -> Message:
    """What a host's message says; raises `UnreadableError`, as `BadRecordError` where it at least tells its place."""
    try:
        envelope = _envelope.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"{error}: {body[:100]!r}") from None
    if not 0 <= envelope.time_us <= _MOST_US:
        raise UnreadableError(f"not a moment: {envelope.time_us}")
    place = Message(time_us=envelope.time_us, did=envelope.did)
    if not is_did(envelope.did):
        raise BadRecordError(f"not a DID: {envelope.did[:100]!r}", reason="bad_did", message=place)
    try:
        if envelope.kind == "commit":
            return _read_commit(place, _commit.decode(envelope.commit))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecordError(str(error), reason="bad_commit", message=place) from None
    except TooLargeError as error:
        raise BadRecordError(str(error), reason="too_large", message=place) from None
    except UnreadableError as error:
        raise BadRecordError(str(error), reason="bad_post", message=place) from None
    if envelope.kind == "identity":
        return place._replace(renamed=True)
    if envelope.kind != "account":
        raise BadRecordError(f"a message of the kind {envelope.kind[:100]!r}", reason="unknown_kind", message=place)
    return place


def signed(tweet: Tweet, author: Author | None) -> Tweet:
    """The tweet with its author's names; without an author they stay the DID."""
    if author is None:
        return tweet
    did = tweet.user.id
    return msgspec.structs.replace(
        tweet,
        url=_address(author.handle, tweet.id.rpartition("/")[2]),
        user=User(id=did, screen_name=author.handle, name=author.name or author.handle, avatar=author.avatar),
    )


def is_did(text: str) -> bool:
    """Whether that can be the permanent id of an account."""
    return bool(_DID.fullmatch(text))


def valid_handle(handle: object) -> str | None:
    """The handle as it is shown, or None for what is none."""
    if not isinstance(handle, str) or len(handle) > _MOST_HANDLE_CHARACTERS:
        return None
    lower = handle.lower()
    return lower if _HANDLE.fullmatch(lower) and lower != _NO_HANDLE else None


def tid_us(tid: str) -> int:
    """The moment in a timestamp identifier, in microseconds since the epoch; raises `UnreadableError`."""
    if not _TID.fullmatch(tid):
        raise UnreadableError(f"not a timestamp identifier: {tid[:40]!r}")
    number = 0
    for digit in tid:
        number = number << 5 | _TID_DIGITS[digit]
    return number >> _TID_CLOCK_BITS


def _read_commit(place: Message, commit: _Commit) -> Message:
    if commit.collection != COLLECTION:
        return place
    if not _RKEY.fullmatch(commit.rkey):
        raise UnreadableError(f"not a record key: {commit.rkey[:100]!r}")
    rev_us = tid_us(commit.rev)
    did, mtime = place.did, rev_us // 1000
    id = f"{SOURCE}:{did}/{commit.rkey}"
    event: Tweet | Destroy
    if commit.operation == "delete":
        event = Destroy(id=id, mtime=mtime)
    elif commit.operation in ("create", "update"):
        contents = read_record(_record.decode(commit.record), did)
        event = Tweet(
            action=Action.CREATE if commit.operation == "create" else Action.UPDATE,
            id=id,
            mtime=mtime,
            source=SOURCE,
            url=_address(did, commit.rkey),
            text=contents.text,
            lang=contents.lang,
            created_at=_created_at(contents, mtime),
            user=User(id=did, screen_name=did, name=did),
            urls=contents.urls,
            hashtags=contents.hashtags,
            media=contents.media,
        )
    else:
        raise UnreadableError(f"an operation {commit.operation[:40]!r}")
    key = Key(did, commit.rkey, commit.rev, commit.operation)
    return place._replace(rev_us=rev_us, key=key, event=event)


def _created_at(contents: Contents, mtime: int) -> str:
    try:
        said = parse_iso(contents.created_at or "")
        return iso(said if said <= mtime else mtime)
    except (ValueError, OverflowError):
        return iso(mtime)


def _address(who: str, rkey: str) -> str:
    return f"https://bsky.app/profile/{quote(who, safe=':')}/post/{rkey}"
