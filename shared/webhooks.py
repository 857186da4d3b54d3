"""What webhooks tell, and the rows that make it so. Written in the transaction of what is told; sent after its commit.

Payloads are thin: which job, how it ended, where to read on. They name no patient and hold no result.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.database import notify_deliveries
from shared.stages import SkipReason, StageName
from shared.states import DeliveryState, JobState, StageState
from shared.tables import Document, Job, Result, StageRun, WebhookDefaultSecret, WebhookDelivery, WebhookEndpoint
from shared.tracing import current_traceparent

SECRET_PREFIX = "whsec_"  # noqa: S105  # what every secret begins with
_SECRET_BYTES = 32


class WebhookEvent(StrEnum):
    """What a webhook tells."""

    JOB_COMPLETED = "job.completed"
    JOB_COMPLETED_PARTIAL = "job.completed_partial"
    JOB_REJECTED = "job.rejected"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_PING = "webhook.ping"


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing any more."""

    BY_CALLER = "by_caller"
    GONE = "gone"
    FAILING = "failing"


EVENT_OF_STATE: Mapping[JobState, WebhookEvent] = {
    JobState.COMPLETED: WebhookEvent.JOB_COMPLETED,
    JobState.COMPLETED_PARTIAL: WebhookEvent.JOB_COMPLETED_PARTIAL,
    JobState.REJECTED: WebhookEvent.JOB_REJECTED,
    JobState.FAILED: WebhookEvent.JOB_FAILED,
    JobState.CANCELLED: WebhookEvent.JOB_CANCELLED,
}
"""What the end of a job is told as."""

SUBSCRIBABLE: Sequence[WebhookEvent] = (*EVENT_OF_STATE.values(), WebhookEvent.WEBHOOK_DISABLED)
"""What an endpoint may ask for. A ping comes to every one that asks for it by its own route."""


def make_secret() -> str:
    """Return a new secret as Standard Webhooks writes it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def get_default_secret(session: Session, tenant: str) -> str:
    """Return what callbacks of a tenant's jobs are signed with; made when it is first asked for."""
    made = insert(WebhookDefaultSecret).values(tenant=tenant, secret=make_secret()).on_conflict_do_nothing()
    session.execute(made)
    return session.get_one(WebhookDefaultSecret, tenant).secret


UNTOLD: Mapping[str, object] = {"is_untold": True}
"""Option of a job whose end nobody is told: one that the operator runs, of which its tenant has asked nothing."""


def is_anybody_told(session: Session, tenant: str, options: Mapping[str, object]) -> bool:
    """Say whether the end of a job of these options would be told to anybody as things are now."""
    if options.items() >= UNTOLD.items():
        return False
    if options.get("callback_url"):
        return True
    enabled = select(WebhookEndpoint.id).where(WebhookEndpoint.tenant == tenant, WebhookEndpoint.is_enabled)
    return session.scalar(enabled.limit(1)) is not None


def announce_ending(session: Session, job: Job) -> None:
    """Leave a message for everybody who wants to know how a job ended, and end its delivery stage with that."""
    event = None if job.options.items() >= UNTOLD.items() else EVENT_OF_STATE.get(job.state)
    messages = [] if event is None else _make_messages(session, job, event)
    for message in messages:
        message.traceparent = current_traceparent() or job.traceparent
    session.add_all(messages)
    _settle_stage(session, job.id, is_told=bool(messages))
    if messages:
        notify_deliveries(session)


def announce_disabling(session: Session, endpoint: WebhookEndpoint) -> None:
    """Tell the other endpoints of the tenant that one of them gets nothing any more."""
    facts = {"webhook_id": str(endpoint.id), "reason": endpoint.disabled_reason}
    payload = _make_payload(WebhookEvent.WEBHOOK_DISABLED, _fetch_now(session), facts)
    others = _lock_subscribers(session, endpoint.tenant, WebhookEvent.WEBHOOK_DISABLED)
    told = [make_message(other, payload) for other in others if other.id != endpoint.id]
    session.add_all(told)
    if told:
        notify_deliveries(session)


def add_ping(session: Session, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Leave a message that only tests whether an endpoint can be told anything."""
    facts = {"webhook_id": str(endpoint.id)}
    message = make_message(endpoint, _make_payload(WebhookEvent.WEBHOOK_PING, _fetch_now(session), facts))
    session.add(message)
    notify_deliveries(session)
    return message


def make_message(endpoint: WebhookEndpoint, payload: Document, job_id: uuid.UUID | None = None) -> WebhookDelivery:
    """Return the row of a message to an endpoint."""
    is_ping = payload["type"] == WebhookEvent.WEBHOOK_PING
    return WebhookDelivery(
        id=uuid.uuid4(),
        tenant=endpoint.tenant,
        endpoint_id=endpoint.id,
        job_id=job_id,
        lane=f"{endpoint.id} ping" if is_ping else str(endpoint.id),
        event_type=payload["type"],
        payload=payload,
        state=DeliveryState.PENDING,
    )


def end_pending(session: Session, endpoint_id: uuid.UUID, reason: str) -> None:
    """Give up what an endpoint was still to be told; a replay sends it."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.state == DeliveryState.PENDING)
        .values(state=DeliveryState.FAILED, reason=reason, next_attempt_at=None, finished_at=func.now())
    )


def _make_messages(session: Session, job: Job, event: WebhookEvent) -> list[WebhookDelivery]:
    payload = _make_payload(event, _fetch_now(session), _describe_job(session, job))
    messages = [make_message(endpoint, payload, job.id) for endpoint in _lock_subscribers(session, job.tenant, event)]
    callback_url = job.options.get("callback_url")
    if callback_url:
        messages.append(_make_callback(job, str(callback_url), payload))
    return messages


def _make_callback(job: Job, url: str, payload: Document) -> WebhookDelivery:
    return WebhookDelivery(
        id=uuid.uuid4(),
        tenant=job.tenant,
        endpoint_id=None,
        job_id=job.id,
        lane=f"{job.tenant} {_name_origin(url)}",
        url=url,
        event_type=payload["type"],
        payload=payload,
        state=DeliveryState.PENDING,
    )


def _name_origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _describe_job(session: Session, job: Job) -> Document:
    path = f"/v1/jobs/{job.id}"
    has_result = session.get(Result, job.id) is not None
    return {
        "job_id": str(job.id),
        "state": str(job.state),
        "code": None if job.problem is None else job.problem["code"],
        "links": {"self": path, "result": f"{path}/result" if has_result else None},
    }


def _make_payload(event: WebhookEvent, at: datetime, facts: Document) -> Document:
    return {"type": str(event), "timestamp": at.isoformat().replace("+00:00", "Z"), "data": facts}


def _lock_subscribers(session: Session, tenant: str, event: WebhookEvent) -> Sequence[WebhookEndpoint]:
    """Return the endpoints that want an event, held against their removal until this transaction ends."""
    query = (
        select(WebhookEndpoint)
        .where(WebhookEndpoint.tenant == tenant, WebhookEndpoint.is_enabled)
        .where(WebhookEndpoint.events.contains([str(event)]))
        .order_by(WebhookEndpoint.id)
        .with_for_update(read=True, key_share=True)
    )
    return session.scalars(query).all()


def _settle_stage(session: Session, job_id: uuid.UUID, *, is_told: bool) -> None:
    """End the delivery stage with its job: what becomes of each message stands in the log of deliveries."""
    told = {"state": StageState.SUCCEEDED, "progress": 1, "started_at": func.now()}
    untold = {"state": StageState.SKIPPED, "reason": SkipReason.NO_CALLBACK}
    session.execute(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.stage == StageName.DELIVERY, StageRun.state == StageState.WAITING)
        .values(finished_at=func.now(), **(told if is_told else untold))
    )


def _fetch_now(session: Session) -> datetime:
    return session.execute(select(func.now())).scalar_one()
