"""What is said to clients stands in docs/protocol.md: every event, every request, every code of a refusal."""

import ast
import re
from collections.abc import Iterator

import pytest

from services.gateway import fanout
from services.gateway.subscriptions import query
from services.gateway.subscriptions.collections import TWEET
from tests.unit.test_layout import ROOT, files, parsed

DOCUMENT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

EVENT, REQUEST, CODE = {"event", "emit", "_to_some"}, {"on"}, {"refusal", "_refused", "DeniedError"}
"""Functions whose first string says what it is."""

OF_SUBSCRIPTIONS = {"create", "save", "destroy", "gap", "unfollow"}


def strings(node: ast.expr) -> Iterator[str]:
    """The strings that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from strings(node.body)
        yield from strings(node.orelse)


def said(functions: set[str]) -> set[str]:
    """What calls of some functions in the gateway have as their first string."""
    found = set()
    for path in files("services/gateway"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in functions:
                    found |= set(next(filter(None, (list(strings(one)) for one in node.args[:2])), ()))
    return found


def test_every_event_is_documented() -> None:
    events = said(EVENT) | set(fanout.EVENTS.values())
    assert {"status", "source", "asking", "gap", "create", "save", "destroy", "unfollow"} <= events
    for event in events - OF_SUBSCRIPTIONS:
        assert f"| `{event}` |" in DOCUMENT, event
    for event in OF_SUBSCRIPTIONS:
        assert f"| `<uid>:<collection>:{event}` |" in DOCUMENT, event


def test_every_request_is_documented() -> None:
    requests = said(REQUEST) - {"connect", "disconnect", "*"}
    assert requests == {"subscribe", "unsubscribe"}
    assert all(f"`{request}`" in DOCUMENT for request in requests)


def test_every_code_of_a_refusal_is_documented() -> None:
    codes = said(CODE)
    assert {"too_many_rooms", "token_expired", "no_archive", "internal"} <= codes
    missing = {code for code in codes if f"`{code}`" not in DOCUMENT and f'"{code}"' not in DOCUMENT}
    assert missing == set()


def test_the_fields_and_labels_of_a_query_are_documented_as_they_are() -> None:
    section = DOCUMENT.partition("### Queries")[2].partition("\n### ")[0]
    named = set(re.findall(r"`([a-z_.]+)`", section))
    assert named >= TWEET.fields | TWEET.labels
    for number in (query.MAX_CONDITIONS, query.MAX_ALTERNATIVES):
        assert f" {number} " in section


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", *(path.as_posix() for path in files("docs", suffixes=(".md",)))]
)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, target
