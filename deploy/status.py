"""What `make status` asks the services and the broker, and makes of it."""

import time
from typing import Protocol

from deploy import balance, figures
from deploy.balance import Balance, Reading
from deploy.figures import Said, silences
from deploy.settings import Settings

LOOK_EVERY_S = 0.5


class Mode(Protocol):
    """A Roost whose services can be asked."""

    settings: Settings

    def metrics(self, *services: str) -> list[Said]:
        """What each process of these services says at `/metrics`, all asked at about the same time."""
        ...

    def waiting(self) -> int | None:
        """Batches in `router.raw`, also those in routers' hands; None where the broker does not tell."""
        ...


def lines(mode: Mode) -> list[str]:
    """The balance, and how the services are doing, for people."""
    balanced, asked = _asked(mode)
    routers, gateways = asked["router"], asked["gateway"]
    return [
        *balance.lines(balanced),
        _counted("gaps     ", [gateways], figures.GAPS, "told to clients"),
        _lag(list(asked.values())),
        _terms(routers),
        _counted("drift    ", [routers, asked["ingest"]], figures.DRIFT, "bindings that a new look had to set right"),
    ]


def _asked(mode: Mode) -> tuple[Balance, dict[str, Said]]:
    """The balance, looked at again while it may hold before long; and what all services said for it."""
    began = time.monotonic()
    others = [name for name in mode.settings.services if name != "ingest"]
    while True:
        # In this order: `deploy.balance` has the reason.
        [before] = mode.metrics("ingest")
        waiting = mode.waiting()
        asked = {said.service: said for said in mode.metrics(*others)}
        [asked["ingest"]] = mode.metrics("ingest")
        judged = balance.judge(Reading(before, waiting, asked["router"], asked["ingest"]))
        if time.monotonic() - began >= judged.may_hold_within_s:
            return judged, asked
        time.sleep(LOOK_EVERY_S)


def _counted(head: str, services: list[Said], name: str, what: str) -> str:
    if all(said.most(name) is None for said in services):
        return f"{head}not told{_because(services)}"
    return f"{head}{sum(said.total(name) for said in services):,} {what}{_because(services)}"


def _lag(services: list[Said]) -> str:
    parts = []
    for said in sorted(services, key=lambda said: said.service):
        worst = said.most(figures.LAG)
        parts.append(f"{said.service} {'not told' if worst is None else f'{worst * 1000:,.0f} ms'}")
    return f"lag      {', '.join(parts)}: at worst, in the last minute"


def _terms(routers: Said) -> str:
    # Each router looks for the same ones.
    most = routers.most(figures.TERMS)
    told = "not told" if most is None else f"{most:,.0f} string{'' if most == 1 else 's'} searched for"
    return f"terms    {told}{_because([routers])}"


def _because(services: list[Said]) -> str:
    silent = silences(services)
    return f" ({silent})" if silent else ""
