"""Pages that subscribe, and object to whatever they should not have been told: a plain model to compare with.

Nothing here knows how a gateway does it. What a query and a list of fields mean is written down once more, plainly.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from services.gateway.catchup import OVERLAP_US
from services.gateway.subscriptions import request
from shared.events import Document
from tests.unit.subscription_network import Client, Gateway, now

Content = dict[str, Any]


class Question(NamedTuple):
    """A `createQuery`, and what it means."""

    asked: object
    matches: Callable[[Document], bool]


class Choice(NamedTuple):
    """A list of fields, and what is left of a document."""

    asked: list[str] | None
    of: Callable[[Document], Content]


QUESTIONS = (
    Question({"term": "nfl"}, lambda one: "nfl" in one["text"]),
    Question({"term": "nfl", "has_url": True}, lambda one: "nfl" in one["text"] and bool(one["urls"])),
    Question({"term": ["nfl", "nba"]}, lambda one: "nfl" in one["text"] or "nba" in one["text"]),
    Question({"term": "nfl", "user.screen_name": "ann"}, lambda one: "nfl" in one["text"] and _author(one) == "ann"),
    Question({"from": ["ann", "bob"], "has_url": False}, lambda one: _author(one) in "annbob" and not one["urls"]),
    Question({}, lambda _: True),
    Question(None, lambda _: False),
)

_NO_FIELDS = {"action", "collection", "id", "seq", "mtime"}

CHOICES = (
    Choice(None, lambda one: {name: one[name] for name in one.keys() - _NO_FIELDS}),
    Choice(["text"], lambda one: {"text": one["text"]}),
    Choice(["user.screen_name", "urls"], lambda one: {"user": {"screen_name": _author(one)}, "urls": one["urls"]}),
    Choice([], lambda _: {}),
)


class History:
    """All that has happened to documents."""

    def __init__(self, *, is_bounded: bool) -> None:
        """`is_bounded`: gateways follow only a few of them."""
        self.is_bounded = is_bounded
        self.lives: dict[str, list[Document]] = {}
        """By id all versions, the oldest first."""
        self._published: dict[int, float] = {}
        self._seqs: dict[tuple[str, int], set[int]] = {}

    def happened(self, document: Document, at: float) -> None:
        """One more version, published when the clock said `at`."""
        self.lives.setdefault(document["id"], []).append(document)
        self._published[document["seq"]] = at
        self.read_again(document)

    def read_again(self, document: Document) -> None:
        """The same version, by another number: a source has begun again a little earlier."""
        self._seqs.setdefault((document["id"], document["mtime"]), set()).add(document["seq"])

    def is_number_of(self, seq: int, id: str, mtime: int) -> bool:
        """Whether it is a number of a version."""
        return seq in self._seqs[id, mtime]

    def published_after(self, document: Document, time: float) -> bool:
        """Whether a version was published later than at some time."""
        return self._published[document["seq"]] > time

    def version(self, id: str, mtime: int) -> Document:
        """One version of a document."""
        return next(one for one in self.lives[id] if one["mtime"] == mtime and one["action"] != "destroy")

    def newest(self, id: str) -> Document | None:
        """A document as it is now; None if it was destroyed."""
        newest = self.lives[id][-1]
        return None if newest["action"] == "destroy" else newest

    def current(self) -> list[Document]:
        """All documents as they are now."""
        return [one for id in self.lives if (one := self.newest(id)) is not None]


class Subscription:
    """One that a page has, with the documents that it shows under it."""

    def __init__(self, world: History, uid: str, question: Question, choice: Choice) -> None:
        self.uid, self.question, self.choice = uid, question, choice
        self.shown: dict[str, int] = {}
        """By id the `mtime` of its version."""
        self.let_go: set[str] = set()
        """What it was told that it is told of no more."""
        self.since: int | None = None
        self.seq = 0
        """The greatest that came."""
        self.resumes = True
        """Whether it asks for what is new since then."""
        self.acknowledged: float | None = None
        """When, by the clock; None while it is being made."""
        self.begun = 0
        """How often it was asked for."""
        self.named: dict[str, int] = {}
        self._world = world
        self._known: set[str] = set()
        """Of these the gateway knows what fields the page has of them."""
        self._seen: set[tuple[str, int]] = set()

    def begins(self, *, since: int | None) -> dict[str, Any]:
        """What is sent to subscribe."""
        self.since, self.acknowledged = since, None
        self.named = dict(self.shown)
        self._seen = set(self.shown.items())
        self._known = set()
        asked = {"uid": self.uid, "collection": "tweet", "documents": self.named, "fields": self.choice.asked}
        return asked | {"createQuery": self.question.asked, "since": since}

    def is_made(self, gateway: Gateway, answer: Mapping[str, Any]) -> None:
        """It is acknowledged: all that the gateway knows of was told before."""
        self.acknowledged = now()
        self.seq = max(self.seq, answer["seq"] or 0)
        rooms = [gateway.rooms.with_key(key) for key in answer["labels"]]
        for id in self._world.lives:
            known = gateway.versions.get(id)
            if known is None or id in self.let_go:
                continue
            if id in self.named:
                assert (id in self.shown) is not known.gone, "what went meanwhile is told at once"
                assert known.gone or known.newest[0] <= self.shown[id], "what changed meanwhile is told at once"
            elif self.since is not None and not known.gone and any(room in known.shown for room in rooms):
                is_new = known.seq > self.since - OVERLAP_US
                is_new &= self.question.matches(self._world.version(id, known.newest[0]))
                assert (id in self.shown) or not is_new, "what is new since then is told at once"
        for id, mtime in self.shown.items():
            known = gateway.versions.get(id)
            if known is not None and known.newest[0] == mtime:
                self._known.add(id)

    def told(self, name: str, payload: Content) -> None:
        """Take in an event."""
        if name == "unfollow":
            assert self._world.is_bounded, "there is no reason to let go of any"
            for id in payload["ids"]:
                assert id in self.shown, "what is let go of is something that is there"
                # If it comes to matter again, it comes as new, and be it the same version.
                self._seen.discard((id, self.shown.pop(id)))
                self.let_go.add(id)
            return
        assert name in {"create", "save", "destroy"}, f"{name} {payload}: nothing is missing"
        id = payload["id"]
        if name == "destroy":
            assert payload == {"id": id}
            assert id in self.shown, "what goes is something that is there, and goes once"
            assert self._world.newest(id) is None, "it is destroyed"
            del self.shown[id]
            self._known.discard(id)
            return
        version = self._world.version(id, payload["mtime"])
        content = self.choice.of(version)
        assert payload == {"id": id, "mtime": version["mtime"], "seq": payload["seq"]} | content, (
            "the fields asked for"
        )
        assert self._world.is_number_of(payload["seq"], id, payload["mtime"])
        assert (id, payload["mtime"]) not in self._seen, "nothing comes twice"
        self._seen.add((id, payload["mtime"]))
        if name == "create":
            assert id not in self.shown, "what is new is not there yet"
            assert self.question.matches(version), "what is new matches"
            self.let_go.discard(id)
            assert payload["seq"] > (0 if self.since is None else self.since - OVERLAP_US), "what is new is no older"
        else:
            assert id in self.shown, "what is changed is there"
            assert payload["mtime"] > self.shown[id], "what is changed is newer"
            before = self.choice.of(self._world.version(id, self.shown[id]))
            assert id not in self._known or content != before, "a change of other fields is not told"
        self.shown[id] = payload["mtime"]
        self._known.add(id)
        self.seq = max(self.seq, payload["seq"])

    def check(self) -> None:
        """Everything has come that was to come: it shows what it should."""
        for id, mtime in self.shown.items():
            newest = self._world.newest(id)
            assert newest is not None, f"{id} is shown and gone"
            shown = self._world.version(id, mtime)
            assert self.choice.of(shown) == self.choice.of(newest), f"{id} is shown as of {mtime}: {newest}"
        for id in self.named.keys() - self.let_go:
            assert (id in self.shown) == (self._world.newest(id) is not None), f"{id} was named"
        for one in self._world.current():
            if one["id"] not in self.shown and one["id"] not in self.let_go:
                assert not self._lacks(one), f"{one} is not shown"

    def _lacks(self, newest: Document) -> bool:
        """Whether a document that is not shown should be."""
        if not self.question.matches(newest):
            return False
        if self.since is not None:
            return bool(newest["seq"] > self.since - OVERLAP_US)
        assert self.acknowledged is not None
        return self._world.published_after(newest, self.acknowledged)


class Page:
    """A browser's page, and its connection."""

    def __init__(self, world: History, number: int) -> None:
        self.number = number
        self.subscriptions: dict[str, Subscription] = {}
        """Those that are wanted, by `uid`."""
        self.trace: list[str] = []
        """What has happened to it."""
        self.objections: list[AssertionError] = []
        """To what it was told."""
        self._world = world
        self._gateway: Gateway | None = None
        self._client: Client | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it has a gateway now."""
        return self._gateway is not None

    def connect(self, gateway: Gateway) -> None:
        """Open a connection."""
        self._note(f"connects to {id(gateway) % 1000}")

        def told(event: bytes) -> None:
            try:
                assert client is self._client, "a connection that has ended is silent"
                self._told(event)
            except AssertionError as error:
                # Who delivers it would only log it.
                self._note(f"OBJECTS: {error}")
                self.objections.append(error)

        client = self._client = Client(told)
        self._gateway = gateway

    def disconnect(self) -> None:
        """Lose the connection."""
        if self._gateway is not None and self._client is not None:
            self._gateway.subscribing.leave(self._client.connection)
            assert self._client.places == 0
        self._note("disconnects")
        self._gateway = self._client = None
        for one in self.subscriptions.values():
            one.acknowledged = None

    async def subscribe(self, uid: str, *, since: int | None) -> None:
        """Ask for a subscription, by what the page has of it."""
        gateway, client, mine = self._gateway, self._client, self.subscriptions[uid]
        assert gateway is not None
        assert client is not None
        # All that was sent to the page before has arrived there.
        gateway.flush()
        asked = mine.begins(since=since)
        self._note(f"asks {asked}")
        begun = mine.begun = mine.begun + 1
        answer = await gateway.subscribing.subscribe(client.connection, request.read(asked))
        assert isinstance(answer, dict), "it is not refused"
        assert answer["uid"] == uid
        if client is self._client and self.subscriptions.get(uid) is mine and mine.begun == begun:
            self._note(f"has {uid}")
            mine.is_made(gateway, answer)

    def unsubscribe(self, uid: str) -> None:
        """End a subscription."""
        if self._gateway is not None and self._client is not None:
            self._gateway.subscribing.unsubscribe(self._client.connection, uid)
        self._note(f"ends {uid}")
        self.subscriptions.pop(uid, None)

    def check(self) -> None:
        """It shows what it should, and has only been told what it should be."""
        for objection in self.objections:
            raise objection
        for one in self.subscriptions.values():
            if one.acknowledged is not None:
                self._note(f"should show all of {one.uid}")
                one.check()

    def _told(self, event: bytes) -> None:
        name, payload = orjson.loads(event.removeprefix(b"2"))
        uid, collection, what = name.split(":")
        self._note(f"is told {name} {payload}")
        assert collection == "tweet"
        assert uid in self.subscriptions, "what has ended is silent"
        self.subscriptions[uid].told(what, payload)

    def _note(self, what: str) -> None:
        self.trace.append(f"{now():8.3f}  page {self.number} {what}")


def _author(document: Document) -> str:
    return str(document["user"]["screen_name"])
