"""Whether what ingest has published has come out of the routers, one way or another. Pure.

Ingested is what ingest has done with: what the broker has confirmed, and what was dropped because the broker did not
take it. A batch that was refused and tried again counts once. All that is confirmed waits in `router.raw`, or was
published by a router for somebody, or nobody asked for it, or it was a dead letter. So

    ingested + by hand = published + unmatched + dropped + dead + under way

where by hand is what others than ingest have put onto `tweets.raw`: `make forget`, and dead letters sent back.

Counters go on while they are read, and begin at 0 with their process. So ingest is read twice, before the routers and
after: at some moment between the two it had published just what the routers had received, unless something waits for
them, was counted twice, or was lost. What waits is known in batches only.
"""

from typing import NamedTuple

from deploy import figures
from deploy.figures import Said, silences

HEAD = "balance  "
_INDENT = " " * len(HEAD)

MOST_IN_A_BATCH = 1000
"""Events of one raw batch, at most."""

TOLD_WITHIN_S = 6.0
"""Within that the broker's management tells how many messages wait now."""

COUNTED_WITHIN_S = 1.0
"""Within that services count what they have just done, at a load that leaves them time."""

APART_S = 5.0
"""Services that `make up` brings up together have started within that."""


class Reading(NamedTuple):
    """What was said, in this order."""

    ingest_before: Said
    waiting: int | None
    """Batches in `router.raw`, also those that routers have in hand; None where the broker does not tell."""
    routers: Said
    ingest: Said


class Balance(NamedTuple):
    """What became of all that was ingested."""

    ingested: int
    by_hand: int
    published: int
    unmatched: int
    dropped: int
    dead: int
    under_way: int
    """Confirmed by the broker and not counted by any router yet: what waits, if the sum holds."""
    in_ingest: int
    """Read from the source and not confirmed by the broker yet; not in the sum."""
    wrong: str
    """Why the sum does not hold, or can't be told; nothing where it holds."""
    may_hold_within_s: float
    """How long it is worth looking again. The broker tells what waits only every 5 s."""
    silent: frozenset[str]
    """Services of which nobody answers: their numbers are unknown, and 0 here."""


def judge(reading: Reading) -> Balance:
    """The balance at the time of a reading."""
    ingest, routers = reading.ingest, reading.routers
    published, unmatched, dead, by_hand = (
        routers.total(name)
        for name in (
            figures.ROUTER_PUBLISHED,
            figures.ROUTER_UNMATCHED,
            figures.ROUTER_DEAD,
            figures.ROUTER_BY_HAND,
        )
    )
    least = reading.ingest_before.total(figures.INGEST_PUBLISHED)
    most = ingest.total(figures.INGEST_PUBLISHED)
    in_ingest = ingest.total(figures.INGEST_BUFFERED)
    came_out = published + unmatched + dead - by_hand
    under_way = max(0, least - came_out)
    # A router may have counted a batch before ingest, which has just been told that the broker has it.
    too_many = max(0, came_out - most - in_ingest)
    confirmed = least if under_way else came_out - too_many

    wrong, within_s = "", 0.0
    waiting = reading.waiting or 0
    lost = under_way - waiting * MOST_IN_A_BATCH
    if silent := silences((ingest, routers)):
        wrong = f"can't be told: {silent}"
    elif (too_many or under_way) and (began_anew := _began_anew(ingest, routers)):
        # Whether it waits or was forgotten, nobody can tell.
        wrong, within_s = f"can't be told: {began_anew}", COUNTED_WITHIN_S
    elif too_many:
        wrong = f"does not hold: {too_many:,} too many, sent twice as the broker was lost, or left in it from before"
        within_s = COUNTED_WITHIN_S
    elif under_way and reading.waiting is None:
        wrong = f"can't be told: the broker does not say how many of {under_way:,} wait in it"
    elif lost > 0:
        at_least = "at least " if waiting else ""
        wrong = f"does not hold: {at_least}{lost:,} lost, or counted by a router that has gone"
        within_s = TOLD_WITHIN_S
    dropped = ingest.total(figures.INGEST_DROPPED)
    return Balance(
        confirmed + dropped,
        by_hand,
        published,
        unmatched,
        dropped,
        dead,
        under_way,
        in_ingest,
        wrong,
        within_s,
        frozenset(said.service for said in (ingest, routers) if not said.answers),
    )


def lines(balance: Balance) -> list[str]:
    """The balance for people."""
    and_by_hand = f" and {balance.by_hand:,} sent by hand" if balance.by_hand else ""
    under_way = "not counted by a router" if balance.wrong else "under way to a router"
    rows = [
        (balance.ingested, f"ingested{and_by_hand}, of which", {"ingest"}),
        (balance.published, "published: somebody asks for them", {"router"}),
        (balance.unmatched, "unmatched: nobody does", {"router"}),
        (balance.dropped, "dropped: the broker did not take them, and the source can't wait", {"ingest"}),
        (balance.dead, "dead: can't be read; `make dead-letters` lists what is kept of them", {"router"}),
        (balance.under_way, under_way, {"ingest", "router"}),
    ]
    if balance.in_ingest > MOST_IN_A_BATCH:
        rows.append((balance.in_ingest, "more wait in ingest until the broker takes them", {"ingest"}))
    told = [("?" if of & balance.silent else f"{number:,}", what) for number, what, of in rows]
    width = max(len(number) for number, _ in told)
    return [HEAD + (balance.wrong or "holds"), *(f"{_INDENT}{number:>{width}} {what}" for number, what in told)]


def _began_anew(ingest: Said, routers: Said) -> str:
    """Which service was started later than the other: what it had counted before is gone."""
    began = {said.service: said.started() for said in (ingest, routers)}
    if not all(began.values()):
        return ""
    first = min(moment for moments in began.values() for moment in moments)
    late = {name: max(moments) - first for name, moments in began.items() if max(moments) - first > APART_S}
    if not late:
        return ""
    name, after_s = max(late.items(), key=lambda item: item[1])
    return f"{name} was started {_duration(after_s)} later than the rest, and counts from then on"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds) // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
