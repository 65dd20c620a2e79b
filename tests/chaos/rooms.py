"""The rooms of the run, and what a post needs so that it is in some of them. Pure."""

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from shared.labels import parse_path

Fields = dict[str, Any]

NUMBER = 200

_WORDS = 8
_TAGS = 8
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


class Room(NamedTuple):
    """One room."""

    name: str
    """Canonical, as it stands in everything that is sent."""
    kind: str
    """`term`, `word`, `tag`, `url`, `media` or `lang`."""
    value: str = ""


class Content(NamedTuple):
    """What a post says: its text, and the other fields of its record."""

    text: str
    fields: Fields


def content(words: Iterable[str], rooms: Iterable[Room]) -> Content:
    """A post of these words that belongs to these rooms, and to no other of `ROOMS`."""
    parts = list(words)
    fields: Fields = {}
    for number, room in enumerate(rooms):
        if room.kind == "term":
            # Anywhere, in any case: alone, in a hashtag, within a word.
            shape = ("{}", "#{}", "9{}9")[(len(parts[0]) + number) % 3]
            parts.append(shape.format(room.value.title()))
        elif room.kind == "word":
            parts.append(room.value)
        elif room.kind == "tag":
            fields.setdefault("tags", []).append(room.value)
        elif room.kind == "media":
            picture = {"image": {"ref": {"$link": "bafkreichaos"}}, "alt": ""}
            fields["embed"] = {"$type": "app.bsky.embed.images", "images": [picture]}
        elif room.kind == "lang":
            fields["langs"] = [room.value]
    text = " ".join(parts)
    if any(room.kind == "url" for room in rooms):
        link = {"$type": "app.bsky.richtext.facet#link", "uri": "https://example.org/"}
        fields["facets"] = [{"index": {"byteStart": 0, "byteEnd": len(parts[0])}, "features": [link]}]
    return Content(text, fields)


def _rooms() -> tuple[Room, ...]:
    names = _names(NUMBER)
    others = [("url", "has_url", ""), ("media", "has_media", ""), ("lang", "lang/eo", "eo"), ("term", "🦜", "🦜")]
    others += [("word", f"word/{name}", name) for name in names[:_WORDS]]
    others += [("tag", f"tag/{name}", name) for name in names[_WORDS : _WORDS + _TAGS]]
    terms = names[_WORDS + _TAGS : NUMBER - len(others) + _WORDS + _TAGS]
    rooms = [Room(parse_path(path).room, kind, value) for kind, path, value in others]
    return (*rooms, *(Room(parse_path(term).room, "term", term) for term in terms))


def _names(number: int) -> list[str]:
    """Made up, all of one length: none is part of another."""
    source = random.Random(7)
    names: dict[str, None] = {}
    while len(names) < number:
        names["".join(source.choices(_SYLLABLES, k=4))] = None
    return list(names)


ROOMS = _rooms()
"""Of every kind; mostly terms, as people ask for them."""
