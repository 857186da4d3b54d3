"""`/v1/limits`."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gateway.events.api import MOST_EVENTS_A_PAGE
from gateway.jobs.api import MOST_FILES_A_PAGE, MOST_JOBS_A_PAGE
from gateway.jobs.idempotency import LONGEST_KEY
from gateway.jobs.labels import MOST_LABELS
from gateway.jobs.options import HIGHEST_PRIORITY, LOWEST_PRIORITY
from gateway.json_bodies import LONGEST_JSON_BYTES
from gateway.parameters import NO_QUERY
from gateway.problems.examples import document_problems
from gateway.resources import ResourcesOf, choose_tenant_streams
from gateway.uploads.division import MOST_PARTS
from gateway.uploads.pouring import IDLE_LIMIT_S, UPLOAD_LIMIT_S
from gateway.webhooks.api import MOST_DELIVERIES_A_PAGE
from gateway.webhooks.repository import MOST_WEBHOOKS
from shared.planning import MOST_SPLIT_STUDIES
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import STAGES, StageName
from shared.turns import PRIORITY_STEP

router = APIRouter(prefix="/v1/limits", tags=["Limits"])


class LimitsBody(BaseModel):
    """Every limit of this installation."""

    upload_bytes: int = Field(description="Largest upload.")
    json_bytes: int = Field(description="Longest body of JSON.")
    upload_idle_s: float = Field(description="Longest silence in the middle of an upload.")
    upload_s: float = Field(description="Longest time of one upload.")
    uploads_at_once: int = Field(description="Uploads that one gateway takes in at once; others wait a little.")
    upload_parts: int = Field(description="Most parts that an upload is divided into.")
    open_uploads: int = Field(description="Most uploads in parts of a tenant that are no job yet.")
    open_upload_s: float = Field(description="How long an upload in parts is kept that no job was made of.")
    labels: int = Field(description="Most labels of a job.")
    tenant_uploads_at_once: int = Field(
        description="Of them, those of one tenant, where authentication is required; others are refused with 429."
    )
    requests_a_minute: int = Field(description="Requests that one key or token may keep sending.")
    requests_at_once: int = Field(description="Requests that one key or token may send at once, having been quiet.")
    tenant_requests_a_minute: int = Field(description="Requests that all keys of a tenant may keep sending.")
    tenant_requests_at_once: int = Field(description="Requests that all keys of a tenant may send at once.")
    refused_requests_a_minute: int = Field(description="Keys that are not valid which one address may send.")
    archive_bytes: int = Field(description="Most bytes that an archive may expand to.")
    archive_entries: int = Field(description="Most entries of an archive.")
    open_jobs: int = Field(description="Most jobs that may be open at once; further ones are refused with 503.")
    tenant_open_jobs: int | None = Field(description="Of them, those of one tenant; null without a limit of its own.")
    tenant_storage_bytes: int | None = Field(description="Most bytes of a tenant's objects; null without a limit.")
    priority_step_s: float = Field(
        description="A job that has waited so long comes before a new one of the next higher priority."
    )
    lowest_priority: int
    highest_priority: int
    jobs_a_page: int
    files_a_page: int = Field(description="Most files that one answer of `/intake` lists.")
    split_studies: int = Field(description="Most studies that one upload is split into.")
    idempotency_key_characters: int
    idempotency_retention_s: float
    events_a_page: int
    event_streams: int = Field(description="Streams of events that one gateway holds open at once.")
    tenant_event_streams: int = Field(
        description="Of them, those of one tenant, where authentication is required; others are refused with 429."
    )
    webhooks: int = Field(description="Most webhooks of a tenant.")
    deliveries_a_page: int
    webhook_try_s: float = Field(description="Longest time of one try to deliver a webhook.")
    compatible_wait_s: float = Field(description="Longest time that `/predict` holds the connection.")
    prefer_wait_s: float = Field(description="Longest time that a submission with `Prefer: wait` is held.")
    job_s: float = Field(description="A job that has not ended after this is failed, queueing included.")
    stage_s: dict[StageName, float] = Field(description="Longest time of one run of a stage.")


_OF_PAGES = {
    "jobs_a_page": MOST_JOBS_A_PAGE,
    "files_a_page": MOST_FILES_A_PAGE,
    "events_a_page": MOST_EVENTS_A_PAGE,
    "deliveries_a_page": MOST_DELIVERIES_A_PAGE,
}


@router.get(
    "",
    summary="Every limit",
    responses=document_problems(ProblemCode.VALIDATION_FAILED),
    dependencies=[NO_QUERY],
)
async def read_limits(resources: ResourcesOf) -> LimitsBody:
    """Answer with the limits as they are set here."""
    return _describe(resources.settings)


def _describe(settings: Settings) -> LimitsBody:
    return LimitsBody(
        **_OF_PAGES,
        upload_bytes=settings.upload_limit_bytes,
        json_bytes=LONGEST_JSON_BYTES,
        upload_idle_s=IDLE_LIMIT_S,
        upload_s=UPLOAD_LIMIT_S,
        uploads_at_once=settings.upload_concurrency,
        upload_parts=MOST_PARTS,
        open_uploads=settings.open_uploads_limit,
        open_upload_s=settings.open_upload_lifetime.total_seconds(),
        labels=MOST_LABELS,
        tenant_uploads_at_once=settings.tenant_upload_concurrency,
        requests_a_minute=settings.rate_limit_per_minute,
        requests_at_once=settings.rate_limit_burst,
        tenant_requests_a_minute=settings.tenant_rate_limit_per_minute,
        tenant_requests_at_once=settings.tenant_rate_limit_burst,
        refused_requests_a_minute=settings.refused_limit_per_minute,
        archive_bytes=settings.archive_limit_bytes,
        archive_entries=settings.archive_limit_entries,
        open_jobs=settings.queue_limit,
        tenant_open_jobs=settings.tenant_queue_limit,
        tenant_storage_bytes=settings.tenant_storage_limit_bytes,
        priority_step_s=PRIORITY_STEP.total_seconds(),
        lowest_priority=LOWEST_PRIORITY,
        highest_priority=HIGHEST_PRIORITY,
        split_studies=MOST_SPLIT_STUDIES,
        idempotency_key_characters=LONGEST_KEY,
        idempotency_retention_s=settings.idempotency_retention.total_seconds(),
        event_streams=settings.event_streams_limit,
        tenant_event_streams=choose_tenant_streams(settings) or settings.event_streams_limit,
        webhooks=MOST_WEBHOOKS,
        webhook_try_s=settings.webhook_timeout.total_seconds(),
        compatible_wait_s=settings.compatible_wait_limit.total_seconds(),
        prefer_wait_s=settings.prefer_wait_limit.total_seconds(),
        job_s=settings.job_time_limit.total_seconds(),
        stage_s={stage.name: stage.time_limit.total_seconds() for stage in STAGES.values()},
    )
