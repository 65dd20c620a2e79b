"""Labels: what a tweet can be found under, as routing key, as URL and as room.

A label is a family and a value: `term` and `nfl`. This package owns every spelling of it,

    routing key   term.nfl       what is bound on the exchange `tweets`
    URL           /nfl           what a person opens
    room          nfl            what Socket.IO events name (the URL without its slash, readable)

and the meaning of each family (`matches`). It is pure: router and gateway use it alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote, unquote_to_bytes

from shared.labels.action import ActionFamily
from shared.labels.author import Author
from shared.labels.everything import Everything
from shared.labels.facets import Facets
from shared.labels.family import EnumerableFamily, Family, LabelError
from shared.labels.has_media import HasMedia
from shared.labels.has_url import HasUrl
from shared.labels.lang import Lang
from shared.labels.tag import Tag
from shared.labels.term import Term
from shared.labels.text import fold
from shared.labels.word import Word

__all__ = [
    "ALL",
    "FAMILIES",
    "EnumerableFamily",
    "Facets",
    "Family",
    "Label",
    "LabelError",
    "families_of_pattern",
    "is_pattern",
    "parse_key",
    "parse_path",
]

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Everything(),
            HasUrl(),
            HasMedia(),
            Term(),
            Word(),
            Tag(),
            Author(),
            Lang(),
            ActionFamily(),
        )
    }
)
"""Every family by its name."""

RESERVED_SEGMENTS = frozenset({"socket.io", "_", "favicon.ico", "robots.txt"})
"""First segments of a URL that the gateway needs for itself."""

MAX_KEY_BYTES = 255
"""AMQP's limit for a routing key, a short string."""

# What would be read as syntax of a topic key, and what one can't see.
_KEY_ESCAPED = re.compile(r"[.*#%\s\x00-\x1f\x7f-\x9f]")
_FIRST_SEGMENTS: dict[str, Family] = {
    segment: family for family in FAMILIES.values() if family.has_room for segment in (family.name, *family.aliases)
}


@dataclass(frozen=True, slots=True)
class Label:
    """One label in canonical form. Make it with `parse_key`, `parse_path` or `Label.of`."""

    family: str
    value: str = ""

    @classmethod
    def of(cls, family: str, value: str = "") -> "Label":
        """The label of `family` for `value` in any spelling; raises `LabelError`."""
        if family not in FAMILIES:
            raise LabelError(f"{family[:20]!a} is no label: they are {', '.join(FAMILIES)}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise LabelError("the text is not valid Unicode") from None
        label = cls(family, FAMILIES[family].canonical(value))
        size = len(label.key.encode())
        if size > MAX_KEY_BYTES:
            raise LabelError(
                f"'{label.value[:20]}…' is too long: its routing key has {size} of {MAX_KEY_BYTES} bytes"
            )
        return label

    @property
    def key(self) -> str:
        """The canonical routing key: `term.super%20bowl`."""
        if not FAMILIES[self.family].takes_value:
            return self.family
        return f"{self.family}.{_KEY_ESCAPED.sub(_percent_encode, self.value)}"

    @property
    def room(self) -> str:
        """The canonical room name, which `parse_path` takes back: `nfl`, `tag/nfl`, `has_url`, `all`."""
        return self._path(self.value.replace("%", "%25").replace("/", "%2F"))

    @property
    def url(self) -> str:
        """The canonical URL path: `/nfl`, `/super%20bowl`; `/` for `all`."""
        if self.family == Everything.name:
            return "/"
        value = quote(self.value, safe="@:$!'()*,;=+&")
        # Browsers take a lone dot segment for a step in the path, also when it is encoded; the space,
        # which no value begins with, keeps it a name.
        return "/" + self._path(f"%20{value}" if value in {".", ".."} else value)

    def matches(self, facets: Facets) -> bool:
        """Whether an event with `facets` has this label: the definition all else must agree with."""
        return FAMILIES[self.family].matches(self.value, facets)

    def _path(self, value: str) -> str:
        if not FAMILIES[self.family].takes_value:
            return self.family
        if self.family == Term.name and self.value not in _FIRST_SEGMENTS and self.value not in RESERVED_SEGMENTS:
            return value
        return f"{self.family}/{value}"


ALL = Label(Everything.name)
"""Every tweet."""


def parse_key(key: str) -> Label:
    """The label that a literal routing key asks for, however it is spelled.

    `term.NFL` and `term.nfl` are one label. Raises `LabelError` for what no tweet is ever published under.
    """
    family, _, value = key.partition(".")
    return Label.of(family, _percent_decode(value))


def parse_path(path: str) -> Label:
    """The label of a URL path or room: `/nfl`, `nfl`, `tag/nfl`, `url`, `""`.

    What is not a family's name is a term: `/ac/dc` asks for the text "ac/dc". Percent-encoding is optional.
    Raises `LabelError` with a message for the person who asked.
    """
    path = path.removeprefix("/").removesuffix("/")
    if not path:
        return ALL
    first, slash, rest = path.partition("/")
    family = _FIRST_SEGMENTS.get(fold(_percent_decode(first)))
    if family is None or (family.takes_value and not rest) or (slash and not family.takes_value):
        return Label.of(Term.name, _percent_decode(path))
    return Label.of(family.name, _percent_decode(rest))


def is_pattern(key: str) -> bool:
    """Whether a binding key has wildcards: a word `*` or `#`."""
    return any(word in {"*", "#"} for word in key.split("."))


def families_of_pattern(pattern: str) -> frozenset[str]:
    """The families whose every label has to be published for the sake of a binding with `pattern`.

    `#` needs `all` alone, which brings each tweet once; `lang.*` needs all languages. Families that are found
    by searching (`term`, `word`) can't be listed, so `term.*` needs nothing: it receives what others ask for.
    """
    words = pattern.split(".")
    if _pattern_admits(words, [Everything.name]):
        return frozenset({Everything.name})
    return frozenset(
        family.name
        for family in FAMILIES.values()
        if isinstance(family, EnumerableFamily)
        and _pattern_admits(words, [family.name, None] if family.takes_value else [family.name])
    )


def _pattern_admits(pattern: list[str], words: list[str | None]) -> bool:
    """Whether a topic pattern can match `words`, in which None stands for any word."""
    if not pattern:
        return not words
    head, tail = pattern[0], pattern[1:]
    if head == "#":
        return any(_pattern_admits(tail, words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and (head == "*" or words[0] in {None, head}) and _pattern_admits(tail, words[1:])


def _percent_encode(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


def _percent_decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise LabelError(f"{text[:20]!a} is not percent-encoded UTF-8") from None
