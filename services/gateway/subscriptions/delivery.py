"""Tells subscriptions what happens to documents."""

import asyncio
from collections.abc import Collection, Iterable
from typing import NamedTuple

import orjson

from services.gateway import frames
from services.gateway.connection import Connection
from services.gateway.holes import Hole, gap, hull
from services.gateway.outbox import Outbox
from services.gateway.rooms import Room
from services.gateway.subscriptions.followed import Followed, LetGo
from services.gateway.subscriptions.interest import Audience, Interest, Sent
from services.gateway.versions import Delivery, Version, Versions
from services.gateway.views import View
from shared import metrics
from shared.events import Action, Document
from shared.labels import Facets


class _News(NamedTuple):
    """A document as it is now."""

    id: str
    document: Document
    version: Version
    seq: int

    @property
    def mtime(self) -> int:
        """Of this version."""
        return self.version[0]


class Subscribers:
    """Tells those who have subscriptions.

    A document is matched once for each interest that its labels bring it to, and encoded once for each that it is
    sent for. Who holds it is not looked for one by one but where pages held it before they came.
    """

    def __init__(self, versions: Versions[View], outbox: Outbox, followed: Followed[Connection]) -> None:
        self._versions = versions
        self._outbox = outbox
        self.followed = followed
        self._gaps: dict[Interest[Connection], list[Hole]] = {}

    def wanting(self, document: Document, rooms: Iterable[Room[Connection]]) -> list[Interest[Connection]]:
        """The interests in some rooms that a document matches, in the newest version that is known of it."""
        interests = {interest: None for room in rooms for interest in room.interests}
        if not interests:
            return []
        known = self._versions.get(document["id"])
        if known is not None and known.newest > (document["mtime"], Action(document["action"]).rank):
            if known.gone:
                return []
            document = orjson.loads(known.json)
        if document["action"] == Action.DESTROY:
            return []
        seen: dict[str, Facets | None] = {}
        return [interest for interest in interests if _matches(interest, document, seen)]

    def tell(
        self,
        document: Document,
        deliveries: Iterable[Delivery[View]],
        matching: Collection[Interest[Connection]],
        *,
        is_late: bool,
    ) -> None:
        """Tell whoever has to be told of an event, after `versions` has taken it in and returned `deliveries`.

        `matching` are those of which it is known that the document, in its newest version, matches them (`wanting`).
        What `is_late` and new is told only to those who were there then, or asked for it.
        """
        id = document["id"]
        delivered = {delivery.view for delivery in deliveries if isinstance(delivery.view, Interest)}
        matching = delivered.intersection(matching)
        concerned = delivered.union(self.followed.of(id))
        known = self._versions.get(id) if concerned else None
        if known is None:
            return
        newer = known.newest > (document["mtime"], Action(document["action"]).rank)
        news = _News(id, orjson.loads(known.json) if newer else document, known.newest, known.seq)
        seen: dict[str, Facets | None] = {}
        for interest in concerned:
            if interest.wanted.collection.name != known.collection:
                continue
            if known.gone:
                self._destroy(interest, id)
            else:
                is_match = interest in delivered and (interest in matching or _matches(interest, news.document, seen))
                self._tell(interest, news, is_match=is_match, is_late=is_late)

    def notify(self, gone: Iterable[LetGo[Connection]]) -> None:
        """Tell members that they are not told any more of documents: `uid:collection:unfollow`."""
        for audience, members, ids in gone:
            metrics.GATEWAY_LET_GO.inc(len(ids))
            self._to_some(audience, "unfollow", members, frames.json({"ids": ids}), None)

    def tell_gap(self, interests: Iterable[Interest[Connection]], hole: Hole) -> None:
        """Tell those who have some interests that something may be missing.

        What several rooms lack is told of once, where an interest hangs on all of them.
        """
        for interest in interests:
            if not self._gaps:
                asyncio.get_running_loop().call_soon(self._tell_gaps)
            self._gaps.setdefault(interest, []).append(hole)

    def _tell_gaps(self) -> None:
        gaps, self._gaps = self._gaps, {}
        for interest, holes in gaps.items():
            json = frames.json(gap(hull(holes)))
            for audience in interest.audiences.values():
                self._to_some(audience, "gap", audience.members, json, None)
                metrics.GATEWAY_GAPS.inc(len(audience.members))

    def _tell(self, interest: Interest[Connection], news: _News, *, is_match: bool, is_late: bool) -> None:
        """Tell of a document as it is now: those who hold it, and where it `is_match` the others as well."""
        sent = interest.sent.get(news.id)
        is_named = news.id in interest.named
        if is_late and (interest.earliest is None or news.seq <= interest.earliest):
            is_match = False
        if not is_named and (not is_match if sent is None else news.version <= sent.version):
            return
        json, content = interest.project(news.document)
        is_changed = sent is not None and news.version > sent.version and content != sent.content
        created: list[tuple[Audience[Connection], Collection[Connection]]] = []
        left_out = False
        for audience in list(interest.audiences.values()):
            if is_named:
                self._to_some(audience, "save", self._brought_up_to_date(audience, news, content), json, news.seq)
            if is_changed:
                self._to_some(audience, "save", self._holding_sent(audience, news.id, sent), json, news.seq)
            if is_match:
                lacking = self._lacking(audience, news.id, sent)
                told = [m for m in lacking if news.seq > audience.members[m].after] if is_late else lacking
                left_out |= len(told) < len(lacking)
                self._to_some(audience, "create", told, json, news.seq)
                created.append((audience, told))
        if sent is not None and news.version > sent.version:
            interest.sent[news.id] = sent._replace(version=news.version, content=content)
        self._hold(interest, news, content, created if any(told for _, told in created) else [], by_all=not left_out)

    def _hold(
        self,
        interest: Interest[Connection],
        news: _News,
        content: int,
        created: list[tuple[Audience[Connection], Collection[Connection]]],
        *,
        by_all: bool,
    ) -> None:
        """Note who holds a document from now on: those it was `created` for, who are all that lacked it, or some."""
        if created and by_all:
            interest.number += 1
            self.notify(self.followed.sent(interest, news.id, Sent(interest.number, news.version, content)))
        elif created:
            for audience, members in created:
                for member in members:
                    self.notify(self.followed.holds(audience, member, [(news.id, news.mtime)]))
        if news.id in interest.named:
            interest.contents[news.id] = (news.mtime, content)

    def _lacking(self, audience: Audience[Connection], id: str, sent: Sent | None) -> Collection[Connection]:
        """The members who do not hold a document."""
        if id not in audience.interest.named:
            if sent is None:
                return audience.members
            if audience.newest <= sent.number:
                return ()
        number = -1 if sent is None else sent.number
        return [member for member, one in audience.members.items() if one.number > number and id not in one.held]

    def _holding_sent(self, audience: Audience[Connection], id: str, sent: Sent | None) -> Collection[Connection]:
        """The members who hold a document because it was sent to all, and not by themselves."""
        if sent is None:
            return ()
        if id not in audience.interest.named and audience.newest <= sent.number:
            return audience.members
        return [
            member for member, one in audience.members.items() if one.number <= sent.number and id not in one.held
        ]

    def _brought_up_to_date(self, audience: Audience[Connection], news: _News, content: int) -> list[Connection]:
        """Note that those whose pages held a document have this version; returns who has to be told of it."""
        behind = []
        for member, one in audience.members.items():
            held = one.held.get(news.id, news.mtime)
            if held >= news.mtime:
                continue
            is_changed = audience.interest.contents.get(news.id) != (held, content)
            if is_changed and not may_see(member, audience.interest, news.document):
                continue
            one.held[news.id] = news.mtime
            if is_changed:
                behind.append(member)
        return behind

    def _destroy(self, interest: Interest[Connection], id: str) -> None:
        sent = interest.sent.get(id)
        json = frames.json({"id": id})
        for audience in list(interest.audiences.values()):
            if id in interest.named:
                held = [member for member, one in audience.members.items() if id in one.held]
                self._to_some(audience, "destroy", held, json, None)
            self._to_some(audience, "destroy", self._holding_sent(audience, id, sent), json, None)
        self.followed.destroyed(interest, id)

    def _to_some(
        self, audience: Audience[Connection], name: str, members: Collection[Connection], json: bytes, seq: int | None
    ) -> None:
        """Send members of an audience an event."""
        if members:
            self._outbox.put_some(audience, members, audience.event(name, json), seq)
            metrics.GATEWAY_DELIVERIES.labels(event=name).inc()


def may_see(member: Connection, interest: Interest[Connection], document: Document) -> bool:
    """Whether a member may see a document that it names: a token grants labels, and no documents beside them."""
    if member.grant.everything:
        return True
    facets = interest.wanted.collection.facets_of(document)
    return facets is not None and member.grant.allows_one_of(facets)


def _matches(interest: Interest[Connection], document: Document, seen: dict[str, Facets | None]) -> bool:
    """Whether a document matches; its facets are looked for once for all interests."""
    collection = interest.wanted.collection
    if collection.name not in seen:
        seen[collection.name] = collection.facets_of(document)
    facets = seen[collection.name]
    return facets is not None and interest.matches(document, facets)
