"""What clients are answered."""

from collections.abc import Mapping

from shared import metrics

Refusal = dict[str, dict[str, str]]
"""Acknowledgement of a refused request: `{"error": {"code", "message"}}`. It has changed nothing."""

Answer = bool | Mapping[str, object]
"""Any acknowledgement."""


def refusal(code: str, message: str) -> Refusal:
    """A refusal, which is counted. `code` is for programs, `message` for people: it says what to do."""
    metrics.GATEWAY_REFUSED.labels(code=code).inc()
    return {"error": {"code": code, "message": message}}
