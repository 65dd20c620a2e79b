"""X's rule language, as far as we use it: what a rule matches, and which rules X refuses.

Keywords and "phrases" by token, #tag, from:, lang:, has:links, has:media, AND by a space, OR, negation, parentheses.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

Post = dict[str, Any]

MAX_RULE_CHARACTERS = 1024
STOP_WORDS = {"a", "an", "and", "at", "but", "by", "com", "from", "http", "https", "if", "in", "is", "it", "its"}
STOP_WORDS |= {"me", "my", "or", "rt", "the", "this", "to", "too", "via", "we", "www", "you"}

_TOKEN = re.compile(r'\s*(?:(?P<mark>[()]|-(?=\S))|"(?P<phrase>[^"]*)"|(?P<word>[^\s()"]+))')
_WORDS = re.compile(r"\w+|[^\w\s.,;:!?'\"“”()\[\]@#$/&-]")


class RuleError(ValueError):
    """X would refuse the rule; the message says why."""


class Rule(NamedTuple):
    """A rule that can be asked."""

    matches: Callable[[Post, str], bool]
    """Whether a post, by an author of that screen name, matches."""
    standalone: bool
    """Whether it has in it what it needs to stand alone."""


def parse_rule(text: str) -> Rule:
    """The rule that `text` is; raises `RuleError`."""
    if not text.strip():
        raise RuleError("the rule is empty")
    if len(text.encode("utf-16-le")) // 2 > MAX_RULE_CHARACTERS:
        raise RuleError(f"the rule is longer than {MAX_RULE_CHARACTERS} characters")
    if text.count('"') % 2:
        raise RuleError("a quote is not closed")
    tokens = _tokens(text)
    rule = _either(tokens)
    if tokens:
        raise RuleError(f"unexpected {tokens[0][1]!r}")
    if not rule.standalone:
        raise RuleError("needs at least one operator that may stand alone")
    return rule


def words_of(text: str) -> list[str]:
    """The tokens of a text, without case."""
    return _WORDS.findall(text.casefold())


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None or match.end() == place:
            raise RuleError(f"unexpected {text[place:][:20]!r}")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    return tokens


def _either(tokens: list[tuple[str, str]]) -> Rule:
    branches = [_all(tokens)]
    while tokens and tokens[0] == ("word", "OR"):
        tokens.pop(0)
        branches.append(_all(tokens))
    return Rule(
        lambda post, author: any(rule.matches(post, author) for rule in branches),
        all(rule.standalone for rule in branches),
    )


def _all(tokens: list[tuple[str, str]]) -> Rule:
    parts = []
    while tokens and tokens[0] not in (("word", "OR"), ("mark", ")")):
        parts.append(_one(tokens))
    if not parts:
        raise RuleError("something is missing beside OR or in parentheses")
    return Rule(
        lambda post, author: all(rule.matches(post, author) for rule in parts),
        any(rule.standalone for rule in parts),
    )


def _one(tokens: list[tuple[str, str]]) -> Rule:
    kind, text = tokens.pop(0)
    if (kind, text) == ("mark", "-"):
        if not tokens:
            raise RuleError("nothing to negate")
        negated = _one(tokens)
        return Rule(lambda post, author: not negated.matches(post, author), False)
    if (kind, text) == ("mark", "("):
        rule = _either(tokens)
        if not tokens or tokens.pop(0) != ("mark", ")"):
            raise RuleError("a parenthesis is not closed")
        return rule
    if kind == "mark":
        raise RuleError(f"unexpected {text!r}")
    return _phrase(text) if kind == "phrase" else _operator(text)


def _phrase(text: str) -> Rule:
    wanted = words_of(text)
    if not wanted:
        raise RuleError("an empty phrase")
    if all(word in STOP_WORDS for word in wanted):
        raise RuleError("nothing but stop words")

    def matches(post: Post, _: str) -> bool:
        words = words_of(whole_text(post))
        return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))

    return Rule(matches, True)


def _operator(text: str) -> Rule:
    folded = text.casefold()
    name, colon, value = folded.partition(":")
    if folded.startswith("#") and len(folded) > 1:
        return Rule(lambda post, _: folded[1:] in tags_of(post), True)
    if folded in ("has:links", "has:media"):
        if value == "links":
            return Rule(lambda post, _: bool(post.get("entities", {}).get("urls")), False)
        return Rule(lambda post, _: bool(post.get("attachments", {}).get("media_keys")), False)
    if colon and name == "from" and re.fullmatch(r"\w{1,15}", value):
        return Rule(lambda _, author: author.casefold() == value, True)
    if colon and name == "lang" and value:
        return Rule(lambda post, _: post.get("lang", "und").casefold() == value, False)
    if colon or text in ("AND", "NOT") or not words_of(folded):
        raise RuleError(f"no such operator: {text!r}")
    return _phrase(folded)


def tags_of(post: Post) -> set[str]:
    """The hashtags of a post, folded."""
    return {tag["tag"].casefold() for tag in post.get("entities", {}).get("hashtags") or ()}


def whole_text(post: Post) -> str:
    """The whole text of a post."""
    return str((post.get("note_tweet") or post)["text"])
