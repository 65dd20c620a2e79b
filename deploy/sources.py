"""What sources say of themselves, for `make status`: asked of a gateway, as lines for people."""

import json
import urllib.error
import urllib.request

from deploy.printable import printable

ANSWER_WITHIN_S = 2

HEAD = "source   "
"""What each line begins with, in line with the others of `make status`."""

_LABELS_NAMED = 5


def ask(url: str) -> object:
    """What the Roost at `url` answers about its sources, if only why it does not tell; None if it does not answer."""
    # A proxy that the machine may use for the web has no business here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/_/api/sources", timeout=ANSWER_WITHIN_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as refusal:
        try:
            return json.load(refusal)
        except (OSError, ValueError):
            return None
    except (OSError, ValueError):
        return None


def needs_token(answer: object) -> bool:
    """Whether the answer is that nobody is told without a token."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return isinstance(error, dict) and error.get("code") == "token_missing"


def lines(answer: object) -> list[str]:
    """One line a source; none for what is no such answer."""
    if needs_token(answer):
        return [f"{HEAD}who asks the gateway needs a token (ROOST_GATEWAY_AUTH=jwt); `make logs` tells, too"]
    return [_line(row) for row in _rows(answer)]


def states(answer: object) -> dict[str, str]:
    """The state of each source, by its name."""
    return {str(row.get("source")): str(row.get("state")) for row in _rows(answer)}


def _rows(answer: object) -> list[dict[str, object]]:
    rows = answer.get("sources") if isinstance(answer, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _line(row: dict[str, object]) -> str:
    state = str(row.get("state"))
    if row.get("detail"):
        state += f" – {row['detail']}"
    parts = [state]
    if asking := _number(row.get("asking")):
        parts.append(f"asking for {_labels(asking)}")
    if not_asked := _number(row.get("not_asked")):
        named = row.get("not_asked_labels")
        parts.append(
            f"not asked for {_labels(not_asked)}{_named(named if isinstance(named, list) else [], not_asked)}"
        )
    return f"{HEAD}{printable(row.get('source'))}: {printable('; '.join(parts))}"


def _labels(number: int) -> str:
    return f"{number} label{'' if number == 1 else 's'}"


def _named(labels: list[object], number: int) -> str:
    if not labels:
        return ""
    named = [str(label) for label in labels[:_LABELS_NAMED]]
    return f": {', '.join(named)}{', …' if number > len(named) else ''}"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
