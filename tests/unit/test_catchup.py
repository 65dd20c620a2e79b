"""What rooms lack comes from the archive once, whatever happens while it is asked; or they are told of a gap."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.gateway.auth import Grant
from services.gateway.history import NoArchiveError
from services.gateway.holes import Hole
from shared.events import Document, to_document
from shared.history import Answer, LabelsQuery, Query, TweetsQuery
from shared.labels import Label
from tests.support.tweets import deleted, edited, tweet
from tests.support.waiting import eventually
from tests.unit.archive_in_memory import NOW, SECOND, World


def some(number: int, start: int, text: str = "nfl") -> list[Document]:
    """Tweets, a second apart."""
    return [to_document(tweet(f"{text} {each}"), start + each * SECOND) for each in range(number)]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.end()


async def test_what_somebody_has_scrolled_back_to_others_are_shown_as_well(world: World) -> None:
    tweets = some(20, NOW)
    world.archive.documents += tweets
    first = await world.comes(backfill=5)
    assert len(first.told) == 5
    await world.comes(documents={one["id"]: one["mtime"] for one in tweets[:15]})
    assert len((await world.comes(since=NOW - 10 * SECOND)).short()) == 20
    assert len((await world.comes(backfill=20)).short()) == 20
    assert world.told == []


async def test_nobody_puts_a_tweet_into_a_room_by_naming_it(world: World) -> None:
    spam = tweet("nothing of it")
    world.archive.documents.append(to_document(spam, NOW))
    await world.comes()
    namer = await world.comes(documents={spam.id: 0})
    assert namer.short() == ["updateTweet nothing of it"], "it holds an older version"
    changed = to_document(edited(spam, "still nothing of it"), NOW + SECOND)
    world.lives([changed], name=None)
    assert world.told == [], "the others do not hold it"
    assert namer.short()[1:] == ["updateTweet still nothing of it"]
    assert (await world.comes(backfill=50)).told == []
    world.lives([to_document(deleted(spam), NOW + 2 * SECOND)], name=None)
    assert namer.short()[2:] == ["destroyTweet"]
    assert len(world.followers) == 0


async def test_a_token_is_told_that_what_it_holds_is_gone_and_nothing_else_of_other_rooms(world: World) -> None:
    gone, secret = tweet("nfl gone"), tweet("of another room")
    world.archive.documents += [to_document(gone, NOW), to_document(secret, NOW)]
    world.archive.documents.append(to_document(deleted(gone), NOW + SECOND))
    grant = Grant(everything=False, labels=frozenset({Label("term", "nfl")}))
    client = await world.comes(grant=grant, documents={gone.id: gone.mtime, secret.id: 0})
    assert client.short() == ["destroyTweet"]
    world.lives([to_document(edited(secret, "of another room, still"), NOW + 2 * SECOND)], name=None)
    assert client.short() == ["destroyTweet"]


@pytest.mark.parametrize("text", ["nfl changed", "changed, and in the room no more"])
async def test_who_was_told_of_a_change_before_its_room_is_not_told_again_with_the_room(
    world: World, text: str
) -> None:
    held = tweet("nfl held")
    client, other = await world.comes(documents={held.id: held.mtime}), await world.comes()
    changed = to_document(edited(held, text), NOW + SECOND)
    world.lives([changed], name=None)
    assert client.short() == [f"updateTweet {text}"]
    # A router that was killed has left it to another one, which comes late with it.
    world.lives([to_document(held, NOW), changed])
    assert client.short() == [f"updateTweet {text}"]
    assert other.short() == [f"newTweet {text}"]
    assert world.told == []
    world.lives([to_document(deleted(held), NOW + 2 * SECOND)], name=None)
    assert world.brings("destroyTweet") == 1, "all of the room are told, once"
    assert len(client.told) == len(other.told) == 1


async def test_who_holds_an_old_tweet_is_told_of_its_change_though_it_is_no_news_to_the_room(world: World) -> None:
    held = tweet("nfl held")
    client = await world.comes(documents={held.id: held.mtime})
    await world.comes()
    changed = to_document(edited(held, "nfl changed"), NOW - SECOND)
    world.catchup.bring(changed, [])
    world.catchup.bring(changed, [world.room()])
    assert client.short() == ["updateTweet nfl changed"]
    assert world.told == []


async def test_a_second_look_tells_nobody_of_tweets_from_before_the_past_that_was_asked_for(world: World) -> None:
    world.received = None
    world.archive.documents += [to_document(tweet(f"nfl {each}"), NOW + each) for each in range(20)]
    newcomer = await world.comes(backfill=5)
    assert len(newcomer.told) == 5
    await eventually(lambda: any(isinstance(query, LabelsQuery) for query in world.archive.asked))
    world.archive.documents += some(1, NOW + 30 * SECOND, "nfl news")
    await eventually(lambda: world.brings("nfl news") == 1)
    assert len(world.told) == 1


async def test_what_a_router_left_out_comes_late_to_those_alone_who_were_there(world: World) -> None:
    first = await world.comes()
    live = some(10, NOW + 100 * SECOND)
    world.archive.documents += live
    world.lives(live)
    world.received = live[-1]["seq"]
    others = [await world.comes(backfill=5), await world.comes(since=NOW + 100 * SECOND), await world.comes()]
    before = [other.told.copy() for other in others]
    world.catchup.bring(to_document(tweet("nfl late"), NOW + 50 * SECOND), [world.room()])
    assert first.short() == ["newTweet nfl late"]
    assert [other.told for other in others] == before


async def test_what_is_forgotten_while_the_archive_brings_it_is_not_called_covered() -> None:
    world = World(remembered=100)
    await world.comes()
    await world.comes("other")
    old, live = some(50, NOW), some(10, NOW + 1000 * SECOND)
    world.archive.documents += old + live
    world.lives(live)
    # The table is full: that is its usual state.
    world.lives(some(90, NOW + 2000 * SECOND, "other"), "other")
    back = await world.comes(since=NOW + 20 * SECOND)
    told = [one for one in back.short() if one != "gap"]
    assert "gap" in back.short() or len(told) == 60
    await world.end()


async def test_a_hole_that_is_noticed_while_another_is_mended_is_mended_too(world: World) -> None:
    await world.comes()
    await eventually(lambda: world.room().recent.covered_from is not None)
    late = to_document(tweet("nfl late"), NOW + 50 * SECOND)
    world.archive.documents.append(to_document(tweet("nfl early"), NOW + 5 * SECOND))

    def meanwhile(query: Query) -> None:
        if isinstance(query, TweetsQuery) and query.label == "term.nfl" and late not in world.archive.documents:
            world.archive.documents.append(late)
            world.mending.fell_into(Hole(NOW + 40 * SECOND, NOW + 60 * SECOND))

    world.archive.meanwhile = meanwhile
    world.mending.fell_into(Hole(NOW, NOW + 10 * SECOND))
    await eventually(lambda: world.brings("nfl early") == world.brings("nfl late") == 1)
    await eventually(lambda: world.room().recent.hole_from is None)
    assert world.gaps == []


async def test_deletions_of_a_second_hole_come_as_well(world: World) -> None:
    await world.comes()
    victim = tweet("nfl victim")
    world.archive.documents.append(to_document(victim, NOW))
    world.lives(world.archive.documents)
    end = to_document(deleted(victim), NOW + 50 * SECOND)

    def meanwhile(query: Query) -> None:
        if isinstance(query, TweetsQuery) and query.label == "action.destroy" and end not in world.archive.documents:
            world.archive.documents.append(end)
            world.mending.fell_into(Hole(NOW + 40 * SECOND, NOW + 60 * SECOND))

    world.archive.meanwhile = meanwhile
    world.mending.fell_into(Hole(NOW, NOW + 10 * SECOND))
    await eventually(lambda: world.brings(f'"id":"{victim.id}","mtime"') == 1)


async def test_more_deletions_than_one_answer_takes_come_all() -> None:
    world = World(remembered=100_000, most=100)
    ends = [
        {"action": "destroy", "collection": "tweet", "id": f"x:{each}", "seq": NOW + each, "mtime": 1}
        for each in range(1050)
    ]
    world.archive.documents += ends
    await world.catchup.bring_changes(NOW - 1)
    assert len(world.versions) == 1050
    await world.end()


async def test_who_opens_a_page_does_not_wait_for_a_patient_mender(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.arrivals.BACKFILL_PATIENCE_S", 0.1)
    await world.comes()
    await eventually(lambda: world.room().recent.covered_from is not None)
    world.archive.documents += some(3, NOW + SECOND)
    world.room().recent.lost(NOW, None)
    task = asyncio.create_task(
        world.catchup.cover(world.room(), since=NOW, least=0, patience_s=60, caught_up_within_s=None)
    )
    world.archive.lags.clear()
    await eventually(lambda: world.room() in world.catchup._asking)
    newcomer = await asyncio.wait_for(world.comes(backfill=50), 5)
    assert newcomer.told == []
    world.archive.lags.set()
    assert await task
    await eventually(lambda: world.brings("newTweet") == 3)


async def test_what_routers_missed_before_the_mark_was_answered_comes_to_whoever_was_there(world: World) -> None:
    world.archive.complete_to = NOW + SECOND
    await world.comes()
    await eventually(lambda: world.room().recent.covered_from is not None)
    # Published after the acknowledgement, stored before the mark, and no router knew of the room yet.
    world.archive.documents.append(to_document(tweet("nfl seam"), NOW + SECOND // 2))
    await eventually(lambda: world.brings("nfl seam") == 1)


async def test_a_seam_with_more_than_one_answer_takes_comes_whole() -> None:
    world = World(most=10)
    await world.comes()
    await eventually(lambda: world.room().recent.covered_from is not None)
    world.archive.documents += some(55, NOW + SECOND)
    await eventually(lambda: world.brings("newTweet") == 55)
    await world.end()


async def test_a_room_that_is_opened_while_the_archive_is_away_gets_what_came_in_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.archive.is_here = False

    async def comes_back(patience_s: float) -> bool:
        if patience_s:
            await eventually(lambda: world.archive.is_here)
        return world.archive.is_here

    monkeypatch.setattr(world.archive, "here", comes_back)
    await world.comes()
    await eventually(lambda: world.room().recent.hole_from is not None)
    world.archive.documents += some(3, NOW + SECOND)
    world.archive.is_here = True
    await eventually(lambda: world.brings("newTweet") == 3)
    assert world.gaps == []


async def test_who_comes_back_just_when_the_archive_goes_away_waits_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, failures = world.archive.ask, [NoArchiveError("away")] * 2

    async def fails_at_first(query: Query) -> Answer:
        if failures:
            raise failures.pop()
        return await ask(query)

    monkeypatch.setattr(world.archive, "ask", fails_at_first)
    world.archive.documents += some(3, NOW + SECOND)
    assert (await world.comes(since=NOW)).short() == ["newTweet nfl 0", "newTweet nfl 1", "newTweet nfl 2"]


async def test_where_there_never_was_an_archive_nobody_is_told_of_a_gap_for_entering(world: World) -> None:
    world.archive.is_here = world.archive.expected = False
    await world.comes()
    await world.comes(backfill=50)
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.gaps == []
    assert world.room().recent.hole_from is None


async def test_what_is_lost_and_not_to_be_had_is_one_gap(world: World) -> None:
    await world.comes()
    await eventually(lambda: world.room().recent.covered_from is not None)
    world.archive.is_here = False
    world.mending.fell_into(Hole(NOW, NOW + SECOND))
    await eventually(lambda: world.gaps == [("nfl", Hole(NOW, NOW + SECOND))])
