"""Hashtags in a text, for posts whose source does not say which they have.

The rules are twitter-text's: `#` or `＃`, then letters, marks, digits, `_` and a few joiners of any script with
at least one letter among them; not in the middle of a word, not in a link.
"""

import unicodedata
from collections.abc import Iterator

from services.ingest.sources.urls import Link, find_links

_SIGNS = "#＃"
_JOINERS = frozenset(
    "_\u200c\u200d\ua67e\u05be\u05f3\u05f4\uff5e\u301c\u309b\u309c\u30a0\u30fb\u3003\u0f0b\u0f0c\u00b7"
)
_VARIATION_SELECTORS = "\ufe0e\ufe0f"


def find_hashtags(text: str, links: list[Link] | None = None) -> tuple[str, ...]:
    """The hashtags in `text`, in order and without `#`. `links` are `find_links(text)` if known already."""
    if not any(sign in text for sign in _SIGNS):
        return ()
    inside = find_links(text) if links is None else links
    return tuple(
        text[start + 1 : end]
        for start, end in _candidates(text)
        if not any(link.start <= start < link.end for link in inside)
    )


def _candidates(text: str) -> Iterator[tuple[int, int]]:
    position = 0
    while position < len(text):
        start, position = position, position + 1
        if text[start] not in _SIGNS:
            continue
        while position < len(text) and _continues(text[position]):
            position += 1
        body = text[start + 1 : position]
        if not any(unicodedata.category(character)[0] in "LM" for character in body):
            continue
        # `#` behind it means that this isn't a tag but a chain; `://` that it is a protocol; and U+FE0F
        # after the sign makes the sign an emoji.
        if text.startswith(("#", "＃", "://"), position) or body[0] in _VARIATION_SELECTORS + "\u20e3":
            continue
        if start and text[start - 1] not in _VARIATION_SELECTORS and _blocks(text[start - 1]):
            continue
        yield start, position


def _continues(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character)[0] in "LM" or character.isdecimal()


def _blocks(character: str) -> bool:
    """Whether no hashtag can begin directly after `character`."""
    return character == "&" or _continues(character)
