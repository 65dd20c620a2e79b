"""Which of the wanted routing keys the events of a batch have: the hot path of the router. Pure.

Labels that can be listed (hashtags, language, …) are looked up, in the columns of those families alone that somebody
wants. Terms and words, of which a text contains more than anyone could list, are searched for all at once, and in all
texts of the batch at once.
"""

from collections.abc import Hashable
from functools import lru_cache
from operator import itemgetter

from services.router.strings import Strings
from shared.labels import (
    FAMILIES,
    EnumerableFamily,
    Label,
    LabelError,
    families_of_pattern,
    is_pattern,
    parse_key,
)
from shared.labels.family import MAX_VALUE_CHARACTERS
from shared.labels.term import Term
from shared.labels.text import contains_word
from shared.labels.word import Word
from shared.raw import TEXT_END, Batch

_START = itemgetter(1)
"""Where an occurrence starts."""

Keys = dict[str, None]
"""Routing keys as they were bound, in the order of binding: `term.nfl`, `term.NFL`."""


class TooManyTermsError(Exception):
    """No more terms are searched for; the key waits until others are gone."""


class Matcher:
    """The routing keys that are wanted now, and which of them events have."""

    def __init__(self, *, max_terms: int) -> None:
        self._max_terms = max_terms
        self._listed: dict[str, dict[str, Keys]] = {
            name: {} for name, family in FAMILIES.items() if isinstance(family, EnumerableFamily)
        }
        self._patterns: dict[str, set[str]] = {name: set() for name in self._listed}
        self._terms: dict[str, Keys] = {}
        self._words: dict[str, Keys] = {}
        self._waiting: dict[Label, Keys] = {}
        self._strings = Strings()

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
            self._strings.add(label.value)
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
                if label.value not in self._terms and label.value not in self._words:
                    self._strings.discard(label.value)
                self._admit_next()

    def keys_of(self, batch: Batch) -> dict[int, list[str]]:
        """The wanted routing keys of those events in a batch that have any, sorted, by the event's place in it.

        Raises `UnreadableError` for a batch of which a column that is needed can't be read.
        """
        found: dict[int, Keys] = {}
        self._look_up(batch, found)
        if self.terms:
            self._search(batch.texts, found)
        return {place: sorted(keys) for place, keys in found.items()}

    def improve(self, *, at_rest: bool = False) -> bool:
        """One step of bringing new terms to where they are found quicker, of some milliseconds: see `Strings`."""
        return self._strings.improve(at_rest=at_rest)

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

    def _look_up(self, batch: Batch, found: dict[int, Keys]) -> None:
        """Find the labels of those families that can be listed and that somebody wants."""
        for name, values in self._listed.items():
            if not values and not self._patterns[name]:
                continue
            family = FAMILIES[name]
            assert isinstance(family, EnumerableFamily)
            column = batch.column(family.facet)
            # What an event has there many others have, too: each is looked up once.
            wanted = {facet: keys for facet in set(column) if (keys := self._listed_keys(family, facet))}
            if wanted:
                for place, facet in enumerate(column):
                    if facet in wanted:
                        found.setdefault(place, {}).update(wanted[facet])

    def _listed_keys(self, family: EnumerableFamily, facet: Hashable) -> Keys:
        values, whole = self._listed[family.name], bool(self._patterns[family.name])
        keys: Keys = {}
        for value in family.values_of(facet):
            keys.update(values.get(value, ()))
            if whole and len(value) <= MAX_VALUE_CHARACTERS and (key := _canonical_key(family.name, value)):
                keys[key] = None
        return keys

    def _search(self, texts: bytes, found: dict[int, Keys]) -> None:
        """Find terms and words."""
        at = place = 0
        """How many texts end before where we are."""
        done: set[tuple[int, str]] = set()
        for string, start, _ in sorted(self._strings.find(texts, TEXT_END), key=_START):
            place += texts.count(TEXT_END, at, start)
            at = start
            if (place, string) in done:
                continue
            done.add((place, string))
            if string in self._terms:
                found.setdefault(place, {}).update(self._terms[string])
            if string in self._words and contains_word(_text_around(texts, start), string):
                found.setdefault(place, {}).update(self._words[string])


def _text_around(texts: bytes, at: int) -> str:
    """The one of some texts that has a byte; what is not UTF-8 in it is left out."""
    begin = texts.rfind(TEXT_END, 0, at) + 1
    return texts[begin : texts.find(TEXT_END, at)].decode(errors="ignore")


@lru_cache(maxsize=10_000)
def _canonical_key(family: str, value: str) -> str | None:
    """The key of a value that an event has; None where it is too long or strange to be one."""
    try:
        return Label.of(family, value).key
    except LabelError:
        return None
