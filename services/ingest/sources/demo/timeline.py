"""The life of the demo's posts: they are written, some are edited, some deleted."""

import heapq
import re
from random import Random

import msgspec

from services.ingest.sources.demo.languages import LANGUAGES
from services.ingest.sources.demo.posts import Composer
from services.ingest.sources.hashtags import find_hashtags
from services.ingest.sources.times import iso
from shared.events import Action, Destroy, Event, Tweet

SOURCE = "synthetic"
EDIT_SHARE = 0.02
DELETE_SHARE = 0.01
_FOLLOW_UP_S = (3.0, 20.0)
"""How long after the post its edit or deletion comes, at least and at most, in seconds."""
_MAX_WAITING_EVENTS = 5_000
"""At high rates follow-ups come sooner, so that the posts waiting for one stay few."""

_TERMS = re.compile("nfl|nyc", re.IGNORECASE)
_WITHOUT_TERM = {"nfl": "football", "nyc": "town"}


class Timeline:
    """An endless sequence of events, as fast as they are asked for.

    With the same seed, rate and run it is the same sequence. Edits and deletions follow their post after a
    number of events that makes seconds of it at `rate`.
    """

    def __init__(self, *, seed: int, rate: float, run: int) -> None:
        """`rate` is in events per second. `run` is part of every id; no two runs may have the same."""
        self._composer = Composer(seed)
        self._random = Random(f"timeline {seed}")
        self._rate = rate
        self._run = run
        self._drawn = 0
        self._posts = 0
        self._follow_ups: list[tuple[int, int, Action, Tweet]] = []

    def draw(self, now_ms: int) -> Event:
        """The next event, happening now: `now_ms` is in milliseconds since the epoch."""
        self._drawn += 1
        if self._follow_ups and self._follow_ups[0][0] <= self._drawn:
            _, number, action, tweet = heapq.heappop(self._follow_ups)
            # A version is newer than the one before it, whatever the clock says.
            mtime = max(now_ms, tweet.mtime + 1)
            if action is Action.DESTROY:
                return Destroy(id=tweet.id, mtime=mtime)
            return self._follow(self._edit(tweet, mtime), number, edits=0.0, deletions=0.1)
        return self._follow(self._write(now_ms), self._posts, edits=EDIT_SHARE, deletions=DELETE_SHARE)

    def _write(self, now_ms: int) -> Tweet:
        self._posts += 1
        draft = self._composer.compose()
        return Tweet(
            id=f"{SOURCE}:{self._run}-{self._posts}",
            mtime=now_ms,
            source=SOURCE,
            url=f"https://example.com/{draft.user.screen_name}/status/{self._posts}",
            text=draft.text,
            lang=draft.lang,
            created_at=iso(now_ms),
            user=draft.user,
            urls=draft.urls,
            hashtags=draft.hashtags,
            media=draft.media,
        )

    def _edit(self, tweet: Tweet, mtime: int) -> Tweet:
        """A new version that says what changed, or no longer contains its term."""
        text = tweet.text
        if self._random.random() < 0.4:
            text = _TERMS.sub(lambda term: _WITHOUT_TERM[term[0].lower()], text)
        if text == tweet.text:
            text = f"{LANGUAGES[tweet.lang].edited if tweet.lang in LANGUAGES else 'Edit:'} {text}"
        return msgspec.structs.replace(
            tweet, action=Action.UPDATE, mtime=mtime, text=text, hashtags=find_hashtags(text)
        )

    def _follow(self, tweet: Tweet, number: int, *, edits: float, deletions: float) -> Tweet:
        """Let `tweet` be edited or deleted later, with these probabilities; gives it back."""
        chance = self._random.random()
        if chance < edits + deletions:
            wait = min(self._random.uniform(*_FOLLOW_UP_S) * self._rate, _MAX_WAITING_EVENTS)
            action = Action.UPDATE if chance < edits else Action.DESTROY
            heapq.heappush(self._follow_ups, (self._drawn + max(1, round(wait)), number, action, tweet))
        return tweet
