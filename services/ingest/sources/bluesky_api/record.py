"""What a post's record on Bluesky (`app.bsky.feed.post`) says: its text, links, tags and media. Pure functions.

A record is what its author's client wrote, and nobody has checked it: whatever a field holds that it should not
is as if the field were not there. Only a post without a text is none.

Choices made here:

- Links and hashtags are those that the record marks (*facets*). The text is not searched for more: Bluesky itself
  shows a link only where a facet is, so a text without facets has none, unlike on X, which leaves `entities` out
  also where nobody has looked.
- Only links of the web are links: `http://` and `https://`.
- A quoted post is no link, because its address is nowhere in the post.
- Pictures and thumbnails have their addresses at Bluesky's own image and video services.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeGuard
from urllib.parse import quote

from services.ingest.sources.urls import MAX_URL_LENGTH
from shared.events import Media, UnreadableError

MOST_TEXT_BYTES = 10_000
"""Bluesky allows 3,000 bytes of UTF-8, and where nobody has checked, a text may be anything."""
MOST_FACETS = 500
"""A post has at most 300 characters that a reader sees; more facets than this are somebody's joke."""
MOST_LINKS = 100
MOST_TAGS = 64
MOST_MEDIA = 20
"""As many as Bluesky's galleries may hold."""
MOST_TAG_CHARACTERS = 640
MOST_ALT_CHARACTERS = 10_000

_WEB_LINK = re.compile(r"https?://[^\s\x00-\x20\x7f<>\"\\^`{|}]+", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}")
_CID = re.compile(r"[A-Za-z0-9]{1,200}")
_CONTINUATION = range(0x80, 0xC0)
"""The bytes of UTF-8 that no character begins with."""


class TooLargeError(UnreadableError):
    """A post that is longer than any that Bluesky would take."""


class Contents(NamedTuple):
    """A record as far as a `Tweet` has room for it."""

    text: str
    lang: str
    created_at: str | None
    """As its author's client wrote it: unchecked. None where there is no string."""
    urls: tuple[str, ...]
    hashtags: tuple[str, ...]
    media: tuple[Media, ...]


def read_record(record: object, did: str) -> Contents:
    """What the record of a post by `did` says; raises `UnreadableError`, or `TooLargeError` of that kind."""
    if not isinstance(record, dict):
        raise UnreadableError(f"a record is {type(record).__name__}")
    text = record.get("text")
    if not isinstance(text, str):
        raise UnreadableError(f"the text of a post is {type(text).__name__}")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise UnreadableError("the text of a post is no Unicode") from None
    if len(encoded) > MOST_TEXT_BYTES:
        raise TooLargeError(f"the text of a post is {len(encoded)} bytes long, and {MOST_TEXT_BYTES} is the most")
    embeds = list(_embeds(record.get("embed")))
    links, tags = _marked(record.get("facets"), encoded)
    links += [link for embed in embeds for link in _external(embed)]
    tags += [tag for tag in _listed(record.get("tags"))[:MOST_TAGS] if _is_tag(tag)]
    created_at = record.get("createdAt")
    return Contents(
        text=text,
        lang=_language(record.get("langs")),
        created_at=created_at if isinstance(created_at, str) else None,
        urls=tuple(dict.fromkeys(links))[:MOST_LINKS],
        hashtags=tuple(dict.fromkeys(tags))[:MOST_TAGS],
        media=tuple(item for embed in embeds for item in _media(embed, did))[:MOST_MEDIA],
    )


def _language(langs: object) -> str:
    """The primary subtag of the first language, in lower case."""
    first = next(iter(_listed(langs)), None)
    primary = first.partition("-")[0] if isinstance(first, str) else ""
    return primary.lower() if _LANGUAGE.fullmatch(primary) else "und"


# Facets


class _Facet(NamedTuple):
    """A part of a text, in bytes of its UTF-8, and what it is."""

    start: int
    end: int
    features: Sequence[object]


def _marked(facets: object, text: bytes) -> tuple[list[str], list[str]]:
    """The links and the tags that facets mark, in the order of the text.

    Where two overlap, the first in the text counts.
    """
    links: list[str] = []
    tags: list[str] = []
    reached = 0
    usable = filter(None, (_facet(item, text) for item in _listed(facets)[:MOST_FACETS]))
    for facet in sorted(usable, key=lambda facet: facet.start):
        if facet.start < reached:
            continue
        reached = facet.end
        for feature in facet.features[:MOST_TAGS]:
            kind, fields = _typed(feature)
            if kind == "app.bsky.richtext.facet#link" and _is_web_link(uri := fields.get("uri")):
                links.append(uri)
            elif kind == "app.bsky.richtext.facet#tag" and _is_tag(tag := fields.get("tag")):
                tags.append(tag)
    return links, tags


def _facet(value: object, text: bytes) -> _Facet | None:
    """The facet, if it marks whole characters of the text and something with them."""
    if not isinstance(value, dict) or not isinstance(index := value.get("index"), dict):
        return None
    start, end, features = index.get("byteStart"), index.get("byteEnd"), value.get("features")
    if not (_is_place(start) and _is_place(end) and isinstance(features, list) and features):
        return None
    if not 0 <= start < end <= len(text):
        return None
    if any(place < len(text) and text[place] in _CONTINUATION for place in (start, end)):
        return None
    return _Facet(start, end, features)


def _is_place(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_web_link(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and len(value) <= MAX_URL_LENGTH
        and bool(_WEB_LINK.fullmatch(value))
        and _encodes(value)
    )


def _is_tag(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str) and 0 < len(value) <= MOST_TAG_CHARACTERS and not value.isspace() and _encodes(value)
    )


# Embeds


def _embeds(embed: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What is embedded: type and fields. Of a quote with media these are the media."""
    kind, fields = _typed(embed)
    if kind == "app.bsky.embed.recordWithMedia":
        kind, fields = _typed(fields.get("media"))
    if kind:
        yield kind, fields


def _external(embed: tuple[str, Mapping[str, Any]]) -> Iterator[str]:
    """The link of a link card."""
    kind, fields = embed
    external = fields.get("external")
    if kind == "app.bsky.embed.external" and isinstance(external, dict) and _is_web_link(uri := external.get("uri")):
        yield uri


def _media(embed: tuple[str, Mapping[str, Any]], did: str) -> Iterator[Media]:
    kind, fields = embed
    if kind == "app.bsky.embed.images":
        images = _listed(fields.get("images"))
    elif kind == "app.bsky.embed.gallery":
        images = _listed(fields.get("items"))
    else:
        images = []
    for image in images[:MOST_MEDIA]:
        if isinstance(image, dict) and (cid := _cid(image.get("image"))):
            url = f"https://cdn.bsky.app/img/feed_thumbnail/plain/{quote(did, safe=':%')}/{cid}@jpeg"
            yield Media(type="photo", url=url, alt=_alt(image))
    if kind == "app.bsky.embed.video" and (cid := _cid(fields.get("video"))):
        type: Literal["video", "animated_gif"] = "animated_gif" if fields.get("presentation") == "gif" else "video"
        url = f"https://video.bsky.app/watch/{quote(did, safe='')}/{cid}/thumbnail.jpg"
        yield Media(type=type, url=url, alt=_alt(fields))


def _cid(blob: object) -> str | None:
    """The content id of a blob; in the oldest records it stands in another place."""
    if not isinstance(blob, dict):
        return None
    ref = blob.get("ref")
    cid = ref.get("$link") if isinstance(ref, dict) else blob.get("cid")
    return cid if isinstance(cid, str) and _CID.fullmatch(cid) else None


def _alt(fields: Mapping[str, Any]) -> str | None:
    """The author's description; an empty one is none."""
    alt = fields.get("alt")
    return alt[:MOST_ALT_CHARACTERS] if isinstance(alt, str) and alt.strip() and _encodes(alt) else None


# Of any shape


def _typed(value: object) -> tuple[str, Mapping[str, Any]]:
    """The type and the fields of an object of a union; no type where it is none."""
    if isinstance(value, dict) and isinstance(kind := value.get("$type"), str):
        return kind, value
    return "", {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _encodes(text: str) -> bool:
    """Whether it is Unicode: JSON can write halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
