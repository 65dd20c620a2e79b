"""Which of the wanted routing keys an event has: the hot path of the router. Pure.

Labels that can be listed (hashtags, language, …) are looked up. Terms and words, of which a text contains
more than anyone could list, are searched for all at once by an Aho-Corasick automaton.
"""

from functools import lru_cache

from ahocorasick_rs import AhoCorasick

from shared.labels import (
    FAMILIES,
    EnumerableFamily,
    Facets,
    Label,
    LabelError,
    families_of_pattern,
    is_pattern,
    parse_key,
)
from shared.labels.family import MAX_VALUE_CHARACTERS
from shared.labels.term import Term
from shared.labels.text import stands_alone
from shared.labels.word import Word

Keys = dict[str, None]
"""Routing keys as they were bound, in the order of binding: `term.nfl`, `term.NFL`."""


WINDOW_CHARACTERS = 2000
"""How much of a text is searched at a time."""


class TooManyTermsError(Exception):
    """No more terms are searched for; the key waits until others are gone."""


class Matcher:
    """The routing keys that are wanted now, and which of them an event has."""

    def __init__(self, *, max_terms: int) -> None:
        self._max_terms = max_terms
        self._listed: dict[str, dict[str, Keys]] = {
            name: {} for name, family in FAMILIES.items() if isinstance(family, EnumerableFamily)
        }
        self._patterns: dict[str, set[str]] = {name: set() for name in self._listed}
        self._terms: dict[str, Keys] = {}
        self._words: dict[str, Keys] = {}
        self._waiting: dict[Label, Keys] = {}
        self._automaton: AhoCorasick | None = None
        self._strings: list[str] = []
        self._stale = False

    def want(self, key: str) -> None:
        """From now on find `key`, a literal routing key or a pattern.

        Raises `LabelError` where it asks for nothing that Roost has, `TooManyTermsError` where it has to wait.
        """
        if is_pattern(key):
            for name in families_of_pattern(key):
                self._patterns[name].add(key)
            return
        label = parse_key(key)
        searched = self._searched(label)
        if searched is None:
            self._listed[label.family].setdefault(label.value, {})[key] = None
            return
        if label.value not in searched:
            if len(self._terms) + len(self._words) >= self._max_terms:
                self._waiting.setdefault(label, {})[key] = None
                raise TooManyTermsError(f"{self._max_terms} terms are searched for already")
            searched[label.value] = {}
            self._stale = True
        searched[label.value][key] = None

    def unwant(self, key: str) -> None:
        """Undo `want(key)`, whatever came of it."""
        if is_pattern(key):
            for patterns in self._patterns.values():
                patterns.discard(key)
            return
        try:
            label = parse_key(key)
        except LabelError:
            return
        if label in self._waiting:
            self._waiting[label].pop(key, None)
            if not self._waiting[label]:
                del self._waiting[label]
            return
        searched = self._searched(label)
        values = self._listed[label.family] if searched is None else searched
        keys = values.get(label.value)
        if keys is None or key not in keys:
            return
        del keys[key]
        if not keys:
            del values[label.value]
            if searched is not None:
                self._stale = True
                self._admit_next()

    def keys_of(self, facets: Facets) -> list[str]:
        """The wanted routing keys that an event with `facets` has, each once."""
        found: Keys = {}
        for name, values in self._listed.items():
            whole = bool(self._patterns[name])
            if not values and not whole:
                continue
            family = FAMILIES[name]
            assert isinstance(family, EnumerableFamily)
            for value in family.values(facets):
                if value in values:
                    found.update(values[value])
                if whole and (key := _canonical_key(name, value)):
                    found[key] = None
        if facets.text and (self._terms or self._words):
            self._search(facets.text, found)
        return list(found)

    @property
    def terms(self) -> int:
        """How many strings are searched for."""
        return len(self._terms) + len(self._words)

    def _admit_next(self) -> None:
        """There is a place: the label that has waited longest gets it, in all its spellings."""
        label = next(iter(self._waiting), None)
        if label is not None:
            for key in self._waiting.pop(label):
                self.want(key)

    def _searched(self, label: Label) -> dict[str, Keys] | None:
        if label.family == Term.name:
            return self._terms
        return self._words if label.family == Word.name else None

    def _search(self, text: str, found: Keys) -> None:
        if self._stale or self._automaton is None:
            self._strings = list(self._terms.keys() | self._words.keys())
            self._automaton = AhoCorasick(self._strings)
            self._stale = False
        seen: set[int] = set()
        # The automaton lists every occurrence at once, which for nested terms in a long text are very many. Windows
        # that overlap by the longest term bound the list.
        for offset in range(0, len(text), WINDOW_CHARACTERS):
            window = text[offset : offset + WINDOW_CHARACTERS + MAX_VALUE_CHARACTERS]
            for index, start, end in self._automaton.find_matches_as_indexes(window, overlapping=True):
                string = self._strings[index]
                if index not in seen:
                    seen.add(index)
                    found.update(self._terms.get(string, ()))
                if string in self._words and stands_alone(text, offset + start, offset + end):
                    found.update(self._words[string])


@lru_cache(maxsize=10_000)
def _canonical_key(family: str, value: str) -> str | None:
    """The key of a value that an event has; None where it is too long or strange to be one."""
    try:
        return Label.of(family, value).key
    except LabelError:
        return None
