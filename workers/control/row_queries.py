"""What metrics ask the database. The cheap ones read partial indexes, whose size follows the queue, not the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.artefacts import ArtefactKind
from shared.stages import StageName
from shared.states import DeliveryState, JobState, StageState
from shared.tables import Artefact, DeadLetter, Job, Outbox, StageRun, WebhookDelivery, WebhookEndpoint
from shared.webhooks import DisabledReason

Samples = Sequence[tuple[Sequence[str], float]]
"""Values by those of the labels."""

_OPEN_JOBS = (JobState.QUEUED, JobState.RUNNING)
_HELD_STAGES = (StageState.READY, StageState.LEASED)


def _read_nothing(session: Session) -> Samples:
    del session
    return ()


@dataclass(frozen=True)
class RowMetric:
    """One gauge: its name, what it tells, its labels, and how it is read."""

    name: str
    documentation: str
    labels: Sequence[str]
    read: Callable[[Session], Iterable[tuple[Sequence[str], float]]] = _read_nothing


def _count_stages(session: Session) -> Iterator[tuple[Sequence[str], float]]:
    for state in _HELD_STAGES:  # one query each: an index holds one state
        query = select(StageRun.stage, func.count()).where(StageRun.state == state).group_by(StageRun.stage)
        for (stage,), count in _fill(session, query, StageName):
            yield (stage, str(state)), count


def _age_of_ready(session: Session) -> Samples:
    due = (StageRun.state == StageState.READY, StageRun.next_attempt_at <= func.now())
    query = select(StageRun.stage, _age(StageRun.ready_at)).where(*due).group_by(StageRun.stage)
    return list(_fill(session, query, StageName))


def _count_overdue_leases(session: Session) -> Samples:
    overdue = (StageRun.state == StageState.LEASED, StageRun.lease_expires_at < func.now())
    return _one(session, select(func.count()).select_from(StageRun).where(*overdue))


def _count_open_jobs(session: Session) -> Samples:
    query = select(Job.state, func.count()).where(Job.finished_at.is_(None)).group_by(Job.state)
    return list(_fill(session, query, _OPEN_JOBS))


def _age_of_jobs(session: Session) -> Samples:
    return _one(session, select(_age(Job.created_at)).where(Job.finished_at.is_(None)))


def _count_outbox(session: Session) -> Samples:
    return _one(session, select(func.count()).select_from(Outbox))


def _age_of_outbox(session: Session) -> Samples:
    return _one(session, select(_age(Outbox.created_at)))


def _count_dead_letters(session: Session) -> Samples:
    return list(_fill(session, select(DeadLetter.stage, func.count()).group_by(DeadLetter.stage), StageName))


def _count_pending_deliveries(session: Session) -> Samples:
    return _one(session, select(func.count()).where(WebhookDelivery.state == DeliveryState.PENDING))


def _age_of_due_deliveries(session: Session) -> Samples:
    due = (WebhookDelivery.state == DeliveryState.PENDING, WebhookDelivery.next_attempt_at <= func.now())
    return _one(session, select(_age(WebhookDelivery.next_attempt_at)).where(*due))


def _count_endpoints(session: Session) -> Samples:
    is_failing = WebhookEndpoint.failing_since.is_not(None)
    enabled = select(func.count()).where(WebhookEndpoint.is_enabled)
    off = select(func.count()).where(~WebhookEndpoint.is_enabled)
    counts = {
        "working": enabled.where(~is_failing),
        "failing": enabled.where(is_failing),
        "disabled": off.where(WebhookEndpoint.disabled_reason != DisabledReason.BY_CALLER),
        "off": off.where(WebhookEndpoint.disabled_reason == DisabledReason.BY_CALLER),
    }
    return [((state,), float(session.scalar(query) or 0)) for state, query in counts.items()]


def _count_connections(session: Session) -> Samples:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    return [((), float(session.scalar(text(query)) or 0))]


def _read_most_connections(session: Session) -> Samples:
    return [((), float(session.scalar(text("SELECT current_setting('max_connections')::int")) or 0))]


def _measure_database(session: Session) -> Samples:
    return [((), float(session.scalar(text("SELECT pg_database_size(current_database())")) or 0))]


def _measure_objects(session: Session) -> Samples:
    # Jobs of one upload share its object; it lies there once.
    once = select(Artefact.key, Artefact.kind, func.max(Artefact.size_bytes).label("size_bytes"))
    objects = once.group_by(Artefact.key, Artefact.kind).subquery()
    query = select(objects.c.kind, func.sum(objects.c.size_bytes)).group_by(objects.c.kind)
    return list(_fill(session, query, ArtefactKind))


def _age(column: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]) -> ColumnElement[Any]:
    """Return the age in seconds of the oldest row, 0 where there is none."""
    return func.coalesce(func.extract("epoch", func.now() - func.min(column)), 0.0)


def _one(session: Session, query: Select[int] | Select[float]) -> Samples:
    return [((), float(session.scalar(query) or 0))]


def _fill(
    session: Session, query: Select[StrEnum, float], words: Iterable[StrEnum]
) -> Iterator[tuple[Sequence[str], float]]:
    """Yield a value for every word, 0 for those that have no row: an alert needs something to look at."""
    found: dict[StrEnum, float] = {word: value for word, value in session.execute(query)}  # noqa: C416
    for word in words:
        yield (str(word),), float(found.get(word, 0))


CHEAP = (
    RowMetric("ctclip_stages_open", "Stages that are ready, and those that run.", ("stage", "state"), _count_stages),
    RowMetric(
        "ctclip_stage_oldest_ready_seconds",
        "How long the oldest stage that could run has been waiting for a worker.",
        ("stage",),
        _age_of_ready,
    ),
    RowMetric(
        "ctclip_leases_overdue", "Leases that have lapsed and were not taken back yet.", (), _count_overdue_leases
    ),
    RowMetric("ctclip_jobs_open", "Jobs that have not ended.", ("state",), _count_open_jobs),
    RowMetric("ctclip_job_oldest_open_seconds", "Age of the oldest job that has not ended.", (), _age_of_jobs),
    RowMetric("ctclip_outbox_messages", "Messages that wait for the relay.", (), _count_outbox),
    RowMetric(
        "ctclip_outbox_oldest_seconds", "Age of the oldest message that waits for the relay.", (), _age_of_outbox
    ),
    RowMetric(
        "ctclip_dead_letters", "Stages that a defect ended, with their evidence.", ("stage",), _count_dead_letters
    ),
    RowMetric(
        "ctclip_webhooks_pending", "Webhook messages that were not delivered yet.", (), _count_pending_deliveries
    ),
    RowMetric(
        "ctclip_webhook_oldest_due_seconds",
        "How long the webhook message that is due the longest has been due.",
        (),
        _age_of_due_deliveries,
    ),
    RowMetric(
        "ctclip_webhook_endpoints",
        "Webhooks: `working`, `failing`, `disabled` because they failed for days, `off` by their owner.",
        ("state",),
        _count_endpoints,
    ),
    RowMetric("ctclip_database_connections", "Connections to the database.", (), _count_connections),
    RowMetric("ctclip_database_connections_limit", "Connections that the database allows.", (), _read_most_connections),
)
"""What is read at every question."""

COSTLY = (
    RowMetric("ctclip_database_bytes", "Size of the database.", (), _measure_database),
    RowMetric("ctclip_stored_bytes", "Bytes of objects that rows name, by kind.", ("kind",), _measure_objects),
)
"""What is read every five minutes."""
