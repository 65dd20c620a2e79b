"""How much one connection and one address may have: bursts, paces, and nothing kept of those who have gone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.limits import MANY_ADDRESSES, Pace, PacePerAddress, PerAddress


def test_a_page_that_comes_back_asks_for_all_its_rooms_at_once_and_then_goes_slowly() -> None:
    pace = Pace(rate=20, burst=50)
    assert [pace.take(100) for _ in range(51)] == [True] * 50 + [False]
    assert not pace.take(100.04)
    assert pace.wait_s(100.04) == pytest.approx(0.01)
    assert pace.take(100.06)
    assert not pace.take(100.06)
    assert sum(pace.take(101.06) for _ in range(100)) == 20
    assert sum(pace.take(5000) for _ in range(100)) == 50, "a long rest saves up no more than a burst"
    assert Pace(1, 1).wait_s(7) == 0


def test_asking_in_vain_does_not_make_one_wait_longer() -> None:
    pace = Pace(rate=1, burst=1)
    assert pace.take(0)
    assert [pace.take(n / 10) for n in range(1, 10)] == [False] * 9
    assert pace.take(1.0)


def test_who_waits_as_told_for_several_at_once_gets_them() -> None:
    pace, of_address = Pace(rate=10, burst=20), PacePerAddress(rate=10, burst=20)
    assert pace.take(0, 18)
    assert of_address.take("a", 0, 18)
    for one in (pace.wait_s(0, 6), of_address.wait_s("a", 0, 6)):
        assert one == pytest.approx(0.4)
    assert not pace.take(0.3, 6), "and what is refused takes nothing"
    assert pace.take(0.41, 6)
    assert of_address.take("a", 0.41, 6)
    assert pace.take(10, 1000), "all that there can be is enough for what is more"


def test_a_slow_pace_is_still_one() -> None:
    pace = Pace(rate=0.5, burst=1)
    assert [pace.take(second) for second in range(6)] == [True, False, True, False, True, False]


@given(st.lists(st.floats(0, 1000), max_size=200), st.floats(0.1, 50), st.integers(1, 20))
def test_nobody_gets_more_than_burst_and_rate_whatever_the_clock_does(
    times: list[float], rate: float, burst: int
) -> None:
    pace = Pace(rate, burst)
    granted = sum(pace.take(now) for now in times)
    span = max(times) - min(times) if times else 0
    assert granted <= burst + rate * span + 1e-6


def test_one_address_has_its_share_and_the_others_have_theirs() -> None:
    connections = PerAddress(2)
    assert [connections.take("a") for _ in range(3)] == [True, True, False]
    assert connections.take("b")
    assert connections.taken("a") == 2
    connections.give_back("a")
    assert connections.take("a")
    assert not connections.take("a")


def test_addresses_that_have_gone_are_forgotten() -> None:
    rooms = PerAddress(10)
    for number in range(1000):
        assert rooms.take(f"address {number}")
        assert rooms.take(f"address {number}")
    for number in range(1000):
        rooms.give_back(f"address {number}", 2)
    assert len(rooms) == 0


def test_more_than_was_taken_can_not_be_given_back() -> None:
    rooms = PerAddress(10)
    with pytest.raises(ValueError, match="a gives back 1 and has 0"):
        rooms.give_back("a")
    rooms.take("a")
    with pytest.raises(ValueError, match="a gives back 2 and has 1"):
        rooms.give_back("a", 2)
    assert rooms.taken("a") == 1
    rooms.give_back("nobody", 0)
    assert len(rooms) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.integers(1, 5))
def test_it_counts_as_a_counter_does(steps: list[tuple[str, bool]], maximum: int) -> None:
    counts, limit = Counter[str](), PerAddress(maximum)
    for address, taking in steps:
        if taking:
            assert limit.take(address) == (counts[address] < maximum)
            counts[address] = min(maximum, counts[address] + 1)
        elif counts[address]:
            limit.give_back(address)
            counts[address] -= 1
    assert {address: limit.taken(address) for address in "abc"} == {address: counts[address] for address in "abc"}
    assert len(limit) == len(+counts)


def test_an_address_has_one_pace_whatever_connections_it_makes_and_is_forgotten_when_quiet() -> None:
    paces = PacePerAddress(10, 3)
    assert [paces.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert paces.take("b", 0.0)
    assert paces.take("a", 0.1)
    for number in range(3 * MANY_ADDRESSES):
        assert paces.take(f"address {number}", 1.0 + number)
    assert len(paces) <= MANY_ADDRESSES + 1
