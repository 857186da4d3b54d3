"""Structured logs. Events are constant messages with fields; no patient data, no names from uploads.

Every line carries the trace that it belongs to, and what was bound around it: `job_id` and `stage` in workers.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator

import structlog
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from shared.errors import CtclipError
from shared.settings import Settings
from shared.tracing import add_trace

_OWN_PACKAGES = (
    "__main__",
    "client",
    "deploy",
    "gateway",
    "migrations",
    "model_weights",
    "phantom",
    "shared",
    "workers",
)


def configure_logging(settings: Settings, *, process: str) -> None:
    """Send every log of this process to standard error as one JSON object a line."""

    def name_process(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        # Not bound to the context: threads have contexts of their own.
        del logger, method
        event["process"] = process
        return event

    shared_processors: list[structlog.typing.Processor] = [
        name_process,
        structlog.contextvars.merge_contextvars,
        add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(describe_exception),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    # What libraries say in passing quotes what they read: highdicom tells the UID of each dataset.
    level = logging.getLevelNamesMapping()[settings.log_level]
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, level), force=True)
    for package in _OWN_PACKAGES:
        logging.getLogger(package).setLevel(level)


def describe_exception(exc_info: ExcInfo) -> str:
    """Return an exception for a log: where it came from, and what our own errors say.

    Messages of others are left out: a decoder, a parser or a database quotes the value that it choked on.
    """
    return "".join(_describe_links(exc_info[1]))


def _describe_links(error: BaseException) -> Iterator[str]:
    """Describe what led to an error first, as Python does."""
    origin = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if origin is not None:
        yield from _describe_links(origin)
        yield "\nwhich led to:\n\n"
    yield from traceback.format_tb(error.__traceback__)
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    yield f"{name}: {error}\n" if isinstance(error, CtclipError) else f"{name}\n"


def get_logger() -> BoundLogger:
    """Return a logger; bind `job_id` and `stage` before using it in a stage."""
    logger: BoundLogger = structlog.get_logger()
    return logger
