"""Log lines: structlog, for people or as JSON, one event a line on standard output."""

import logging
import sys
from typing import Any

import structlog

_TRACEBACKS_AS_JSON = structlog.processors.ExceptionRenderer(
    # structlog shows the local variables of every frame by itself, and one of them may be a password.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure(*, level: str, json: bool, service: str) -> None:
    """Set up logging for this process. `level` is a lower-case name; every line names the `service`.

    Libraries that use the standard library's logging come out the same way, from warnings up.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [_TRACEBACKS_AS_JSON, structlog.processors.JSONRenderer()]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.contextvars.bind_contextvars(service=service)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    # Lost connections are told by `shared.broker`, once and with what follows from them.
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
