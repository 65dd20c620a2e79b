"""Posts of the X API v2 as events. Pure functions on decoded JSON: no I/O, and no knowledge of who calls.

What X sends is an object `{"data": post or [posts], "includes": {"users": […], "media": […]}, …}`; see
`Includes` and `read_post`.

Choices made here:

- A post keeps one id over its edits: `x:` and the first of its `edit_history_tweet_ids`. Each edit has an id
  of its own at X, and the moment inside that id is the version's `mtime`: the same wherever it is read from.
- X escapes `&`, `<` and `>` in texts, and nothing else. That is undone, so that "R&B" is found as it is read.
- `urls` are what `entities.urls` say, links to the post's own media and to quoted posts included. Only a post
  without `entities` is searched for links and hashtags; X leaves the field out also where there are none.
- A repost is what X makes of it, "RT @…" cut at 140 characters, with the entities of that text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeVar

import msgspec

from services.ingest.sources.decoding import convert
from services.ingest.sources.hashtags import find_hashtags
from services.ingest.sources.times import iso, parse_iso
from services.ingest.sources.urls import find_links
from shared.events import Action, Destroy, Media, Tweet, UnreadableError, User

SOURCE = "x"

_SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
_FIRST_SNOWFLAKE = 29_700_859_247
"""Ids below this one are older than November 2010 and carry no time."""
_EDIT_WINDOW_MS = 3_600_000
"""How long X lets a post be edited."""

TWEET_FIELDS = (
    "author_id",
    "created_at",
    "lang",
    "edit_history_tweet_ids",
    "entities",
    "note_tweet",
    "attachments",
)
"""The fields of a post that an event needs, beside those that X always sends, `id` and `text`."""
USER_FIELDS = ("profile_image_url",)
"""The same of its author; X always sends `id`, `username` and `name`."""
MEDIA_FIELDS = ("url", "preview_image_url", "alt_text")
"""The same of its media; X always sends `media_key` and `type`."""
EXPANSIONS = ("author_id", "attachments.media_keys")
"""What X puts into `includes`. Not the posts that are quoted or answered: each would be paid for, and the link to a
quoted one, with its author's name in it, is among `entities.urls` already."""

MediaType = Literal["photo", "video", "animated_gif"]
_MEDIA_KEY_TYPES: dict[str, MediaType] = {
    "3": "photo",
    "7": "video",
    "13": "video",
    "16": "animated_gif",
}


class _Url(msgspec.Struct):
    url: str
    expanded_url: str | None = None
    unwound_url: str | None = None
    start: int | None = None
    end: int | None = None


class _Hashtag(msgspec.Struct):
    tag: str
    start: int | None = None


class _Entities(msgspec.Struct):
    urls: list[_Url] | None = None
    hashtags: list[_Hashtag] | None = None


class _NoteTweet(msgspec.Struct):
    text: str
    entities: _Entities | None = None


class _Attachments(msgspec.Struct):
    media_keys: list[str] | None = None


class _Post(msgspec.Struct):
    id: str
    text: str
    author_id: str | None = None
    created_at: str | None = None
    lang: str | None = None
    edit_history_tweet_ids: list[str] | None = None
    entities: _Entities | None = None
    note_tweet: _NoteTweet | None = None
    attachments: _Attachments | None = None


class _User(msgspec.Struct):
    id: str
    username: str
    name: str
    profile_image_url: str | None = None


class _Media(msgspec.Struct):
    media_key: str
    type: str
    url: str | None = None
    preview_image_url: str | None = None
    alt_text: str | None = None


class _Compliance(msgspec.Struct):
    id: str
    action: Literal["delete"]
    created_at: str | None = None
    redacted_at: str | None = None


class Includes:
    """What X sends beside the posts, by id. An entry that can't be read is as if it were not there."""

    def __init__(self, includes: object = None) -> None:
        """`includes` is the field of that name, or None."""
        fields = includes if isinstance(includes, Mapping) else {}
        self._users = {user.id: user for user in _readable(fields.get("users"), _User)}
        self._media = {media.media_key: media for media in _readable(fields.get("media"), _Media)}

    def author(self, id: str | None) -> User:
        """The user with this id. An unknown one has no screen name, and the id for a name."""
        user = self._users.get(id or "")
        if user is None:
            return User(id=id or "", screen_name="", name=id or "")
        return User(id=user.id, screen_name=user.username, name=user.name, avatar=user.profile_image_url)

    def media(self, key: str) -> Media:
        """The attachment with this key. Of an unknown one the key itself tells the type."""
        media = self._media.get(key)
        kind = _MEDIA_KEY_TYPES.get(key.partition("_")[0], "photo")
        if media is None:
            return Media(type=kind)
        return Media(
            # X has these three types; a new one is shown as what its key begins like.
            type=media.type if media.type in _MEDIA_KEY_TYPES.values() else kind,  # type: ignore[arg-type]
            url=media.url or media.preview_image_url,
            alt=media.alt_text,
        )


def read_post(post: object, includes: Includes) -> Tweet:
    """The version of a tweet that a post object of the API is; raises `UnreadableError`."""
    fields = convert(post, _Post)
    first, *_ = fields.edit_history_tweet_ids or [fields.id]
    created_ms = _moment(first, fields.created_at if first == fields.id else None)
    mtime = created_ms if first == fields.id else _moment(fields.id, fields.created_at)
    author = includes.author(fields.author_id)
    text = _unescape(fields.note_tweet.text if fields.note_tweet else fields.text)
    urls, hashtags = _entities(fields, text)
    return Tweet(
        action=Action.CREATE if first == fields.id else Action.UPDATE,
        id=f"x:{first}",
        mtime=mtime,
        source=SOURCE,
        url=f"https://x.com/{author.screen_name or 'i'}/status/{fields.id}",
        text=text,
        lang=fields.lang or "und",
        created_at=iso(created_ms),
        user=author,
        urls=urls,
        hashtags=hashtags,
        media=tuple(map(includes.media, (fields.attachments and fields.attachments.media_keys) or ())),
    )


def read_compliance(record: object) -> Destroy:
    """The deletion that a record of X's compliance jobs reports; raises `UnreadableError`.

    `redacted_at` is the moment of the deletion; `created_at` is the post's own. Where the first is missing
    the deletion counts as made when the post could no longer be edited, so that it outranks every version
    and is the same each time.
    """
    fields = convert(record, _Compliance)
    created_ms = _moment(fields.id, fields.created_at)
    mtime = _parse(fields.redacted_at) if fields.redacted_at else created_ms + _EDIT_WINDOW_MS
    return Destroy(id=f"x:{fields.id}", mtime=mtime)


def _moment(id: str, created_at: str | None) -> int:
    """When the post with this id was made, in milliseconds since the epoch."""
    if not (id.isascii() and id.isdigit() and len(id) <= 19):
        raise UnreadableError(f"not the id of a post: {id[:40]!r}")
    if int(id) >= _FIRST_SNOWFLAKE:
        return (int(id) >> 22) + _SNOWFLAKE_EPOCH_MS
    if created_at is None:
        raise UnreadableError(f"post {id} is older than ids with a time, and has no created_at")
    return _parse(created_at)


def _parse(moment: str) -> int:
    try:
        return max(0, parse_iso(moment))
    except ValueError:
        raise UnreadableError(f"not a moment: {moment[:40]!r}") from None


def _entities(post: _Post, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The expanded links and the hashtags of a post whose whole text is `text`."""
    entities = [post.note_tweet.entities if post.note_tweet else None, post.entities]
    known = [some for some in entities if some is not None]
    if not known:
        links = find_links(text)
        return tuple(link.url for link in links), find_hashtags(text, links)
    whole, *beginning = known
    # The beginning of a long post repeats the links of the whole, and adds those to its media.
    repeated = {url.url for url in whole.urls or ()}
    urls = sorted(whole.urls or (), key=_start)
    urls += [url for some in beginning for url in some.urls or () if url.url not in repeated]
    hashtags = sorted(whole.hashtags or (), key=_start)
    return tuple(map(_expanded, _distinct(urls))), tuple(hashtag.tag for hashtag in hashtags)


def _start(entity: _Url | _Hashtag) -> int:
    return entity.start or 0


def _expanded(url: _Url) -> str:
    return url.unwound_url or url.expanded_url or url.url


def _distinct(urls: Iterable[_Url]) -> Iterator[_Url]:
    """One for each place in the text: four pictures are four entries for one."""
    places = set()
    for url in urls:
        place = (url.url, url.start)
        if url.start is None or place not in places:
            yield url
        places.add(place)


def _unescape(text: str) -> str:
    if "&" not in text:
        return text
    return re.sub("&(amp|lt|gt);", lambda match: {"amp": "&", "lt": "<", "gt": ">"}[match[1]], text)


_T = TypeVar("_T")


def _readable(entries: object, kind: type[_T]) -> list[_T]:
    """Those of `entries` that are of that kind."""
    found = []
    for entry in entries if isinstance(entries, list) else ():
        try:
            found.append(convert(entry, kind))
        except UnreadableError:
            continue
    return found
