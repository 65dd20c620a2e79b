"""Posts with the statistics of real ones, for benchmarks of what depends on their texts.

Words are drawn from a vocabulary of 50,000 by Zipf's law, as in any language: a few are in every other post, most in
one of ten thousand. Posts have 140 characters on average, some a hashtag, a mention, a link, a picture or an emoji,
and a few are in a script without spaces. The same seed makes the same posts.
"""

import itertools
from random import Random

from services.ingest.sources.times import iso
from shared.events import Action, Destroy, Event, Media, Tweet, User

WORDS = 50_000
AUTHORS = 20_000
MEAN, SPREAD, LEAST, MOST = 105, 55, 8, 260
"""Characters of the words of a post; with what else is in it, it has 140 on average."""
EDITS, DELETIONS = 0.01, 0.04
"""Shares of all events."""
REMEMBERED = 10_000
"""What is edited or deleted is among so many of the last posts."""

START_MS = 1_770_000_000_000

_ONSETS = (
    "",
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "w",
    "st",
    "th",
    "tr",
    "sh",
    "ch",
    "pl",
)
_VOWELS = ("a", "e", "i", "o", "u", "ea", "ou", "ai", "ie")
_CODAS = ("", "", "", "n", "r", "t", "s", "l", "nd", "ng", "st", "ck", "m", "y")
_SYLLABLES = (1, 2, 2, 2, 3, 3, 4)
_EMOJI = "😊😂🔥🏈❤🎉👀🙏💯✨🤔😭🦚🪕🫠"
_KANJI = "日本語今年雨風花火東京大阪食事電車学校友達映画音楽世界時間新聞会社仕事勉強旅行写真料理野球選手試合勝利"
_LANGUAGES = ("en",) * 12 + ("es", "pt", "de", "fr", "ko")


class Posts:
    """An endless sequence of events."""

    def __init__(self, seed: int = 1) -> None:
        self._random = Random(seed)
        self.words = self._vocabulary()
        """The most frequent one first."""
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, WORDS + 1)))
        self._emoji_weights = list(itertools.accumulate(1 / rank**3 for rank in range(1, len(_EMOJI) + 1)))
        self._recent: list[Tweet] = []
        self._number = 0

    def draw(self) -> Event:
        """The next event, a millisecond after the one before."""
        random = self._random
        self._number += 1
        now_ms = START_MS + self._number
        chance = random.random()
        if chance < EDITS + DELETIONS and len(self._recent) == REMEMBERED:
            old = self._recent[random.randrange(REMEMBERED)]
            if chance < DELETIONS:
                return Destroy(id=old.id, mtime=now_ms)
            return self._post(old.id, now_ms, Action.UPDATE)
        post = self._post(f"bench:{START_MS + self._number * 7}", now_ms, Action.CREATE)
        if len(self._recent) < REMEMBERED:
            self._recent.append(post)
        else:
            self._recent[self._number % REMEMBERED] = post
        return post

    def _post(self, id: str, now_ms: int, action: Action) -> Tweet:
        random = self._random
        author = min(int(random.paretovariate(0.6)), AUTHORS)
        text, lang, tags, urls = self._text()
        media = (
            (Media(type="photo", url=f"https://example.com/{self._number}.jpg"),) if random.random() < 0.15 else ()
        )
        return Tweet(
            action=action,
            id=id,
            mtime=now_ms,
            source="bench",
            url=f"https://example.com/author{author}/status/{self._number}",
            text=text,
            lang=lang,
            created_at=iso(now_ms),
            user=User(id=str(author), screen_name=f"author{author}", name=f"Author {author}"),
            urls=urls,
            hashtags=tags,
            media=media,
        )

    def _text(self) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
        random = self._random
        length = int(min(max(random.gauss(MEAN, SPREAD), LEAST), MOST))
        if random.random() < 0.05:
            return "".join(random.choices(_KANJI, k=length // 3)), "ja", (), ()
        words = random.choices(self.words, cum_weights=self._weights, k=length // 6 + 1)
        tags: tuple[str, ...] = ()
        urls: tuple[str, ...] = ()
        words[0] = words[0].capitalize()
        if random.random() < 0.25:
            tags = (random.choice(words).lower(),)
            words.append(f"#{tags[0]}")
        if random.random() < 0.3:
            words.insert(0, f"@author{min(int(random.paretovariate(0.6)), AUTHORS)}")
        if random.random() < 0.2:
            words.append(random.choices(_EMOJI, cum_weights=self._emoji_weights)[0])
        if random.random() < 0.2:
            urls = (f"https://example.org/{random.getrandbits(40):010x}",)
            words.append(urls[0])
        return " ".join(words), random.choice(_LANGUAGES), tags, urls

    def _vocabulary(self) -> list[str]:
        random = Random(0)
        found: dict[str, None] = {}
        while len(found) < WORDS:
            count = min(random.choice(_SYLLABLES), 1 + len(found) // 100)
            parts = (random.choice(_ONSETS) + random.choice(_VOWELS) + random.choice(_CODAS) for _ in range(count))
            found["".join(parts)] = None
        return list(found)
