"""What a request for a room may say, and what it is told if it says something else."""

from typing import Any

import pytest

from services.gateway.wishes import BadRequestError, Wish, read


def test_a_room_alone_is_a_wish_for_what_comes() -> None:
    wish = read("nfl", max_backfill=10)
    assert wish == Wish("nfl")
    assert not wish.looks_back
    assert not read({"room": "nfl"}, max_backfill=10).looks_back


def test_the_past_is_asked_for_by_number_by_place_or_by_what_is_held() -> None:
    wish = read({"room": "nfl", "backfill": 10, "since": "17", "documents": {"x:1": 5, "x:2": "6"}}, max_backfill=10)
    assert wish == Wish("nfl", 10, 17, {"x:1": 5, "x:2": 6}, brief=False)
    for part in ({"backfill": 1}, {"since": 0}, {"documents": {"x:1": 0}}):
        assert read({"room": "nfl"} | part, max_backfill=10).looks_back
    assert read({"room": "", "since": None, "documents": None}, max_backfill=10) == Wish("", brief=False)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"backfill": 11}, "backfill is a number of tweets, 10 at most"),
        ({"backfill": -1}, "backfill"),
        ({"backfill": True}, "backfill"),
        ({"backfill": "5"}, "backfill"),
        ({"backfill": None}, "backfill"),
        ({"backfill": 1.5}, "backfill"),
        ({"since": -1}, "since"),
        ({"since": "x"}, "since"),
        ({"since": "1" * 5000}, "since"),
        ({"since": "١"}, "since"),
        ({"since": 2**63}, "since"),
        ({"since": True}, "since"),
        ({"since": [1]}, "since"),
        ({"documents": [1]}, "documents"),
        ({"documents": {"x:1": None}}, "documents"),
        ({"documents": {"x:1": -1}}, "documents"),
        ({"documents": {"x" * 1001: 1}}, "documents"),
        ({"documents": {"x:\ud800": 1}}, "documents"),
        ({"documents": {f"x:{number}": 1 for number in range(1001)}}, "of 1000 at most"),
    ],
)
def test_what_is_no_wish_is_refused_with_the_field_that_is_wrong(part: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequestError, match=named):
        read({"room": "nfl"} | part, max_backfill=10)
