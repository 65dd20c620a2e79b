"""Which tweet is meant: its id as in an event, or the address of its post."""

import pytest

from services.ingest.forget import id_of


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("x:1377650090978992134", "x:1377650090978992134"),
        (" bsky:did:plc:abc/3kabc ", "bsky:did:plc:abc/3kabc"),
        ("https://x.com/nfl/status/1377650090978992134", "x:1377650090978992134"),
        ("https://www.twitter.com/nfl/status/1377?s=20", "x:1377"),
        ("https://bsky.app/profile/did:plc:abc/post/3kabc", "bsky:did:plc:abc/3kabc"),
    ],
)
def test_an_id_or_an_address_is_taken(text: str, id: str) -> None:
    assert id_of(text) == id


@pytest.mark.parametrize(
    "text",
    ["", "1377650090978992134", "x:", "x:a b", "https://example.org/1", "https://bsky.app/profile/a.b/post/3k"],
)
def test_what_names_no_tweet_is_refused_with_the_form_that_is_meant(text: str) -> None:
    with pytest.raises(ValueError, match="as in an event, x:"):
        id_of(text)
