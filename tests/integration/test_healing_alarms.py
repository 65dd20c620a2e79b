"""A broker short of its disk or its memory takes nothing from publishers. That ends, and nothing is lost."""

from contextlib import AsyncExitStack

import pytest

from services.router.app import RouterApp
from services.router.settings import RouterSettings
from tests.integration.test_router import is_depth
from tests.support.broker import Broker
from tests.support.exchange import consumer, publish
from tests.support.management import Alarm
from tests.support.services import running
from tests.support.tweets import tweet
from tests.support.waiting import eventually
from tests.support.whole import whole


@pytest.mark.parametrize("what", ["disk", pytest.param("memory", marks=pytest.mark.slow)])
async def test_an_alarm_holds_tweets_up_and_loses_none(broker: Broker, what: str) -> None:
    async with whole(broker) as roost:
        async with Alarm(broker, what):
            for number in range(50):
                roost.source.say(f"nfl, said during the alarm {number}")
            await eventually(lambda: not roost.ingest.health.state()["publishing"], within_s=5)
            # A gateway needs nobody who takes what it publishes.
            roost.rooms.append("quiet")
            assert await roost.page.call("subscribe", "quiet") is True
            await eventually(lambda: not roost.wrong_bindings())
            assert roost.gateway.health.ready
            assert roost.ingest.health.state()["broker"]
            assert not roost.ingest.health.ready
        await roost.works()
        await roost.loses_nothing()


async def test_a_router_whose_tweets_nobody_takes_says_so_and_has_lost_none_in_the_end(broker: Broker) -> None:
    texts = {f"held up {number}" for number in range(20)}
    settings = RouterSettings(
        amqp_url=broker.amqp_url("router"), management_url=broker.management_url("router"), prefetch=5
    )
    async with AsyncExitStack() as alarm, consumer(broker, ["term.held"]) as taken:
        for text in texts:
            await publish(broker, tweet(text))
        await eventually(lambda: is_depth(broker, 20))
        await alarm.enter_async_context(Alarm(broker, "disk"))
        # The first one is stopped meanwhile, the second one sees the end.
        for is_last in (False, True):
            async with running(app := RouterApp(settings)):
                await eventually(lambda: app.health.state()["consuming"])
                await eventually(lambda: not app.health.state()["publishing"])
                assert taken.texts() == []
                if is_last:
                    await alarm.aclose()
                    await eventually(lambda: set(taken.texts()) == texts)
                    await eventually(lambda: app.health.ready)
