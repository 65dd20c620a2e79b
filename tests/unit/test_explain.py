"""What an operator is told of a text: who would get it, and why not."""

import pytest

from services.router.explain import Explained, Line, explain, facets_of, report
from shared.labels import Facets

HOLDERS = {
    "term.nfl": ["queue gateway.a", "queue gateway.b"],
    "word.nfl": ["queue gateway.a"],
    "word.inflation": ["queue gateway.b"],
    "has_url": ["queue consumer.links"],
    "lang.*": ["queue consumer.languages"],
    "term.zebra": ["queue gateway.a"],
    "foo.bar": ["queue consumer.odd"],
}


def facets(text: str, **said: object) -> Facets:
    return facets_of(text, **({"author": "", "lang": "", "tags": None, "url": False, "media": False} | said))  # type: ignore[arg-type]


def told(text: str, *asked: str, **said: object) -> dict[str, Line]:
    return {line.key: line for line in explain(facets(text, **said), HOLDERS, asked=asked).lines}


def test_a_tweet_is_told_under_which_keys_it_goes_out_and_to_whom() -> None:
    lines = told("Inflation, see https://example.org/x", lang="en", author="@Ada")
    assert {key for key, line in lines.items() if line.published} == {
        "term.nfl",
        "word.inflation",
        "has_url",
        "lang.en",
    }
    assert lines["term.nfl"].why == "wanted by queue gateway.a, queue gateway.b"
    assert lines["lang.en"].why == "wanted by queue consumer.languages (by lang.*)"


def test_labels_that_nobody_is_bound_to_are_there_too() -> None:
    lines = told("go #NFL", author="@Ada")
    assert lines["tag.nfl"] == Line("tag.nfl", False, "nobody is bound to it")
    assert lines["from.ada"].why == lines["all"].why == "nobody is bound to it"


def test_a_wanted_word_that_is_only_a_part_of_another_one_says_so() -> None:
    assert told("inflation")["word.nfl"] == Line(
        "word.nfl", False, "'nfl' is in the text, but as a part of another word"
    )


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("term.zebra", "'zebra' is not in the text"),
        ("tag.ai", "the tweet has not this label"),
        ("foo.bar", "'foo' is no label"),
        ("term.what", "nobody is bound to it"),
    ],
)
def test_whoever_asks_for_a_key_is_told_why_not(key: str, why: str) -> None:
    line = told("what is up", key)[key]
    assert line.why.startswith(why)
    assert not line.published


def test_where_more_terms_are_wanted_than_are_searched_for_it_says_so() -> None:
    explained = explain(facets("a b"), {"term.a": ["queue q"], "word.b": ["queue q"]})
    assert "But 2 terms are wanted and a router searches for 1" in report(explained, 2, 1)
    assert "But" not in report(explained, 2, 2)


def test_the_report_is_for_people_and_harmless_to_a_terminal() -> None:
    lines = [Line("term.nfl", True, "wanted by queue \x1b[2J"), Line("all", False, "nobody is bound to it")]
    assert report(Explained(lines, 1), 2, 9).splitlines() == [
        "  → term.nfl  wanted by queue \N{REPLACEMENT CHARACTER}[2J",
        "    all       nobody is bound to it",
        "",
        "It goes out once, under 1 key. 2 keys are bound in all.",
    ]
    assert report(Explained([], 0), 1, 9).endswith(
        "It goes out to nobody: none of the keys that are bound is one of its labels. 1 key is bound in all."
    )
