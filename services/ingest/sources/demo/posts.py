"""Composing one post: who says what in which language, with which links, hashtags, emoji and pictures."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from services.ingest.sources.demo import english
from services.ingest.sources.demo.authors import make_authors
from services.ingest.sources.demo.english import Topic
from services.ingest.sources.demo.grammar import Template, Weighted, Zipf
from services.ingest.sources.demo.languages import ENGLISH_NAMES, LANGUAGES
from shared.events import Media, User

TERM_SHARE = 0.05
"""The share of posts that contain "nfl", and the share that contain "nyc"."""
LINK_SHARE = 0.25
MEDIA_SHARE = 0.08
_HASHTAG_SHARE = 0.3
_EMOJI_SHARE = 0.25
_MENTION_SHARE = 0.12
_CLOSER_SHARE = 0.2
_ENGLISH_PERCENT = 46
_AUTHORS_PER_PERCENT = 7
"""Authors of a language, for each percent of its posts."""

_DOMAINS = ["example.com", "example.org", "example.net", "blog.example.com", "www.example.org"]
_MEDIA_TYPES = Weighted({"photo": 7.0, "video": 2.0, "animated_gif": 1.0})
_MEDIA_FILES = {"photo": "jpg", "video": "mp4", "animated_gif": "mp4"}


class Draft(NamedTuple):
    """A post's content, before it has an id and a time."""

    lang: str
    user: User
    text: str
    urls: tuple[str, ...]
    hashtags: tuple[str, ...]
    media: tuple[Media, ...]


class _Theme:
    """A topic made ready to draw from."""

    def __init__(self, topic: Topic, closers: Sequence[str] = ()) -> None:
        slots = {name: Zipf(words) for name, words in topic.words.items()}
        self.sentences = Zipf([Template(text, slots) for text in topic.sentences], offset=4)
        self.tags = Zipf(topic.tags)
        self.emoji = Zipf(topic.emoji)
        self.slugs = Zipf(topic.slugs)
        self.closers = Zipf(closers) if closers else None


class _Voice:
    """A language made ready to draw from: its authors and its themes."""

    def __init__(self, lang: str, themes: Zipf[_Theme], names: Sequence[str], count: int, random: Random) -> None:
        self.lang = lang
        self.themes = themes
        self.authors = make_authors(lang, names, count, random)


class Composer:
    """Composes posts. Two with the same seed compose the same."""

    def __init__(self, seed: int) -> None:
        """`seed` decides everything: who there is and what they will say."""
        self._random = random = Random(seed)
        themes = Zipf([_Theme(topic, english.CLOSERS) for topic in english.TOPICS])
        count = _ENGLISH_PERCENT * _AUTHORS_PER_PERCENT
        self._english = _Voice("en", themes, ENGLISH_NAMES, count, random)
        voices = {self._english: float(_ENGLISH_PERCENT)}
        for lang, language in LANGUAGES.items():
            count = int(language.weight * _AUTHORS_PER_PERCENT)
            voice = _Voice(lang, Zipf([_Theme(language.topic)]), language.names, count, random)
            voices[voice] = language.weight
        self._voices = Weighted(voices)
        self._nfl = Zipf([_Theme(topic, english.CLOSERS) for topic in (english.NFL, english.INFLATION)], exponent=4)
        self._nyc = _Theme(english.NEW_YORK, english.CLOSERS)

    def compose(self) -> Draft:
        """The next post."""
        random = self._random
        chance = random.random
        voice = self._voices.pick(random)
        nfl, nyc = chance() < TERM_SHARE, chance() < TERM_SHARE
        theme, tags = self._theme(voice, nfl, nyc)

        words = [theme.sentences.pick(random).render(random)]
        if theme.closers and chance() < _CLOSER_SHARE:
            words[0] += "" if words[0][-1] in ".?!" else "."
            words.append(theme.closers.pick(random))
        if chance() < _MENTION_SHARE:
            words.insert(0, f"@{voice.authors.pick(random).screen_name}")
        if chance() < _EMOJI_SHARE:
            words.append(theme.emoji.pick(random) * random.choice((1, 1, 1, 2, 3)))
        if chance() < _HASHTAG_SHARE:
            tags.append(theme.tags.pick(random))
        words += [f"#{tag}" for tag in tags]
        urls: tuple[str, ...] = ()
        if chance() < LINK_SHARE:
            link, url = self._link(theme)
            words.append(link)
            urls = (url,)
        media = (self._media(theme),) if chance() < MEDIA_SHARE else ()
        text = " ".join(words)
        return Draft(voice.lang, voice.authors.pick(random), text, urls, _tags(words), media)

    def _theme(self, voice: _Voice, nfl: bool, nyc: bool) -> tuple[_Theme, list[str]]:
        """What the post is about, and the hashtags that bring in what its sentences won't."""
        if voice is not self._english:
            return voice.themes.pick(self._random), ["NFL"] * nfl + ["NYC"] * nyc
        if nfl:
            return self._nfl.pick(self._random), ["NYC"] * nyc
        return (self._nyc if nyc else voice.themes.pick(self._random)), []

    def _link(self, theme: _Theme) -> tuple[str, str]:
        """A link as it stands in the text, and what it means in full."""
        random = self._random
        bare = f"{random.choice(_DOMAINS)}/{theme.slugs.pick(random)}/{random.randrange(1000, 100_000)}"
        return (f"https://{bare}", f"https://{bare}") if random.random() < 0.9 else (bare, f"http://{bare}")

    def _media(self, theme: _Theme) -> Media:
        random = self._random
        kind = _MEDIA_TYPES.pick(random)
        name = f"{theme.slugs.pick(random)}-{random.randrange(1000, 100_000)}"
        return Media(
            type=kind,  # type: ignore[arg-type]
            url=f"https://example.org/media/{name}.{_MEDIA_FILES[kind]}",
            alt=f"Demo {kind.replace('_', ' ')}: {theme.tags.pick(random)}" if random.random() < 0.6 else None,
        )


def _tags(words: Sequence[str]) -> tuple[str, ...]:
    """The hashtags of a text in `words`, which may be whole sentences. Ours stand between spaces."""
    if not any("#" in word for word in words):
        return ()
    return tuple(word[1:].rstrip(".,:;!?") for word in " ".join(words).split() if word[0] == "#")
