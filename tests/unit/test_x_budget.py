"""The budget of X: never more posts a day than are paid for, whatever crashes and whatever the clock does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.ingest.sources.x_api.budget import Budget
from tests.unit.clocks import ManualClock

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY_S = 86_400


class Till:
    """A caller that obeys, with a shelf on which the last note is kept."""

    def __init__(self, posts: int, at: datetime = NOON, note: str = "") -> None:
        self.posts = posts
        self.clock = ManualClock(round(at.timestamp() * 1000))
        self.note = note
        self.taken = 0
        self.restart()

    def restart(self) -> None:
        self.budget = Budget(self.posts, note=self.note, now_ms=self.clock.now_ms)

    def take(self, wanted: int) -> int:
        """How many of the wanted posts were taken."""
        for number in range(wanted):
            if self.budget.wants_reserve() or self.budget.must_wait:
                self.note = self.budget.reserve()
            if self.budget.spent:
                return number
            assert not self.budget.must_wait
            self.budget.take()
            self.taken += 1
        return wanted

    def stop_and_start(self) -> None:
        self.note = self.budget.settled()
        self.restart()

    def set_clock(self, at: datetime) -> None:
        self.clock.seconds += at.timestamp() - self.clock.now_ms() / 1000


class TestOneDay:
    def test_it_is_spent_at_exactly_so_many_posts(self) -> None:
        till = Till(1000)
        assert till.take(999) == 999
        assert not till.budget.spent
        assert till.take(5) == 1
        assert till.budget.spent and not till.budget.must_wait and not till.budget.wants_reserve()
        assert till.budget.used == 1000

    def test_nothing_is_taken_before_a_note_is_kept(self) -> None:
        till = Till(1000)
        assert till.budget.must_wait and till.budget.wants_reserve()
        assert till.budget.reserve() == '{"day":"2026-11-22","posts":50}'
        assert not till.budget.must_wait and not till.budget.wants_reserve()

    def test_the_next_chunk_is_due_before_the_last_one_is_used_up(self) -> None:
        till = Till(1000)
        till.budget.reserve()
        for _ in range(26):
            assert not till.budget.wants_reserve()
            till.budget.take()
        assert till.budget.wants_reserve() and not till.budget.must_wait
        assert '"posts":100' in till.budget.reserve()
        for _ in range(74):
            till.budget.take()
        assert till.budget.must_wait

    @pytest.mark.parametrize("posts", [1, 2, 19, 20, 21, 39, 41])
    def test_small_budgets_are_used_to_the_last_post(self, posts: int) -> None:
        assert Till(posts).take(posts + 10) == posts

    def test_a_budget_of_nothing_is_spent_from_the_start(self) -> None:
        budget = Till(0).budget
        assert budget.spent and not budget.must_wait and not budget.wants_reserve()
        assert budget.resumes_in_s() == DAY_S / 2

    def test_less_than_nothing_is_no_budget(self) -> None:
        with pytest.raises(ValueError, match="-1"):
            Budget(-1, now_ms=lambda: 0)

    def test_what_came_unasked_counts_too(self) -> None:
        till = Till(20)
        for _ in range(25):
            till.budget.take()
        assert till.budget.used == 25 and till.budget.spent
        assert '"posts":25' in till.budget.settled()

    def test_what_is_delivered_and_not_taken_yet_is_part_of_the_next_note(self) -> None:
        budget = Till(1000).budget
        budget.reserve()
        assert not budget.wants_reserve(50) and budget.wants_reserve(51)
        assert '"posts":120' in budget.reserve(120)
        budget.take(30)
        assert (budget.used, budget.set_aside, budget.left) == (30, 90, 970)

    def test_also_where_it_is_more_than_the_day_has(self) -> None:
        till = Till(20)
        till.note = till.budget.reserve(25)
        assert (till.budget.set_aside, till.budget.left) == (25, 20)
        till.restart()
        assert till.budget.spent and till.budget.left == 0


class TestRestarts:
    def test_a_clean_stop_loses_nothing(self) -> None:
        till = Till(1000)
        till.take(123)
        till.stop_and_start()
        assert till.budget.used == 123
        assert till.take(2000) == 877

    def test_after_a_clean_stop_nothing_is_set_aside_any_more(self) -> None:
        till = Till(1000)
        till.take(10)
        till.budget.settled()
        assert till.budget.must_wait

    def test_a_crash_costs_what_was_set_aside_and_no_more_than_a_chunk_and_a_half(self) -> None:
        till = Till(1000)
        till.take(110)
        till.restart()
        assert 110 <= till.budget.used <= 110 + 75
        till.take(2000)
        assert till.taken <= 1000

    def test_crashing_all_day_never_gets_more_than_the_budget(self) -> None:
        till = Till(100)
        for _ in range(200):
            till.take(2)
            till.restart()
        assert till.budget.spent
        assert till.taken <= 100

    def test_a_lower_budget_counts_what_was_taken_under_the_higher_one(self) -> None:
        till = Till(1000)
        till.take(600)
        till.posts = 500
        till.stop_and_start()
        assert till.budget.spent and till.take(1) == 0

    @pytest.mark.parametrize(
        "note",
        [
            *("", "null", "[]", "{}", "nonsense", '{"day": "2026-11-22"}', '{"day": "soon", "posts": 9}', "{" * 5000),
            *('{"day": "2026-11-22", "posts": -9}', '{"day": "2026-11-22", "posts": "9"}', "[" * 5000, "\udcff"),
        ],
    )
    def test_a_note_that_cannot_be_read_counts_as_none(self, note: str) -> None:
        till = Till(1000, note=note)
        assert till.budget.used == 0
        assert till.take(2000) == 1000

    def test_a_note_written_by_hand_is_read(self) -> None:
        assert Till(1000, note='{"posts": 500, "day": "2026-11-22", "by": "me"}').budget.used == 500

    def test_yesterdays_note_is_of_no_concern(self) -> None:
        assert Till(1000, note='{"day": "2026-11-21", "posts": 1000}').budget.used == 0


class TestDays:
    def test_it_goes_on_at_midnight_utc(self) -> None:
        till = Till(100)
        till.take(200)
        assert till.budget.resumes_in_s() == DAY_S / 2
        till.clock.seconds += DAY_S / 2 - 0.001
        assert till.budget.spent and till.budget.resumes_in_s() == pytest.approx(0.001)
        till.clock.seconds += 0.001
        assert not till.budget.spent and till.budget.used == 0
        assert till.take(200) == 100

    def test_what_is_set_aside_before_midnight_is_not_for_the_day_after(self) -> None:
        till = Till(100)
        till.take(1)
        till.clock.seconds += DAY_S
        assert till.budget.must_wait
        assert till.budget.reserve() == '{"day":"2026-11-23","posts":5}'

    def test_a_clock_that_passes_midnight_twice_gets_one_budget(self) -> None:
        till = Till(100, at=NOON + timedelta(hours=11, minutes=59))
        assert till.take(200) == 100
        till.clock.seconds += 120
        assert till.take(200) == 100
        till.clock.seconds -= 120
        assert till.take(200) == 0
        assert till.budget.resumes_in_s() == 60 + DAY_S
        till.clock.seconds += 120
        assert till.take(200) == 0

    def test_nor_does_a_restart_in_between_get_another_one(self) -> None:
        till = Till(100, at=NOON + timedelta(hours=12))
        till.take(200)
        till.clock.seconds -= 60
        till.restart()
        assert till.budget.used == 100 and till.take(200) == 0
        till.clock.seconds += 60
        assert till.take(200) == 0

    def test_a_note_of_tomorrow_stands_until_tomorrow_has_passed(self) -> None:
        till = Till(100, note='{"day": "2026-11-23", "posts": 60}')
        assert till.take(200) == 40
        assert till.budget.resumes_in_s() == DAY_S * 1.5
        till.clock.seconds += DAY_S
        assert till.take(200) == 0
        till.clock.seconds += DAY_S / 2
        assert till.take(200) == 100

    def test_a_note_of_a_far_day_counts_for_today_and_does_not_stop_us_for_years(self) -> None:
        till = Till(100, note='{"day": "2036-01-01", "posts": 60}')
        assert till.take(200) == 40
        assert till.budget.resumes_in_s() == DAY_S / 2
        till.clock.seconds += DAY_S / 2
        assert till.take(200) == 100

    def test_a_clock_that_was_years_ahead_and_is_set_right_gives_nothing_new_today(self) -> None:
        till = Till(100)
        till.take(200)
        till.set_clock(NOON + timedelta(days=3650))
        assert till.take(70) == 70
        till.set_clock(NOON)
        assert till.take(200) == 30
        till.set_clock(NOON + timedelta(days=1))
        assert till.take(200) == 100


class BudgetMachine(RuleBasedStateMachine):
    """Whatever happens, in any order: at most one budget for each day that the clock has shown."""

    def __init__(self) -> None:
        super().__init__()
        self.till: Till | None = None
        self.days: set[int] = set()
        self.latest = 0.0

    @precondition(lambda self: self.till is None)
    @rule(posts=st.integers(0, 60), hour=st.integers(0, 23))
    def begin(self, posts: int, hour: int) -> None:
        self.till = Till(posts, at=NOON.replace(hour=hour))

    @precondition(lambda self: self.till)
    @rule(posts=st.integers(1, 40))
    def take(self, posts: int) -> None:
        assert self.till
        self.till.take(posts)

    @precondition(lambda self: self.till)
    @rule()
    def reserve(self) -> None:
        assert self.till
        self.till.note = self.till.budget.reserve()

    @precondition(lambda self: self.till)
    @rule()
    def crash(self) -> None:
        assert self.till
        self.till.restart()

    @precondition(lambda self: self.till)
    @rule()
    def crash_before_a_note_is_kept(self) -> None:
        assert self.till
        self.till.budget.reserve()
        self.till.restart()

    @precondition(lambda self: self.till)
    @rule()
    def stop_and_start(self) -> None:
        assert self.till
        self.till.stop_and_start()

    @precondition(lambda self: self.till)
    @rule(hours=st.integers(1, 50))
    def time_passes(self, hours: int) -> None:
        assert self.till
        self.till.clock.seconds += hours * 3600
        self.latest = max(self.latest, self.till.clock.seconds)

    @precondition(lambda self: self.till)
    @rule(minutes=st.integers(1, 23 * 60))
    def the_clock_is_set_back(self, minutes: int) -> None:
        """By less than a day behind the latest moment it has shown."""
        assert self.till
        self.till.clock.seconds = max(self.till.clock.seconds - minutes * 60, self.latest - 23 * 3600)

    @invariant()
    def at_most_one_budget_a_day(self) -> None:
        if self.till:
            self.days.add(self.till.clock.now_ms() // (DAY_S * 1000))
            assert self.till.taken <= self.till.posts * len(self.days)
            assert self.till.budget.used <= self.till.posts
            assert 0 < self.till.budget.resumes_in_s() <= 2 * DAY_S


TestAnyOrder = BudgetMachine.TestCase
TestAnyOrder.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


@settings(deadline=None, max_examples=100)
@given(
    posts=st.integers(1, 2000),
    lives=st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=30),
)
def test_any_number_of_lives_share_one_days_budget(posts: int, lives: list[tuple[int, bool]]) -> None:
    till = Till(posts)
    for wanted, cleanly in lives:
        till.take(wanted)
        if cleanly:
            till.stop_and_start()
        else:
            till.restart()
    lost = till.budget.used - till.taken
    till.take(posts)
    assert till.budget.used == posts
    assert till.taken == posts - lost
    assert 0 <= lost <= sum(not cleanly for _, cleanly in lives) * max(1, posts // 20) * 1.5
