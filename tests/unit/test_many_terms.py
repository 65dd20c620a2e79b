"""A router that thousands of terms and words are asked of finds in each event what is wanted of it, as with few."""

import random

from services.router.matcher import Matcher
from shared import raw
from shared.labels import Facets, parse_key


def test_among_thousands_of_terms_and_words_each_event_has_those_that_match_it() -> None:
    dice = random.Random(7)
    made_up = {"".join(dice.choices("bcdfghjklmnoprst", k=dice.randrange(3, 12))) for _ in range(4000)}
    keys = [f"{family}.{string}" for string in sorted(made_up) for family in ("term", "word")]
    keys += ["term.touchdown", "term.Touchdown", "word.touchdown", "word.super_bowl", "term.super bowl", "term.nfl"]
    matcher = Matcher(max_terms=len(keys))
    for key in keys:
        matcher.want(key)
    texts = [
        "touchdown!",
        "touchdowns",
        "an nfl touchdown",
        "super_bowl",
        "a super bowl",
        "b",
        "",
        *sorted(made_up)[:90],
    ]
    events = [Facets("create", text) for text in texts]
    batch = raw.Batch(raw.pack([raw.Entry(b"\x80", facets) for facets in events]))
    labels = {key: parse_key(key) for key in keys}
    expected = {
        place: sorted(having)
        for place, facets in enumerate(events)
        if (having := [key for key, label in labels.items() if label.matches(facets)])
    }
    more = True
    while more:
        more = matcher.improve(at_rest=True)
        assert matcher.keys_of(batch) == expected
    assert matcher._strings._tables
