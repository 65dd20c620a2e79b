"""Under which keys a version is found, and which keys find a label. Pure.

A label that can be listed has one key. A text has, of each of its words (what stands between spaces) with a space on
either side, every three characters in a row and the last two: " nfl " has " nf", "nfl", "fl ", "l ". So three
characters are one key, and one or two are all keys that begin with them. What stands at a space is a key, too, one
character before it and two after it: these are in few texts, even between words that are in many. Short words in the
sense of `word.…` have a key of their own, for what is in them is in very many others.

Keys only say where to look: whoever finds a version by them asks `Label.matches`.
"""

import re
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

_ASCII_WORDS = re.compile(r"\w+", re.ASCII)

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


def spaces_of(facets: Facets) -> set[str]:
    """The spaces of a version's text, each with the character before it and two after it."""
    text = f"{facets.text} "
    found = set()
    at = text.find(" ", 1)
    while 0 < at < len(text) - 2:
        found.add(text[at - 1 : at + 3])
        at = text.find(" ", at + 1)
    return found


def listed_keys(facets: Facets) -> list[str]:
    """The keys of the labels of a version that can be listed, each once or several times."""
    return [begin + value for family, begin in _listed_families for value in family.values(facets)]


def keys_of(facets: Facets) -> set[str]:
    """All keys of a version."""
    keys = set(listed_keys(facets)).union(*map(keys_of_word, words_of(facets)))
    keys.update(filter(None, map(key_of_space, spaces_of(facets))))
    return keys


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
    pieces = dict.fromkeys(string[at : at + 3] for at in range(len(string) - 2) if string[at + 1] != " ")
    spaces = dict.fromkeys(string[at : at + 4] for at in range(len(string) - 2) if string[at + 1] == " ")
    found = [Lookup(piece) for piece in pieces]
    # Of the last space the second character after it may be missing.
    found += [Lookup(key, whole=len(space) == 4) for space in spaces if (key := key_of_space(space))]
    if found:
        return found
    pairs = dict.fromkeys(string[at : at + 2] for at in range(len(string) - 1)) or [string]
    return [Lookup(pair, whole=False) for pair in pairs if pair.strip(" ")]


def key_of_space(around: str) -> str | None:
    """The key of a space with the character before it and two after it, as text; None beside two spaces.

    Of one character after it: what such keys begin with.
    """
    return None if " " in (around[0], around[2]) else f"{_BETWEEN}{around[0]}{around[2:]}"


def _of_word(word: str) -> list[Lookup]:
    if len(word) <= SHORT_WORD and all(map(is_word_character, word)):
        return [Lookup(_SHORT_WORD + word)]
    return _of_string(word)


def keys_of_word(word: str) -> set[str]:
    """The keys that a version has because of one of its words."""
    padded = f" {word} "
    keys = {padded[at : at + 3] for at in range(len(padded) - 1)}
    if len(word) <= SHORT_WORD or not word.isalpha():
        keys.update([_SHORT_WORD + part for part in _parts(word) if 0 < len(part) <= SHORT_WORD])
    return keys


def _parts(word: str) -> list[str]:
    """What of it is a word in the sense of `word.…`; nothing may be, between two that are none."""
    if word.isascii():
        return _ASCII_WORDS.findall(word)
    return "".join([character if is_word_character(character) else " " for character in word]).split(" ")
