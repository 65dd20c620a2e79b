from collections import Counter
from itertools import pairwise

import pytest

from services.ingest.sources import SourceError
from services.ingest.sources.demo.timeline import Timeline
from services.ingest.sources.hashtags import find_hashtags
from services.ingest.sources.synthetic import SyntheticSource
from services.ingest.sources.urls import find_urls
from shared.events import Action, Destroy, Event, Tweet
from tests.support.sources import event_of, reading
from tests.unit.clocks import ManualClock

START = 1_700_000_000_000


def draw(count: int, *, seed: int = 1, rate: float = 20, run: int = START) -> list[Event]:
    timeline = Timeline(seed=seed, rate=rate, run=run)
    return [timeline.draw(START + round(n * 1000 / rate)) for n in range(count)]


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return draw(20_000)


@pytest.fixture(scope="module")
def posts(events: list[Event]) -> list[Tweet]:
    return [event for event in events if isinstance(event, Tweet) and event.action is Action.CREATE]


def test_the_same_seed_says_the_same_and_another_seed_something_else() -> None:
    assert draw(500) == draw(500)
    texts = [[event.text for event in draw(100, seed=seed) if isinstance(event, Tweet)] for seed in (1, 2)]
    assert texts[0] != texts[1]


def test_the_next_run_reuses_no_id() -> None:
    first, second = ({event.id for event in draw(1000, run=run)} for run in (START, START + 60_000))
    assert not first & second


@pytest.mark.parametrize("term", ["nfl", "nyc"])
def test_one_in_twenty_contains_the_term(posts: list[Tweet], term: str) -> None:
    share = sum(term in post.text.casefold() for post in posts) / len(posts)
    assert 0.045 < share < 0.055


def test_shares_of_links_and_media(posts: list[Tweet]) -> None:
    assert 0.23 < sum(bool(post.urls) for post in posts) / len(posts) < 0.27
    assert 0.07 < sum(bool(post.media) for post in posts) / len(posts) < 0.09


def test_links_and_hashtags_are_those_of_the_text(events: list[Event]) -> None:
    for event in events[:5000]:
        if isinstance(event, Tweet):
            assert event.urls == find_urls(event.text)
            assert event.hashtags == find_hashtags(event.text)


def test_many_scripts_and_some_emoji(posts: list[Tweet]) -> None:
    text = "".join(post.text for post in posts)
    for sample in ("ß", "東京", "القاهرة", "חיפה", "चाय", "서울", "снег", "ñ", "ç", "İ", "🏈", "🗽", "👩🏽‍🚀"):
        assert sample in text
    assert {"en", "es", "ja", "ar", "he", "hi", "ko", "ru", "de", "fr", "pt"} <= {post.lang for post in posts}


def test_some_authors_write_much_more_than_others(posts: list[Tweet]) -> None:
    counts = Counter(post.user.screen_name for post in posts)
    assert len(counts) > 300
    assert counts.most_common(1)[0][1] > 10 * counts.most_common()[-1][1]
    for post in posts[:1000]:
        assert post.user.avatar in {f"/_/static/avatars/{n}.svg" for n in range(12)}


def test_posts_are_plainly_demo_data(posts: list[Tweet]) -> None:
    assert {post.source for post in posts} == {"synthetic"}
    assert all(post.url.startswith("https://example.com/") for post in posts)
    assert all(".example.com" in url or "example." in url for post in posts for url in post.urls)


def test_edits_and_deletions_follow_their_post_by_seconds(events: list[Event], posts: list[Tweet]) -> None:
    latest: dict[str, Event] = {}
    edits = deletions = lost_its_term = 0
    for event in events:
        before = latest.get(event.id)
        if event.action is Action.CREATE:
            assert before is None
        else:
            assert isinstance(before, Tweet), "only what is there can be edited or deleted"
            assert 2_900 < event.mtime - before.mtime < 25_000
        if isinstance(event, Tweet) and isinstance(before, Tweet):
            edits += 1
            assert event.text != before.text
            assert (event.user, event.created_at, event.url) == (before.user, before.created_at, before.url)
            lost_its_term += "nfl" in before.text.lower() and "nfl" not in event.text.lower()
        deletions += isinstance(event, Destroy)
        latest[event.id] = event
    assert 0.015 < edits / len(posts) < 0.025
    assert 0.007 < deletions / len(posts) < 0.015
    assert lost_its_term


def test_a_version_is_newer_than_the_last_even_if_the_clock_stands_still() -> None:
    timeline = Timeline(seed=3, rate=20, run=START)
    seen: dict[str, int] = {}
    for event in (timeline.draw(START) for _ in range(5000)):
        assert event.mtime > seen.get(event.id, 0)
        seen[event.id] = event.mtime


@pytest.mark.parametrize("rate", [0.1, 1.0, 20.0, 333.0, 20_000.0])
async def test_the_rate_holds_without_drift(rate: float) -> None:
    clock = ManualClock()
    source = SyntheticSource(rate=rate, seed=1, clock=clock)
    wanted = int(min(max(rate * 10, 3), 20_000))
    stream = reading(source)
    for _ in range(wanted):
        await anext(stream)
    assert clock.seconds == pytest.approx((wanted - 1) / rate, abs=0.005)
    assert len(clock.slept) <= 1.2 * min(wanted, clock.seconds / 0.002 + wanted / 100) + 2, "no busy loop"
    await stream.aclose()


async def test_events_happen_when_they_are_due() -> None:
    clock = ManualClock(START)
    stream = reading(SyntheticSource(rate=4, seed=1, clock=clock))
    mtimes = [(await event_of(stream)).mtime for _ in range(9)]
    assert mtimes[0] == START
    assert all(later - earlier == 250 for earlier, later in pairwise(mtimes))


async def test_after_a_stall_no_more_than_a_second_is_caught_up() -> None:
    clock = ManualClock()
    stream = reading(SyntheticSource(rate=100, seed=1, clock=clock))
    await anext(stream)
    clock.seconds += 60
    stalled_until = clock.seconds
    at_once = 0
    while clock.seconds == stalled_until:
        await anext(stream)
        at_once += 1
    assert 90 <= at_once <= 103


async def test_others_get_to_run_while_it_is_far_behind() -> None:
    clock = ManualClock()
    stream = reading(SyntheticSource(rate=100_000, seed=1, clock=clock))
    await anext(stream)
    clock.seconds += 1
    for _ in range(1000):
        await anext(stream)
    assert clock.slept.count(0) >= 9


async def test_a_restarted_source_begins_with_new_ids() -> None:
    clock = ManualClock()
    first = await event_of(reading(SyntheticSource(rate=20, seed=1, clock=clock)))
    clock.seconds += 0.5
    again = await event_of(reading(SyntheticSource(rate=20, seed=1, clock=clock)))
    assert first.id != again.id
    assert isinstance(first, Tweet)
    assert isinstance(again, Tweet)
    assert first.text == again.text


@pytest.mark.parametrize("rate", [0, -1, 100_001, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(SourceError, match="ROOST_INGEST_RATE"):
        SyntheticSource(rate=rate, seed=1)


def test_it_imitates_a_stream_that_does_not_wait() -> None:
    assert not SyntheticSource.can_wait
