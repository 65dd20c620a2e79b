"""X's rule language as far as our rules use it, read by somebody else than who wrote them."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from shared.labels import Label

_STOP = "a an and at but by com from http https if in is it its me my or rt the this to too via we www you"
STOP = set(_STOP.split())


HOSTILE = [
    *("nfl OR lang:en", 'a" OR "b', "-x", "-", "from:x", "(", ")", "(a", 'a"', '"', '""', "\\", 'a\\" OR b', "a\\"),
    *(
        "\n",
        "a\nOR b",
        "\r\n",
        "\t",
        "\x00",
        "\x1f",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "\u200b",
        "\u200d",
        "\u200c",
    ),
    *("\u202e", "\ufeff", "\u00ad", "\u2060", "\u3164", "\u2800", "\u00a0", "\u3000", "“", "”", "＂", "＼", "″"),
    *("OR", "or", "and", "not", "NOT", "the", "to me", "#", "#a", "# OR b", "@", "$", "~3", '"~3', ":", "has:media"),
    *("sample:1", "-is:retweet", "*", "?", ";", "\u0301", "\ufe0f", "🏈", "👩\u200d👩\u200d👧", "🩷", "🇩🇪", "1️⃣"),
    *("nfl", "super bowl", "Ünïcödé", "日本語", "العربية", "ΛΟΓΟΣ", "می\u200cخواهم", "r&b", "node.js", "_", "7", " "),
    "\U000e0041",
]
"""What strangers bind."""


def held(numbers: Mapping[str, int]) -> dict[str, list[str]]:
    """What is bound, where each key is by so many queues of its own."""
    return {key: [f"queue {key} {number}" for number in range(times)] for key, times in numbers.items()}


class Post(NamedTuple):
    text: str = ""
    tags: tuple[str, ...] = ()
    author: str = ""
    lang: str = ""
    links: bool = False
    media: bool = False


class Part(NamedTuple):
    """A piece of a rule: what kind, which text, and whether X takes it alone."""

    kind: str
    text: str
    parts: tuple["Part", ...] = ()

    def leaves(self) -> Iterator["Part"]:
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def narrow(self) -> bool:
        """Whether X takes it without company: each alternative has something that may stand alone."""
        if self.parts:
            return (any if self.kind == "and" else all)(part.narrow() for part in self.parts)
        return self.kind not in ("lang", "has")

    def matches(self, post: Post) -> bool:
        if self.parts:
            return (all if self.kind == "and" else any)(part.matches(post) for part in self.parts)
        if self.kind in ("word", "phrase"):
            tokens, wanted = tokens_of(post.text), tokens_of(self.text)
            return any(tokens[at : at + len(wanted)] == wanted for at in range(len(tokens)))
        return {
            "tag": caseless(self.text) in map(caseless, post.tags),
            "from": self.text.lower() == post.author.lower(),
            "lang": self.text.lower() == post.lang.lower(),
            "has": (self.text == "links" and post.links) or (self.text == "media" and post.media),
        }[self.kind]


def caseless(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def tokens_of(text: str) -> list[str]:
    """Words, and symbols one by one; the rest parts them."""
    return re.findall(r"\w+|[^\w\s!-/:-@\[-`{-~]", caseless(text))


def parse(rule: str) -> Part:
    """The rule as X reads it; raises AssertionError for what X would refuse."""
    pieces = re.findall(r'"[^"]*"?|[()]|[^\s()"]+|\s+', rule)
    assert "".join(pieces) == rule
    for before, after in pairwise(pieces):
        apart = before in "()" or after in "()" or before.isspace() or after.isspace()
        assert apart, f"{before}{after}: nothing between them"
    left = [piece for piece in pieces if not piece.isspace()]

    def any_of() -> Part:
        parts = [all_of()]
        while left and left[0] == "OR":
            left.pop(0)
            parts.append(all_of())
        return parts[0] if len(parts) == 1 else Part("or", "", tuple(parts))

    def all_of() -> Part:
        parts = [one()]
        while left and left[0] not in ("OR", ")"):
            parts.append(one())
        return parts[0] if len(parts) == 1 else Part("and", "", tuple(parts))

    def one() -> Part:
        assert left, "something is missing"
        piece = left.pop(0)
        if piece == "(":
            part = any_of()
            assert left and left.pop(0) == ")", "not closed"
            return part
        return leaf(piece)

    whole = any_of()
    assert not left, f"left over: {left}"
    return whole


def leaf(piece: str) -> Part:
    if piece.startswith('"'):
        assert len(piece) > 2 and piece.endswith('"') and "\\" not in piece, piece
        assert not re.search("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]", piece), piece
        assert tokens_of(piece[1:-1]) and set(tokens_of(piece[1:-1])) - STOP, f"{piece}: nothing to find"
        return Part("phrase", piece[1:-1])
    for start, kind, value in (("#", "tag", r"\w+"), ("from:", "from", r"\w{1,15}"), ("lang:", "lang", r"[\w-]+")):
        if piece.startswith(start):
            assert re.fullmatch(value, piece.removeprefix(start)) or kind == "tag", piece
            return Part(kind, piece.removeprefix(start))
    if piece in ("has:links", "has:media"):
        return Part("has", piece.removeprefix("has:"))
    assert re.fullmatch("[A-Za-z0-9]+", piece) and piece.lower() not in STOP | {"not"}, f"{piece}: not a word"
    return Part("word", piece)


def a_post_with(label: Label) -> Post:
    """A post that the label is about, and nothing else."""
    match label.family:
        case "tag":
            return Post(tags=("x", label.value))
        case "from":
            return Post(author=label.value.upper())
        case "lang":
            return Post(lang=label.value)
        case "has_url":
            return Post(links=True)
        case "has_media":
            return Post(media=True)
        case _:
            return Post(text=f"so, {label.value} … they say")


def like(part: Part, post: Post) -> Post:
    """The post, made to match one part of a rule too."""
    match part.kind:
        case "tag":
            return post._replace(tags=(part.text,))
        case "from":
            return post._replace(author=part.text)
        case _:
            return post._replace(text=part.text)
