"""Tweets, and terms of which it is known exactly which tweets have them.

Tweets are `benchmarks.posts`, without deletions, as these have no text. Terms are words and pairs of words that
follow each other, a few frequent and most rare. Which tweets have a term is found out text by text, and not with the
router's code.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgpack
from ahocorasick_rs import AhoCorasick

from benchmarks.posts import START_MS, Posts
from services.ingest.pump import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from shared import raw
from shared.events import Event, Tweet
from shared.labels import Label

SHARE = 0.03
"""Of the tweets, that have one of `Corpus.few` terms."""
MOST_EACH = 3
"""Terms of a tweet, where each has some."""
PHRASES = 0.2
"""Of the terms, that are pairs of words."""
SHORTEST = 3
"""Characters of a term."""

_MEAN_EACH = 1.7
"""Terms of a tweet on average, where most have some."""
_FLATNESS = {"few": 0, "many": 20}
"""The k-th term is in a share of tweets that goes with 1 / (k + flatness)."""
_ATTEMPTS = 5
_PRECISION = 0.01
_LETTERS = "abcdefghijklmnoprstuvwy"


class Batches(NamedTuple):
    """Tweets packed as ingest packs them under load, and what a router has to find in them."""

    bodies: list[bytes]
    keys: list[dict[int, list[str]]]
    """Of each batch, the keys of tweets that have any by their places in it."""
    sizes: list[int]
    """Of each batch, how many tweets it has."""

    @property
    def tweets(self) -> int:
        """How many there are."""
        return sum(self.sizes)

    def save(self, path: Path) -> None:
        """Write them to a file."""
        path.write_bytes(msgpack.packb([self.bodies, [list(keys.items()) for keys in self.keys], self.sizes]))

    @classmethod
    def load(cls, path: Path) -> "Batches":
        """Read what `save` wrote."""
        bodies, keys, sizes = msgpack.unpackb(path.read_bytes())
        return cls(bodies, [dict(of_each) for of_each in keys], sizes)

    @property
    def matched(self) -> int:
        """How many tweets have a key."""
        return sum(map(len, self.keys))


class Corpus:
    """Drawn tweets."""

    def __init__(self, number: int, *, seed: int = 1) -> None:
        """Draw `number` of them."""
        self._posts = Posts(seed)
        self._random = Random(seed)
        self.entries = [raw.entry(event, START_MS * 1000 + at) for at, event in enumerate(self._draw(number))]
        self.texts = [entry.facets.text for entry in self.entries]
        """Folded, as a router searches them."""
        self._given: set[str] = set()
        self._by_frequency = self._candidates()

    def few(self, number: int) -> list[str]:
        """Terms of which `SHARE` of the tweets have one or more, as nearly as it goes.

        That is within a hundredth, where tweets are many. Where they are too few for so many terms the rarest of
        these are in none.
        """
        wanted = goal = len(self.texts) * SHARE
        tried = []
        for _ in range(_ATTEMPTS):
            terms = self._pick(number, wanted, _FLATNESS["few"])
            found = len(places(self.texts, terms))
            tried.append((abs(found - goal), terms))
            if abs(found - goal) <= goal * _PRECISION:
                break
            # Some tweets have two of the terms, and not every frequency is to be had.
            wanted *= goal / found
        terms = min(tried)[1]
        return terms + self.strangers(number - len(terms))

    def many(self, number: int) -> list[str]:
        """Terms of which most tweets have one to `MOST_EACH`; `having` is these tweets."""
        return self._pick(number, len(self.texts) * _MEAN_EACH, _FLATNESS["many"])

    def having(self, terms: Sequence[str]) -> list[raw.Entry]:
        """The tweets that have one to `MOST_EACH` of the terms."""
        found = places(self.texts, terms)
        return [self.entries[place] for place, some in found.items() if len(some) <= MOST_EACH]

    def strangers(self, number: int) -> list[str]:
        """Strings that look like terms and that no tweet has: words with another letter, and pairs of words.

        Each is given once.
        """
        made: dict[str, None] = {}
        while len(made) < number:
            some = sorted({self._stranger() for _ in range(2 * (number - len(made)))})
            known = {term for terms in places(self.texts, some).values() for term in terms}
            self._random.shuffle(some)
            made.update(dict.fromkeys(term for term in some if term not in known and term not in self._given))
        strangers = list(made)[:number]
        self._given.update(strangers)
        return strangers

    def _draw(self, number: int) -> Iterator[Event]:
        drawn = (self._posts.draw() for _ in iter(int, 1))
        return islice((event for event in drawn if isinstance(event, Tweet)), number)

    def _stranger(self) -> str:
        random, words = self._random, self._posts.words
        while True:
            word = words[int(len(words) ** random.random()) - 1]
            if random.random() < PHRASES:
                return f"{word} {random.choice(words)}"
            if len(word) > SHORTEST:
                at = random.randrange(len(word))
                return word[:at] + random.choice(_LETTERS) + word[at + 1 :]

    def _candidates(self) -> list[tuple[int, str]]:
        """Words and pairs, and in how many of the tweets they are; the rarest first."""
        pairs: Counter[str] = Counter()
        for text in self.texts:
            beside = pairwise(text.split(" "))
            pairs.update(f"{one} {other}" for one, other in beside if one.isalpha() and other.isalpha())
        words = [word for word in self._posts.words if len(word) >= SHORTEST]
        phrases = [pair for pair, _ in pairs.most_common(int(len(words) * PHRASES))]
        counted = Counter(term for some in occurring(self.texts, words + phrases) for term in some)
        candidates = sorted((frequency, term) for term, frequency in counted.items())
        self._random.shuffle(candidates)
        return sorted(candidates, key=lambda candidate: candidate[0])

    def _pick(self, number: int, occurrences: float, flatness: int) -> list[str]:
        """Terms that are in tweets so often, each counted; not all of them where the rarest would be in none."""
        left = list(self._by_frequency)
        weights = [1 / (rank + flatness) for rank in range(1, number + 1)]
        rest = sum(weights)
        terms = []
        for weight in weights:
            wanted = occurrences * weight / rest
            at = bisect_right(left, round(wanted), key=lambda candidate: candidate[0]) - 1
            if at < 0:
                break
            frequency, term = left.pop(at)
            terms.append(term)
            occurrences -= frequency
            rest -= weight
        return terms


def places(texts: Iterable[str], terms: Sequence[str]) -> dict[int, list[str]]:
    """The terms that texts have, sorted, by the texts' places; those that have none are not there."""
    return {place: sorted(some) for place, some in enumerate(occurring(texts, terms)) if some}


def batches(entries: Sequence[raw.Entry], terms: Sequence[str]) -> Batches:
    """`entries` as ingest would pack them while more of them wait, and what is in them of `terms`."""
    keys = {term: key_of(term) for term in terms}
    found = occurring((entry.facets.text for entry in entries), terms)
    made = Batches([], [], [])
    for some in _in_batches(entries):
        of_each = enumerate(islice(found, len(some)))
        made.keys.append({place: sorted(keys[term] for term in terms) for place, terms in of_each if terms})
        made.bodies.append(raw.pack(some))
        made.sizes.append(len(some))
    return made


def key_of(term: str) -> str:
    """The routing key of a term."""
    return Label.of("term", term).key


def occurring(texts: Iterable[str], terms: Sequence[str]) -> Iterator[set[str]]:
    """The terms that each of the texts has."""
    find = AhoCorasick(terms).find_matches_as_indexes
    for text in texts:
        yield {terms[index] for index, _, _ in find(text, overlapping=True)}


def _in_batches(entries: Sequence[raw.Entry]) -> Iterator[list[raw.Entry]]:
    batch: list[raw.Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.size
        if len(batch) == MAX_BATCH_EVENTS or size >= MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
