"""Which tweets the archive may lack: known from the links between batches."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.archive.coverage import Coverage, Hole, Span


def chain(*lasts: int) -> list[Span]:
    """The spans of batches that were published one after the other, the first of all at the beginning."""
    return [Span(after, last) for after, last in zip((0, *lasts), lasts, strict=False)]


def test_a_whole_chain_has_no_holes() -> None:
    coverage = Coverage.of(("x", span) for span in chain(10, 20, 35))
    assert coverage.spans == {"x": (Span(0, 35),)}
    assert coverage.missing(0, 100) is None


def test_a_batch_that_did_not_come_is_a_hole_until_it_comes() -> None:
    first, second, third, fourth = chain(10, 20, 30, 40)
    coverage = Coverage.of(("x", span) for span in (first, second, fourth))
    assert coverage.missing(0, 40) == (20, 30)
    assert coverage.missing(25, 40) == (25, 30), "somebody who has some of it"
    assert coverage.missing(30, 40) is None
    assert coverage.missing(0, 20) is None
    coverage, whole, absorbed = coverage.add("x", third)
    assert coverage.missing(0, 40) is None
    assert (whole, absorbed) == (Span(0, 40), [Span(0, 20), Span(30, 40)])


def test_what_was_before_the_first_batch_is_missing_but_for_the_first_of_all() -> None:
    assert Coverage.of([("x", Span(50, 60))]).missing(0, 60) == (0, 50)
    assert Coverage.of([("x", Span(50, 60))]).missing(55, 60) is None
    assert Coverage.of([("x", Span(0, 60))]).missing(0, 60) is None


def test_holes_of_several_sources_are_told_as_one() -> None:
    coverage = Coverage.of([("x", Span(0, 10)), ("x", Span(12, 50)), ("y", Span(0, 30)), ("y", Span(33, 50))])
    assert coverage.missing(0, 50) == (10, 33)
    assert coverage.missing(12, 50) == (30, 33)


def test_an_ingest_that_starts_again_repeats_what_it_may_not_have_kept() -> None:
    coverage = Coverage.of([("x", Span(0, 100)), ("x", Span(80, 90)), ("x", Span(70, 120))])
    assert coverage.spans == {"x": (Span(0, 120),)}


@given(
    lasts=st.lists(st.integers(1, 60), min_size=1, max_size=12, unique=True).map(sorted),
    data=st.data(),
    after=st.integers(0, 60),
    last=st.integers(0, 60),
)
def test_in_any_order_it_is_what_one_would_count_by_hand(
    lasts: list[int], data: st.DataObject, after: int, last: int
) -> None:
    batches = chain(*lasts)
    kept = data.draw(st.lists(st.sampled_from(batches), unique=True))
    coverage = Coverage.of(("x", span) for span in kept)
    have = {number for span in kept for number in range(span.after + 1, span.last + 1)}
    known_to = max((span.last for span in kept), default=0)
    lacking = [n for n in range(after + 1, last + 1) if n not in have and n <= known_to]
    expected: Hole | None = (lacking[0] - 1, lacking[-1]) if lacking else None
    assert coverage.missing(after, last) == expected
    spans = coverage.spans.get("x", ())
    assert all(one.last < other.after for one, other in pairwise(spans))
