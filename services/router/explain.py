"""`python -m services.router explain TEXT`: who would get a tweet with this text, and why.

It asks the broker who is bound now, and sends nothing.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from services.router.matcher import Matcher
from services.router.settings import RouterSettings
from shared import raw
from shared.demand import Binding, SnapshotError, fetch_bindings, vhost_of
from shared.events import Action
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
from shared.labels.text import fold
from shared.labels.word import Word
from shared.settings import BAD_SETTING_EXIT_CODE, BadSettingError, load

_HASHTAG = re.compile(r"[#＃](\w+)")
_LINK = re.compile(r"https?://\S")

MOST_NAMED = 3
"""Queues that are named with each key; of others there is the number."""

Holders = Mapping[str, Sequence[str]]
"""Who is bound by each key: `queue gateway.…`."""


class Line(NamedTuple):
    """What is said of one routing key."""

    key: str
    published: bool
    why: str


def facets_of(text: str, *, author: str, lang: str, tags: Sequence[str] | None, url: bool, media: bool) -> Facets:
    """The facets of a new tweet with this text; what a source would say beside it is given, or seen in the text."""
    return Facets(
        action=Action.CREATE.value,
        text=fold(text.encode(errors="replace").decode()),
        hashtags=tuple(fold(tag) for tag in (_HASHTAG.findall(text) if tags is None else tags)),
        screen_name=fold(author.lstrip("@")),
        lang=fold(lang),
        has_url=url or bool(_LINK.search(text)),
        has_media=media,
    )


class Explained(NamedTuple):
    """What becomes of a tweet."""

    lines: list[Line]
    """One for each key under which it goes out or could, and for those that were asked for."""
    terms: int
    """How many terms and words are wanted in all."""


def explain(facets: Facets, holders: Holders, *, asked: Sequence[str] = ()) -> Explained:
    """What becomes of a tweet, if routers search for all terms that are wanted."""
    matcher = Matcher(max_terms=len(holders) + 1)
    refused: dict[str, str] = {}
    for key in holders:
        try:
            matcher.want(key)
        except LabelError as error:
            refused[key] = str(error)
    published = matcher.keys_of(raw.Batch(raw.pack([raw.Entry(b"", facets)]))).get(0, [])
    lines = {key: Line(key, True, _named(_wanting(key, holders))) for key in published}
    for key in (*_listed(facets), *_nearly(facets, holders)):
        lines.setdefault(key, Line(key, False, _why_not(key, facets)))
    for key in asked:
        lines.setdefault(key, Line(key, False, refused.get(key) or _why_not(key, facets)))
    return Explained(list(lines.values()), matcher.terms)


def _wanting(key: str, holders: Holders) -> list[str]:
    """Who is bound to a key, or by a pattern for the sake of which it is published."""
    found = list(holders.get(key, ()))
    try:
        family = parse_key(key).family
    except LabelError:
        return found
    for pattern in filter(is_pattern, holders):
        if family in families_of_pattern(pattern):
            found += [f"{who} (by {pattern})" for who in holders[pattern]]
    return found


def _listed(facets: Facets) -> Iterator[str]:
    """The keys of all labels that can be listed."""
    for name, family in FAMILIES.items():
        if isinstance(family, EnumerableFamily):
            for value in family.values(facets):
                try:
                    yield Label.of(name, value).key
                except LabelError:
                    continue


def _nearly(facets: Facets, holders: Holders) -> Iterator[str]:
    """Wanted words that are in the text, but not by themselves."""
    for key in holders:
        if key.startswith(f"{Word.name}.") and not is_pattern(key):
            try:
                value = parse_key(key).value
            except LabelError:
                continue
            if value in facets.text:
                yield key


def _why_not(key: str, facets: Facets) -> str:
    try:
        label = parse_key(key)
    except LabelError as error:
        return str(error)
    if not label.matches(facets):
        if label.family == Word.name and label.value in facets.text:
            return f"'{label.value}' is in the text, but as a part of another word"
        return "the tweet has not this label" if label.family != "term" else f"'{label.value}' is not in the text"
    return "nobody is bound to it"


def _named(who: Sequence[str]) -> str:
    others = len(who) - MOST_NAMED
    return "wanted by " + ", ".join(who[:MOST_NAMED]) + (f" and {others} more" if others > 0 else "")


def report(explained: Explained, bound: int, max_terms: int) -> str:
    """The lines for people."""
    lines = explained.lines
    width = max((len(line.key) for line in lines), default=0)
    told = [
        f"{'  → ' if line.published else '    '}{line.key.ljust(width)}  {line.why}"
        for line in sorted(lines, key=lambda line: (not line.published, line.key))
    ]
    number = sum(line.published for line in lines)
    end = (
        f"It goes out once, under {number} key{'' if number == 1 else 's'}."
        if number
        else "It goes out to nobody: none of the keys that are bound is one of its labels."
    )
    told = [*map(_printable, told), "", f"{end} {bound} key{' is' if bound == 1 else 's are'} bound in all."]
    if explained.terms > max_terms:
        told.append(
            f"But {explained.terms} terms are wanted and a router searches for {max_terms} (ROOST_ROUTER_MAX_TERMS): "
            "which of them are left out only each router knows."
        )
    return "\n".join(told)


def _printable(text: str) -> str:
    """`text` without what would move a terminal's cursor: anybody may bind a key."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _holders(bindings: set[Binding]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for binding in sorted(bindings):
        found.setdefault(binding.key, []).append(f"{binding.kind} {binding.destination}")
    return found


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.router explain", description=__doc__)
    parser.add_argument("text", help="the text of a tweet; - reads it from standard input")
    parser.add_argument("--author", default="", help="its author's screen name")
    parser.add_argument("--lang", default="", help="its language as the source says it: en")
    parser.add_argument("--tag", action="append", help="a hashtag, once or more; else those in the text")
    parser.add_argument("--url", action="store_true", help="it has a link; else if one is in the text")
    parser.add_argument("--media", action="store_true", help="it has a picture, video or GIF")
    parser.add_argument("--key", action="append", default=[], help="say of this routing key why not: term.nfl")
    given = parser.parse_args(arguments)
    text = sys.stdin.buffer.read().decode(errors="replace") if given.text == "-" else given.text
    facets = facets_of(text, author=given.author, lang=given.lang, tags=given.tag, url=given.url, media=given.media)
    try:
        settings = load(RouterSettings)
        bindings = asyncio.run(fetch_bindings(settings.management_url, vhost_of(settings.amqp_url)))
    except BadSettingError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_SETTING_EXIT_CODE
    except SnapshotError as error:
        print(f"{parser.prog}: {error}; is ROOST_ROUTER_MANAGEMENT_URL right?", file=sys.stderr)
        return 1
    holders = _holders(bindings)
    print(report(explain(facets, holders, asked=given.key), len(holders), settings.max_terms))
    return 0
