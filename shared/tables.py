"""The tables. Postgres is the truth: everything that may not be lost stands here.

Times are set by the database (`now()`), so no clock of a worker or gateway decides anything.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.artefacts import ArtefactKind
from shared.stages import StageName
from shared.states import DeliveryState, JobState, StageState
from shared.tracing import current_traceparent

Document = dict[str, Any]


def _enum(kind: type[JobState | StageState | DeliveryState | StageName | ArtefactKind]) -> Enum:
    # Stored as text: a new member needs no migration, an unknown one cannot be read into the type.
    return Enum(kind, native_enum=False, length=40, values_callable=lambda members: [m.value for m in members])


class Base(DeclarativeBase):
    """Declarative base with stable constraint names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a class attribute
        datetime: DateTime(timezone=True),
        str: Text,
        Document: JSONB,
        list[Any]: JSONB,
        JobState: _enum(JobState),
        StageState: _enum(StageState),
        DeliveryState: _enum(DeliveryState),
        StageName: _enum(StageName),
        ArtefactKind: _enum(ArtefactKind),
    }


class Job(Base):
    """One submitted study."""

    __tablename__ = "jobs"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(server_default="default")
    state: Mapped[JobState]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    options: Mapped[Document] = mapped_column(server_default=text("'{}'::jsonb"))
    labels: Mapped[Document] = mapped_column(server_default=text("'{}'::jsonb"))
    policy_id: Mapped[str] = mapped_column(ForeignKey("policies.id"))
    weights_profile: Mapped[str]
    problem: Mapped[Document | None]
    patient_pseudonym: Mapped[str | None]
    traceparent: Mapped[str | None] = mapped_column(default=current_traceparent)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime]
    turn_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index(
            "ix_jobs_tenant_patient_pseudonym",
            *("tenant", "patient_pseudonym", "created_at"),
            postgresql_where=text("patient_pseudonym IS NOT NULL"),
        ),
        Index("ix_jobs_open_deadline", "deadline_at", postgresql_where=text("finished_at IS NULL")),
    )


class StageRun(Base):
    """One stage of one job: its state, its lease and its budgets.

    `recipe_sha256` stands for all that its answer was made from: two runs with the same one answer alike. `reused_from`
    is the job in which the answer was made, where it was not in this one; that job may be gone.
    """

    __tablename__ = "stage_runs"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[StageName] = mapped_column(primary_key=True)
    state: Mapped[StageState]
    reason: Mapped[str | None]
    progress: Mapped[float] = mapped_column(server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")
    transient_faults: Mapped[int] = mapped_column(server_default="0")
    defects: Mapped[int] = mapped_column(server_default="0")
    lost_workers: Mapped[int] = mapped_column(server_default="0")
    lease_token: Mapped[uuid.UUID | None]
    lease_expires_at: Mapped[datetime | None]
    leased_by: Mapped[str | None]
    avoid_worker: Mapped[str | None]
    next_attempt_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    publications: Mapped[int] = mapped_column(server_default="0")
    look_again_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    ready_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    warnings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    facts: Mapped[Document] = mapped_column(server_default=text("'{}'::jsonb"))
    problem: Mapped[Document | None]
    recipe_sha256: Mapped[str | None]
    reused_from: Mapped[uuid.UUID | None]
    traceparent: Mapped[str | None]

    __table_args__ = (
        Index("ix_stage_runs_recipe_sha256", "recipe_sha256", postgresql_where=text("recipe_sha256 IS NOT NULL")),
        Index("ix_stage_runs_ready", "stage", "next_attempt_at", postgresql_where=text("state = 'ready'")),
        Index("ix_stage_runs_leased", "lease_expires_at", postgresql_where=text("state = 'leased'")),
    )


class Feature(Base):
    """The features that one stage wrote: a name that is absent is not known."""

    __tablename__ = "features"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[StageName] = mapped_column(primary_key=True)
    values: Mapped[Document]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Artefact(Base):
    """One object in storage that belongs to a job.

    Jobs that one upload was split into share its object: each has a row with the same key, and the object may go
    when no row names it any more.
    """

    __tablename__ = "artefacts"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[ArtefactKind]
    stage: Mapped[StageName | None]
    key: Mapped[str] = mapped_column(index=True)
    media_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    facts: Mapped[Document] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("job_id", "kind"),
        # What retention looks for: few rows, as it removes them.
        Index("ix_artefacts_kind_created_at", "kind", "created_at"),
    )


class Result(Base):
    """The published result: one a job, never changed. `receipt` is null where the installation signs none."""

    __tablename__ = "results"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[Document]
    policy_id: Mapped[str] = mapped_column(ForeignKey("policies.id"))
    probability: Mapped[float]
    receipt: Mapped[Document | None]
    published_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Outbox(Base):
    """A message to be: "look at stage X of job Y". Written in the transaction that makes the stage ready."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    stage: Mapped[StageName]
    priority: Mapped[int] = mapped_column(SmallInteger)
    turn_at: Mapped[datetime] = mapped_column(server_default=func.now())
    traceparent: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Event(Base):
    """What happened to a job, in order; the id is the sequence number that callers resume from."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    type: Mapped[str]
    stage: Mapped[StageName | None]
    state: Mapped[str | None]
    progress: Mapped[float | None]
    facts: Mapped[Document] = mapped_column(server_default=text("'{}'::jsonb"))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (Index("ix_events_job_id_id", "job_id", "id"),)


class UploadFile(Base):
    """What became of one file of an upload. `name` may tell the patient, and is forgotten with the upload."""

    __tablename__ = "upload_files"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    outcome: Mapped[str]
    code: Mapped[str | None]
    detail: Mapped[str | None]


class SeriesCandidate(Base):
    """One stack of slices that intake considered, with its score and the reason why it won or lost."""

    __tablename__ = "series_candidates"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    is_chosen: Mapped[bool]
    series_instance_uid: Mapped[str]
    score: Mapped[float]
    criteria: Mapped[Document]
    facts: Mapped[Document]
    reason: Mapped[str]


class Policy(Base):
    """A decision policy: threshold, models needed, calibration. Never changed once used.

    `is_active` marks the one of its name that new jobs are accepted under.
    """

    __tablename__ = "policies"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[str]
    document: Mapped[Document]
    is_active: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("uq_policies_active_name", "name", unique=True, postgresql_where=text("is_active")),)


class ModelVersion(Base):
    """A model that this installation can run. `is_active` marks what new jobs are planned with."""

    __tablename__ = "model_versions"

    stage: Mapped[StageName] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str]
    weights_profile: Mapped[str]
    is_active: Mapped[bool]
    facts: Mapped[Document] = mapped_column(server_default=text("'{}'::jsonb"))
    registered_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DeadLetter(Base):
    """A stage that a defect ended, with the evidence that its mending needs. Never holds patient data."""

    __tablename__ = "dead_letters"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    stage: Mapped[StageName]
    attempt: Mapped[int]
    cause: Mapped[str]
    evidence: Mapped[Document]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class IdempotencyKey(Base):
    """A reserved or answered Idempotency-Key. `job_id` is null while the first request is in flight."""

    __tablename__ = "idempotency_keys"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    reservation: Mapped[uuid.UUID]
    reserved_until: Mapped[datetime]
    payload_sha256: Mapped[str | None]
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    answer: Mapped[Document | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WebhookEndpoint(Base):
    """An address that a tenant wants to be told at. `failing_since` is null once anything was accepted there."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    url: Mapped[str]
    events: Mapped[list[Any]]
    is_enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    disabled_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    secret: Mapped[str]
    previous_secret: Mapped[str | None]
    previous_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("ix_webhook_endpoints_tenant_created_at", "tenant", "created_at"),)


class WebhookDefaultSecret(Base):
    """What messages to the `callback_url` of a tenant's jobs are signed with."""

    __tablename__ = "webhook_default_secrets"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    secret: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WebhookDelivery(Base):
    """One message to one address: to an endpoint, or to the `callback_url` of its job (`url`).

    Its id is the `webhook-id`, the same in every try. Of one `lane` a single message is under way at a time.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    tenant: Mapped[str]
    endpoint_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    lane: Mapped[str]
    url: Mapped[str | None]
    event_type: Mapped[str]
    payload: Mapped[Document]
    state: Mapped[DeliveryState]
    reason: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    status_code: Mapped[int | None]
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    lease_token: Mapped[uuid.UUID | None]
    lease_expires_at: Mapped[datetime | None]
    first_tried_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    traceparent: Mapped[str | None] = mapped_column(default=current_traceparent)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_webhook_deliveries_due", "next_attempt_at", postgresql_where=text("state = 'pending'")),
        Index("ix_webhook_deliveries_open_lane", "lane", "sequence", postgresql_where=text("state = 'pending'")),
        Index("ix_webhook_deliveries_endpoint_id_sequence", "endpoint_id", "sequence"),
        Index("ix_webhook_deliveries_job_id", "job_id"),
        Index("ix_webhook_deliveries_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )


class WebhookTry(Base):
    """One try of a delivery, with the beginning of what was answered."""

    __tablename__ = "webhook_tries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    delivery_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    seconds: Mapped[float]
    status_code: Mapped[int | None]
    error: Mapped[str | None]
    response_body: Mapped[str | None]
