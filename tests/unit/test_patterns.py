"""Binding keys with wildcards: for which of them the router has to publish what."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.labels import FAMILIES, EnumerableFamily, Label, families_of_pattern, is_pattern

VALUES = {"tag": ["nfl", "en", "a.b"], "from": ["nfl", "en"], "lang": ["en", "nfl"], "action": ["create", "update"]}
LABELS = [
    Label.of(name, value)
    for name, family in FAMILIES.items()
    if isinstance(family, EnumerableFamily)
    for value in VALUES.get(name, [""])
]
words = st.sampled_from(["#", "*", "*", "#", *FAMILIES, "nfl", "en", "create", ""])
patterns = st.lists(words, min_size=1, max_size=4).map(".".join)


def topic_matches(pattern: str, key: str) -> bool:
    """A topic exchange in the words of AMQP: `*` is one word, `#` is any number of them."""
    return _match(tuple(pattern.split(".")), tuple(key.split(".")))


def _match(pattern: tuple[str, ...], key: tuple[str, ...]) -> bool:
    if not pattern:
        return not key
    if pattern[0] == "#":
        return _match(pattern[1:], key) or (bool(key) and _match(pattern, key[1:]))
    return bool(key) and pattern[0] in ("*", key[0]) and _match(pattern[1:], key[1:])


@settings(deadline=None, max_examples=200)
@given(patterns)
def test_whatever_a_pattern_would_receive_is_published_for_it(pattern: str) -> None:
    families = families_of_pattern(pattern)
    for label in LABELS:
        if topic_matches(pattern, label.key):
            assert "all" in families or label.family in families, label.key


@settings(deadline=None, max_examples=200)
@given(patterns)
def test_nothing_is_published_for_a_pattern_that_could_not_receive_it(pattern: str) -> None:
    for name in families_of_pattern(pattern):
        # A value that the pattern names, or any other.
        values = [word for word in pattern.split(".") if word not in ("#", "*")] + ["nfl"]
        keys = [name, *(f"{name}.{value}" for value in values)] if FAMILIES[name].takes_value else [name]
        assert any(topic_matches(pattern, key) for key in keys), name


@pytest.mark.parametrize(
    ("pattern", "families"),
    [
        ("#", {"all"}),
        ("*", {"all"}),
        ("#.#", {"all"}),
        ("all.#", {"all"}),
        ("lang.*", {"lang"}),
        ("lang.#", {"lang"}),
        ("*.en", {"tag", "from", "lang", "action"}),
        ("*.*", {"tag", "from", "lang", "action"}),
        ("has_url.#", {"has_url"}),
        ("has_url.*", set()),
        ("term.*", set()),
        ("word.#", set()),
        ("nfl.*", set()),
        ("*.*.*", set()),
    ],
)
def test_patterns_that_consumers_bind(pattern: str, families: set[str]) -> None:
    assert is_pattern(pattern)
    assert families_of_pattern(pattern) == families


@pytest.mark.parametrize("key", ["term.c*", "term.#nfl", "tag.**", "term.a*b.c#", "all", "term.", ""])
def test_a_star_inside_of_a_word_is_no_wildcard(key: str) -> None:
    assert not is_pattern(key)
