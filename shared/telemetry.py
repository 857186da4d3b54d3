"""Structured logs and metrics. Events are constant messages with fields; no patient data, no names from uploads."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator

import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.stdlib import BoundLogger
from structlog.typing import ExcInfo

from shared.errors import CtclipError
from shared.settings import Settings

_DURATION_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

STAGES_ENDED = Counter("ctclip_stages_ended_total", "Stages by how they ended.", ("stage", "state", "code"))
STAGE_SECONDS = Histogram("ctclip_stage_seconds", "Seconds that a stage ran.", ("stage",), buckets=_DURATION_BUCKETS_S)
STAGES_REUSED = Counter("ctclip_stages_reused_total", "Stages that an earlier job's answer ended.", ("stage",))
JOBS_ENDED = Counter("ctclip_jobs_ended_total", "Jobs by final state and problem code.", ("state", "code"))
UPLOAD_BYTES = Counter("ctclip_upload_bytes_total", "Bytes of uploads accepted.")
PROBLEMS = Counter("ctclip_problems_total", "HTTP problems by code.", ("code",))
OUTBOX_RELAYED = Counter("ctclip_outbox_relayed_total", "Messages handed to the broker.", ("stage",))
ARTEFACTS_EXPIRED = Counter("ctclip_artefacts_expired_total", "Artefacts that retention removed.", ("kind",))
WEBHOOK_TRIES = Counter("ctclip_webhook_tries_total", "Tries to deliver webhooks, by outcome.", ("outcome",))
WEBHOOK_LAG_SECONDS = Histogram(
    "ctclip_webhook_lag_seconds",
    "Seconds from the moment a webhook was due to the beginning of its try.",
    buckets=_DURATION_BUCKETS_S,
)
SELF_CHECK_PASSED = Gauge(
    "ctclip_self_check_passed", "1 where the last self-check passed, 0 where it failed, NaN before the first."
)
SELF_CHECK_AT = Gauge("ctclip_self_check_timestamp_seconds", "When the last self-check was judged.")
FEATURE_DRIFT = Gauge(
    "ctclip_feature_drift_psi",
    "Population stability index, beyond chance, of the feature of a model that moved most, by part of the studies.",
    ("model", "part"),
)
LEASES_REAPED = Counter("ctclip_leases_reaped_total", "Leases that lapsed and were taken back.", ("stage",))


def configure_logging(settings: Settings, *, process: str) -> None:
    """Send every log of this process to standard error as one JSON object a line."""
    shared_processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
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
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    structlog.contextvars.bind_contextvars(process=process)


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
