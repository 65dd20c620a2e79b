"""Log lines tell what went wrong and no secret that was near it."""

import json as json_module
import logging as standard

import pytest
import structlog

from shared import logging

SECRET = "the-bearer-token"


@pytest.mark.parametrize("json", [True, False])
def test_a_traceback_does_not_show_the_values_of_variables(json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    root = standard.getLogger()
    handlers, level = root.handlers, root.level
    logging.configure(level="debug", json=json, service="test")
    try:
        token = SECRET
        try:
            raise ValueError(f"{len(token)} characters are too many")
        except ValueError:
            structlog.get_logger().exception("it went wrong")
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.configure(**before)
        structlog.contextvars.clear_contextvars()
    printed = capsys.readouterr().out
    assert "16 characters are too many" in printed
    assert SECRET not in printed
    if json:
        assert json_module.loads(printed)["event"] == "it went wrong"
