"""Under which keys a version is found, and which keys find a label. Pure.

A label that can be listed has one key. A text has, of each of its words (what stands between spaces) with a space on
either side, every three characters in a row and the last two: " nfl " has " nf", "nfl", "fl ", "l ". So three
characters are one key, and one or two are all keys that begin with them. What stands on both sides of a space is a
key, too: it is in few texts, even between words that are in many. Short words in the sense of `word.…` have a key of
their own, for what is in them is in very many others.

Keys only say where to look: whoever finds a version by them asks `Label.matches`.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from shared.events import Action
from shared.labels import FAMILIES, EnumerableFamily, Facets, Label
from shared.labels.action import ActionFamily
from shared.labels.everything import Everything
from shared.labels.term import Term
from shared.labels.text import is_word_character
from shared.labels.word import Word

_LISTED = "\x01"
_SHORT_WORD = "\x02"
_BETWEEN = "\x03"
"""First characters of keys that are not a piece of text as it stands."""

_LAST = "\U0010ffff"

SHORT_WORD = 4
"""Characters of a short word at most."""

CACHED_WORD = 24
"""Longer words are hardly ever the same."""

_listed_families = [
    (family, f"{_LISTED}{name}.")
    for name, family in FAMILIES.items()
    if isinstance(family, EnumerableFamily) and name != Everything.name
]
_FOR_ALL = {Label(Everything.name), Label(ActionFamily.name, Action.CREATE.value)}


class Lookup(NamedTuple):
    """Keys of which a version that has the label has at least one."""

    prefix: str
    """What they begin with."""
    whole: bool = True
    """Whether there is only one, the prefix itself."""

    @property
    def range(self) -> tuple[str, str]:
        """The first and the last key that may be among them."""
        return self.prefix, self.prefix + _LAST * 3


def words_of(facets: Facets) -> set[str]:
    """The words of a version's text: what stands between its spaces."""
    return set(facets.text.split(" ")) if facets.text else set()


def keys_beside_words(facets: Facets) -> set[str]:
    """The keys of a version that are of none of its words: of the labels that can be listed, and of its spaces."""
    keys = {
        f"{_BETWEEN}{word[-1]}{following[0]}"
        for word, following in pairwise(facets.text.split(" "))
        if word and following
    }
    keys.update([begin + value for family, begin in _listed_families for value in family.values(facets)])
    return keys


def keys_of(facets: Facets) -> set[str]:
    """All keys of a version."""
    return keys_beside_words(facets).union(*map(keys_of_word, words_of(facets)))


def lookups(label: Label) -> list[Lookup] | None:
    """All that hold for every version with the label; None where nearly every version has it."""
    if label in _FOR_ALL:
        return None
    if label.family == Term.name:
        return _of_string(label.value)
    if label.family == Word.name:
        return _of_word(label.value)
    return [Lookup(listed_key(label))]


def listed_key(label: Label) -> str:
    """The key of a label that can be listed."""
    return f"{_LISTED}{label.family}.{label.value}"


def _of_string(string: str) -> list[Lookup]:
    pieces = dict.fromkeys(string[at : at + 3] for at in range(len(string) - 2))
    found = [Lookup(key) for key in map(_key_of_piece, pieces) if key]
    if found:
        return found
    pairs = dict.fromkeys(string[at : at + 2] for at in range(len(string) - 1)) or [string]
    return [Lookup(pair, whole=False) for pair in pairs if pair.strip(" ")]


def _key_of_piece(piece: str) -> str | None:
    """The key of three characters in a row; None where there is none, beside two spaces."""
    if piece[1] != " ":
        return piece
    return None if " " in (piece[0], piece[2]) else f"{_BETWEEN}{piece[0]}{piece[2]}"


def _of_word(word: str) -> list[Lookup]:
    if len(word) <= SHORT_WORD and all(map(is_word_character, word)):
        return [Lookup(_SHORT_WORD + word)]
    return _of_string(word)


def keys_of_word(word: str) -> Iterable[str]:
    """The keys that a version has because of one of its words."""
    return _cached(word) if len(word) <= CACHED_WORD else _compute(word)


def _compute(word: str) -> tuple[str, ...]:
    padded = f" {word} "
    keys = {padded[at : at + 3] for at in range(len(padded) - 1)}
    keys.update([_SHORT_WORD + part for part in _parts(word) if 0 < len(part) <= SHORT_WORD])
    return tuple(keys)


def _parts(word: str) -> Iterator[str]:
    """What of it is a word in the sense of `word.…`."""
    if word.isalpha():
        yield word
        return
    begin = 0
    for end, character in enumerate(f"{word} "):
        if not is_word_character(character):
            yield word[begin:end]
            begin = end + 1


_cached = lru_cache(maxsize=100_000)(_compute)
