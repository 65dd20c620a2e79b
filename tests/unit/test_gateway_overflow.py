"""What a gateway makes of the little that the broker says of dropped tweets: where something is missing."""

from collections import deque
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.holes import QUIET_S, RECENT, Hole, Overflow
from shared.events import Document


def message(*seqs: int) -> list[Document]:
    return [{"action": "create", "id": f"test:{seq}", "mtime": seq, "seq": seq} for seq in seqs]


def after(*received: int) -> Overflow:
    """What has received these tweets, each in a message of its own."""
    overflow = Overflow()
    for seq in received:
        overflow.received(message(seq))
    return overflow


def test_where_nothing_was_dropped_nothing_is_missing() -> None:
    overflow = after(1, 2, 3)
    assert not overflow.noticed
    assert overflow.take() is None


def test_a_hole_lies_between_what_was_received_and_the_newest_that_was_dropped() -> None:
    overflow = after(10, 20)
    overflow.dropped(message(30), now=0)
    overflow.dropped(message(70, 71), now=0.1)
    assert overflow.noticed
    assert overflow.take() == Hole(20, 71)
    assert overflow.take() is None, "it is told once"


def test_what_was_on_its_way_when_it_was_noticed_is_not_missing() -> None:
    overflow = after(10)
    overflow.dropped(message(30), now=0)
    for seq in (20, 25, 80, 81):
        overflow.received(message(seq))
    assert overflow.take() == Hole(25, 30)


def test_a_marker_that_comes_after_newer_tweets_is_understood_all_the_same() -> None:
    overflow = after(10, 80, 81)
    overflow.dropped(message(30), now=0)
    assert overflow.take() == Hole(10, 30)


def test_a_message_that_is_only_partly_older_says_nothing_of_what_lies_between() -> None:
    # One batch, published as several messages: 21 to 29 may have been dropped as well as 30.
    overflow = after(10)
    overflow.received(message(20, 40))
    overflow.dropped(message(30), now=0)
    assert overflow.take() == Hole(10, 30)


def test_while_it_goes_on_holes_leave_no_space_between_them() -> None:
    # 50 was received, but what was dropped before and after it, and replaced in the marker queue, nobody saw.
    overflow = after(10)
    overflow.dropped(message(20), now=0)
    assert overflow.take() == Hole(10, 20)
    overflow.received(message(50))
    overflow.dropped(message(90), now=1)
    assert overflow.take() == Hole(20, 90)
    overflow.dropped(message(80, 85), now=2)
    assert overflow.take() == Hole(79, 85), "which is not in order, and dropped all the same"


def test_a_later_overflow_is_another_hole() -> None:
    overflow = after(10)
    overflow.dropped(message(20), now=0)
    assert overflow.take() == Hole(10, 20)
    overflow.received(message(50))
    overflow.dropped(message(60), now=QUIET_S)
    assert overflow.take() == Hole(50, 60)


def test_bounds_that_nobody_knows_are_not_made_up() -> None:
    overflow = Overflow()
    overflow.dropped(message(20), now=0)
    assert overflow.take() == Hole(None, 20), "nothing had been received"
    overflow.received(message(25))
    overflow.dropped([], now=1)
    assert overflow.take() == Hole(None, None), "the marker could not be read"
    overflow.dropped(message(30), now=1.5)
    assert overflow.take() == Hole(None, 30), "and nobody knows where the hole before it ended"
    overflow.dropped(message(40), now=2)
    assert overflow.take() == Hole(30, 40)


def test_a_message_without_documents_is_none() -> None:
    overflow = after(10)
    overflow.received([])
    overflow.dropped(message(20), now=0)
    assert overflow.take() == Hole(10, 20)


def test_its_memory_is_bounded() -> None:
    overflow = after(*range(3 * RECENT))
    overflow.dropped(message(RECENT), now=0)
    assert overflow.take() == Hole(None, RECENT), "so long ago that it can't be told"


class Queues:
    """A gateway's queue of length `bound`, its prefetch and its marker queue, as RabbitMQ has them."""

    def __init__(self, *, bound: int, prefetch: int) -> None:
        self._bound = bound
        self._prefetch = prefetch
        self._ready: deque[int] = deque()
        self.delivered: deque[int] = deque()
        """Messages that are on their way or wait in the gateway."""
        self.markers: deque[int] = deque()
        """The marker that the gateway has or gets, and the one that is ready after it."""
        self.dropped: set[int] = set()

    def publish(self, seq: int) -> None:
        self._ready.append(seq)
        self._deliver()
        while len(self._ready) > self._bound:
            lost = self._ready.popleft()
            self.dropped.add(lost)
            if len(self.markers) > 1:
                self.markers.pop()
            self.markers.append(lost)

    def acknowledge(self) -> int:
        seq = self.delivered.popleft()
        self._deliver()
        return seq

    def _deliver(self) -> None:
        while self._ready and len(self.delivered) < self._prefetch:
            self.delivered.append(self._ready.popleft())


@settings(max_examples=300)
@given(
    bound=st.integers(1, 5),
    prefetch=st.integers(1, 4),
    # Of each tenth of a second: how many are published, how many are handled, and whether a marker is.
    story=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=150),
)
def test_every_tweet_was_received_or_lies_in_a_hole_that_was_told(
    bound: int, prefetch: int, story: list[tuple[int, int, bool]]
) -> None:
    queues, overflow = Queues(bound=bound, prefetch=prefetch), Overflow()
    published, received, holes = 0, set(), []
    rest = [(0, 9, True)] * 30
    for tenth, (publishes, handles, marks) in enumerate(story + rest):
        for _ in range(publishes):
            published += 1
            queues.publish(published)
        for _ in range(min(handles, len(queues.delivered))):
            seq = queues.acknowledge()
            received.add(seq)
            overflow.received(message(seq))
        # No marker waits for longer than a second.
        if queues.markers and (marks or tenth % 10 == 9):
            overflow.dropped(message(queues.markers.popleft()), now=tenth / 10)
        if tenth % 10 == 9 and (hole := overflow.take()):
            holes.append(hole)
    assert not overflow.noticed
    told = {seq for hole in holes for seq in range((hole.from_seq or 0) + 1, (hole.to_seq or 0) + 1)}
    assert set(range(1, published + 1)) - received == queues.dropped
    assert queues.dropped <= told
    ends = [hole.to_seq for hole in holes]
    assert set(ends) <= queues.dropped, "a hole ends with a tweet that was dropped"
    assert all((one or 0) < (other or 0) for one, other in pairwise(ends)), "and is told once"
    if len(holes) == 1 and holes[0].from_seq is not None:
        assert holes[0].from_seq in received, "and begins after one that was received"
