"""What a room remembers: in order, and honest about where it is complete."""

import random

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.recent import Recent
from shared.history import Place


def place(seq: int) -> Place:
    return Place(seq, f"x:{seq}")


def holding(*seqs: int) -> Recent:
    recent = Recent()
    for seq in seqs:
        recent.add(place(seq))
    return recent


def seqs(places: list[Place]) -> list[int]:
    return [seq for seq, _ in places]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200), st.integers(0, 30))
def test_whatever_comes_and_goes_it_is_in_order(steps: list[tuple[bool, int]], asked: int) -> None:
    recent, model = Recent(), set[Place]()
    for adds, seq in steps:
        if adds and place(seq) not in model:
            recent.add(place(seq))
            model.add(place(seq))
        elif not adds:
            recent.remove(place(seq))
            model.discard(place(seq))
    assert recent.newest(asked) == (sorted(model)[-asked:] if asked else [])
    assert recent.since(asked) == sorted(one for one in model if one.seq > asked)
    assert len(recent) == len(model)


def test_many_that_go_oldest_first_leave_those_that_are_newer() -> None:
    recent = holding(*range(5000))
    for seq in range(4990):
        recent.forget(place(seq))
    assert seqs(recent.newest(100)) == list(range(4990, 5000))
    assert len(recent._places) < 3000, "what went takes no place for ever"


def test_a_room_that_nobody_has_asked_for_covers_nothing() -> None:
    recent = holding(1, 2, 3)
    assert not recent.covers(since=2, least=0)
    assert not recent.covers(since=None, least=1)


def test_what_the_archive_has_brought_answers_all_that_is_newer() -> None:
    recent = holding(10, 11, 12)
    recent.covered(recent.asking(), 9, None)
    assert recent.covers(since=9, least=3)
    assert not recent.covers(since=8, least=0)
    assert not recent.covers(since=None, least=4)


def test_where_the_archive_has_nothing_older_any_number_is_covered() -> None:
    recent = holding(10)
    recent.covered(recent.asking(), 0, None)
    assert recent.covers(since=0, least=1000)


def test_what_is_forgotten_is_not_covered_any_more() -> None:
    recent = holding(10, 11, 12)
    recent.covered(recent.asking(), 0, None)
    recent.forget(place(10))
    assert recent.covers(since=10, least=2)
    assert not recent.covers(since=9, least=0)
    assert not recent.covers(since=None, least=3)
    recent.add(place(5))
    assert seqs(recent.newest(9)) == [11, 12], "one that stands alone before a hole is not among them"


def test_a_hole_is_closed_by_what_reaches_back_to_it() -> None:
    recent = holding(10, 20)
    recent.covered(recent.asking(), 5, None)
    recent.lost(15, None)
    assert not recent.covers(since=19, least=0)
    recent.covered(recent.asking(), 14, None)
    assert recent.covers(since=5, least=0), "what was known before it is of use again"


def test_what_does_not_reach_back_to_the_hole_begins_anew() -> None:
    recent = holding(10, 20)
    recent.covered(recent.asking(), 5, None)
    recent.lost(15, None)
    recent.covered(recent.asking(), 18, None)
    assert recent.covers(since=18, least=0)
    assert not recent.covers(since=14, least=0)


def test_several_losses_are_one_hole_with_an_end_if_all_have_one() -> None:
    recent = Recent()
    recent.lost(10, 20)
    recent.lost(30, 40)
    assert (recent.hole_from, recent.hole_to) == (10, 40)
    recent.lost(5, None)
    assert (recent.hole_from, recent.hole_to) == (5, None)


def test_late_ones_are_put_in_their_place_quickly() -> None:
    numbers = random.Random(1).sample(range(20_000), 20_000)
    assert seqs(holding(*numbers).newest(20_000)) == list(range(20_000))


def test_what_is_lost_while_the_archive_is_asked_stays_a_hole() -> None:
    recent = holding(10)
    recent.covered(recent.asking(), 5, None)
    recent.lost(20, 30)
    asked = recent.asking()
    recent.lost(40, 50)
    recent.covered(asked, 15, None)
    assert (recent.hole_from, recent.hole_to) == (20, 50)
    recent.covered(recent.asking(), 15, None)
    assert recent.covers(since=5, least=1)


def test_what_is_forgotten_while_the_archive_is_asked_is_not_covered_by_its_answer() -> None:
    recent = holding(10, 11, 12)
    asked = recent.asking()
    recent.forget(place(10))
    recent.covered(asked, 0, None)
    assert not recent.covers(since=9, least=0)
    assert recent.covers(since=10, least=2)
