"""What is followed is bounded and counted, and whoever is not told of a document any more is told that."""

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.gateway.subscriptions import request
from services.gateway.subscriptions.followed import Followed, LetGo
from services.gateway.subscriptions.interest import Audience, Interest, Sent

MEMBERS = ("ann", "bob", "cy")
UIDS = ("a", "b")
IDS = [f"x:{number}" for number in range(8)]


def interests(number: int) -> list[Interest[str]]:
    """Different ones."""
    asked = {"uid": "a", "collection": "tweet"}
    return [
        Interest(request.read(asked | {"createQuery": {"term": f"term {each}"}}).wanted) for each in range(number)
    ]


def send(followed: Followed[str], interest: Interest[str], id: str) -> list[LetGo[str]]:
    """A new document is sent to all who have an interest."""
    interest.number += 1
    return followed.sent(interest, id, Sent(interest.number, (1, 0), 0))


def told_of(audience: Audience[str], member: str) -> set[str]:
    """What a member would be told of, if it changed."""
    one, sent = audience.members[member], audience.interest.sent
    return {*one.held, *(id for id in sent if sent[id].number >= one.number)}


class TestLettingGo:
    def test_the_oldest_of_what_was_sent_and_only_who_has_it_is_told(self) -> None:
        followed = Followed[str](limit=1000, limit_of_one=20)
        (interest,) = interests(1)
        interest.join("early", "a")
        for number in range(19):
            send(followed, interest, f"x:{number}")
        interest.join("late", "a")
        interest.join("other", "b")
        assert send(followed, interest, "x:19") == []
        gone = send(followed, interest, "x:20")
        assert [(each.audience.uid, each.members, each.ids) for each in gone] == [("a", ["early"], ["x:0", "x:1"])]
        assert len(followed) == 19
        assert followed.of("x:0") == []

    def test_who_came_between_two_is_told_of_the_younger(self) -> None:
        followed = Followed[str](limit=1000, limit_of_one=20)
        (interest,) = interests(1)
        interest.join("early", "a")
        send(followed, interest, "x:0")
        interest.join("late", "a")
        gone = [each for number in range(1, 21) for each in send(followed, interest, f"x:{number}")]
        assert sorted((each.members, each.ids) for each in gone) == [(["early"], ["x:0", "x:1"]), (["late"], ["x:1"])]

    def test_of_what_a_page_holds_the_oldest(self) -> None:
        followed = Followed[str](limit=1000, limit_of_one=3)
        (interest,) = interests(1)
        interest.join("ann", "a")
        audience = interest.audiences["a"]
        gone = followed.holds(audience, "ann", [(f"x:{number}", 1) for number in range(5)])
        assert gone == [LetGo(audience, ["ann"], ["x:0", "x:1"])]
        assert list(audience.members["ann"].held) == ["x:2", "x:3", "x:4"]
        assert len(followed) == 3

    def test_where_all_are_too_many_the_first_to_come_is_the_first_to_go(self) -> None:
        followed = Followed[str](limit=10, limit_of_one=6)
        one, other = interests(2)
        one.join("ann", "a")
        other.join("bob", "a")
        assert followed.holds(one.audiences["a"], "ann", [(f"x:{number}", 1) for number in range(6)]) == []
        gone = followed.holds(other.audiences["a"], "bob", [(f"x:{number}", 1) for number in range(3, 9)])
        assert gone == [LetGo(one.audiences["a"], ["ann"], ["x:0", "x:1", "x:2"])]
        assert len(followed) == 9
        assert followed.of("x:0") == []
        assert followed.of("x:3") == [one, other]

    def test_a_document_that_is_held_by_name_and_sent_to_others_is_still_followed_when_that_is_let_go(self) -> None:
        followed = Followed[str](limit=1000, limit_of_one=1)
        (interest,) = interests(1)
        for member in ("ann", "bob"):
            interest.join(member, "a")
        audience = interest.audiences["a"]
        followed.holds(audience, "ann", [("x:0", 1)])
        send(followed, interest, "x:0")
        gone = send(followed, interest, "x:1")
        assert [(each.members, each.ids) for each in gone] == [(["bob"], ["x:0"])]
        assert told_of(audience, "ann") == {"x:0", "x:1"}
        assert followed.of("x:0") == [interest]


class Following(RuleBasedStateMachine):
    """Any sequence of all that can happen, beside a plain account of who is told of what."""

    @initialize(limit=st.integers(1, 25), limit_of_one=st.integers(1, 12))
    def begin(self, limit: int, limit_of_one: int) -> None:
        self.limit, self.limit_of_one = limit, limit_of_one
        self.followed = Followed[str](limit=limit, limit_of_one=limit_of_one)
        self.interests = interests(3)
        self.account: dict[tuple[int, str, str], set[str]] = {}

    def take(self, gone: list[LetGo[str]]) -> None:
        for audience, members, ids in gone:
            assert ids
            assert members
            for member in members:
                mine = self.account[self.interests.index(audience.interest), audience.uid, member]
                assert set(ids) <= mine, "who is told that it is told no more was told before"
                assert len(ids) == len(set(ids))
                mine -= set(ids)

    @rule(number=st.integers(0, 2), uid=st.sampled_from(UIDS), member=st.sampled_from(MEMBERS))
    def joins(self, number: int, uid: str, member: str) -> None:
        if (number, uid, member) not in self.account:
            self.interests[number].join(member, uid)
            self.account[number, uid, member] = set()

    @precondition(lambda self: self.account)
    @rule(data=st.data(), ids=st.lists(st.sampled_from(IDS), unique=True))
    def holds(self, data: st.DataObject, ids: list[str]) -> None:
        number, uid, member = data.draw(st.sampled_from(sorted(self.account)))
        self.account[number, uid, member] |= set(ids)
        audience = self.interests[number].audiences[uid]
        lacking = [(id, 1) for id in ids if id not in told_of(audience, member)]
        self.take(self.followed.holds(audience, member, lacking))

    @rule(number=st.integers(0, 2), id=st.sampled_from(IDS))
    def sent(self, number: int, id: str) -> None:
        interest = self.interests[number]
        for (of, _, _), mine in self.account.items():
            if of == number:
                mine.add(id)
        self.take(send(self.followed, interest, id))

    @rule(number=st.integers(0, 2), id=st.sampled_from(IDS))
    def is_destroyed(self, number: int, id: str) -> None:
        self.followed.destroyed(self.interests[number], id)
        for (of, _, _), mine in self.account.items():
            if of == number:
                mine.discard(id)

    @precondition(lambda self: self.account)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        number, uid, member = data.draw(st.sampled_from(sorted(self.account)))
        del self.account[number, uid, member]
        interest = self.interests[number]
        self.followed.leaves(interest.audiences[uid], member)
        if interest.empty:
            self.followed.ends(interest)

    @invariant()
    def nobody_is_told_of_more_or_less(self) -> None:
        for (number, uid, member), mine in self.account.items():
            assert told_of(self.interests[number].audiences[uid], member) == mine

    @invariant()
    def all_is_counted_and_bounded(self) -> None:
        everybody = [
            one
            for interest in self.interests
            for audience in interest.audiences.values()
            for one in audience.members.values()
        ]
        held, sent = sum(len(one.held) for one in everybody), sum(len(each.sent) for each in self.interests)
        assert len(self.followed) == held + sent <= self.limit
        assert all(len(one.held) <= self.limit_of_one for one in everybody)
        assert all(len(each.sent) <= self.limit_of_one for each in self.interests)

    @invariant()
    def whoever_follows_a_document_is_found_by_it(self) -> None:
        for id in IDS:
            following = {interest for interest in self.interests if interest.follows(id)}
            assert set(self.followed.of(id)) == following
            for interest in self.interests:
                ones = [one for each in interest.audiences.values() for one in each.members.values()]
                assert interest.named[id] == sum(id in one.held for one in ones)
                assert id not in interest.contents or id in interest.named

    def teardown(self) -> None:
        for number, uid, member in list(getattr(self, "account", ())):
            self.followed.leaves(self.interests[number].audiences[uid], member)
        for interest in getattr(self, "interests", ()):
            self.followed.ends(interest)
            assert not interest.named
        if hasattr(self, "followed"):
            assert len(self.followed) == 0
            assert not any(map(self.followed.of, IDS))


TestFollowing = Following.TestCase
Following.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)
