"""Rows of webhooks."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from gateway.tenants import Tenant
from gateway.webhooks.errors import WebhookDisabled, WebhookLimitReached, WebhookNotFound
from gateway.webhooks.schemas import (
    CreateWebhookBody,
    DeliveryBody,
    UpdateWebhookBody,
    describe_delivery,
)
from shared.database import notify_deliveries
from shared.states import DeliveryState
from shared.tables import WebhookDelivery, WebhookEndpoint, WebhookTry
from shared.webhooks import DisabledReason, WebhookEvent, end_pending, make_secret

MOST_WEBHOOKS = 20
_LOCK = 0x6374_636C_7765  # "ctclwe": webhooks are made one after another, so that the limit holds


def add_webhook(session: Session, tenant: Tenant, body: CreateWebhookBody) -> WebhookEndpoint:
    """Write a webhook with a new secret. Raises WebhookLimitReached."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    owned = select(func.count()).select_from(WebhookEndpoint).where(WebhookEndpoint.tenant == tenant)
    if (session.scalar(owned) or 0) >= MOST_WEBHOOKS:
        raise WebhookLimitReached(MOST_WEBHOOKS)
    endpoint = WebhookEndpoint(
        id=uuid.uuid4(), tenant=tenant, url=body.url, events=list(map(str, body.events)), secret=make_secret()
    )
    session.add(endpoint)
    session.flush()
    session.refresh(endpoint)
    return endpoint


def fetch_webhooks(session: Session, tenant: Tenant) -> Sequence[WebhookEndpoint]:
    """Return all webhooks of a tenant, newest first."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.tenant == tenant)
    return session.scalars(query.order_by(WebhookEndpoint.created_at.desc(), WebhookEndpoint.id)).all()


def fetch_webhook(
    session: Session, tenant: Tenant, webhook_id: uuid.UUID, *, is_locked: bool = False
) -> WebhookEndpoint:
    """Return a webhook. Raises WebhookNotFound, for another tenant's too."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == webhook_id, WebhookEndpoint.tenant == tenant)
    endpoint = session.scalar(query.with_for_update(key_share=True) if is_locked else query)
    if endpoint is None:
        raise WebhookNotFound
    return endpoint


def fetch_enabled_webhook(session: Session, tenant: Tenant, webhook_id: uuid.UUID) -> WebhookEndpoint:
    """Return a webhook that is enabled, locked. Raises WebhookNotFound or WebhookDisabled."""
    endpoint = fetch_webhook(session, tenant, webhook_id, is_locked=True)
    if not endpoint.is_enabled:
        raise WebhookDisabled(endpoint.disabled_reason)
    return endpoint


def change_webhook(session: Session, tenant: Tenant, webhook_id: uuid.UUID, body: UpdateWebhookBody) -> WebhookEndpoint:
    """Change what the body names. Disabling gives up what was still to be told. Raises WebhookNotFound."""
    endpoint = fetch_webhook(session, tenant, webhook_id, is_locked=True)
    if body.url is not None:
        endpoint.url = body.url
    if body.events is not None:
        endpoint.events = list(map(str, body.events))
    if body.enabled is not None and body.enabled != endpoint.is_enabled:
        endpoint.is_enabled = body.enabled
        endpoint.failing_since = None
        endpoint.disabled_reason = None if body.enabled else DisabledReason.BY_CALLER
        if not body.enabled:
            end_pending(session, endpoint.id, "endpoint_by_caller")
    session.flush()
    return endpoint


def remove_webhook(session: Session, tenant: Tenant, webhook_id: uuid.UUID) -> None:
    """Remove a webhook with its messages and their log. Raises WebhookNotFound."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == webhook_id, WebhookEndpoint.tenant == tenant)
    endpoint = session.scalar(query.with_for_update())
    if endpoint is None:
        raise WebhookNotFound
    session.delete(endpoint)


def rotate_secret(session: Session, tenant: Tenant, webhook_id: uuid.UUID, overlap: timedelta) -> WebhookEndpoint:
    """Give a webhook a new secret; the one before signs along for `overlap`. Raises WebhookNotFound."""
    endpoint = fetch_webhook(session, tenant, webhook_id, is_locked=True)
    endpoint.previous_secret = endpoint.secret if overlap else None
    endpoint.previous_secret_until = func.now() + overlap if overlap else None
    endpoint.secret = make_secret()
    session.flush()
    session.refresh(endpoint)
    return endpoint


def replay(session: Session, tenant: Tenant, webhook_id: uuid.UUID, since: datetime) -> int:
    """Send every message of a webhook since then again; return how many. Raises WebhookNotFound or WebhookDisabled."""
    endpoint = fetch_enabled_webhook(session, tenant, webhook_id)
    replayed = session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.created_at >= since)
        .where(WebhookDelivery.state != DeliveryState.PENDING, WebhookDelivery.event_type != WebhookEvent.WEBHOOK_PING)
        .values(
            state=DeliveryState.PENDING,
            reason=None,
            attempt=0,
            queued_at=func.now(),
            next_attempt_at=func.now(),
            first_tried_at=None,
            delivered_at=None,
            finished_at=None,
        )
        .returning(WebhookDelivery.id)
    ).all()
    notify_deliveries(session)
    return len(replayed)


def fetch_deliveries(
    session: Session, owner: ColumnElement[bool], *, before: int | None, limit: int
) -> list[tuple[int, DeliveryBody]]:
    """Return up to `limit` messages, newest first, each with its place."""
    query = select(WebhookDelivery).where(owner)
    if before is not None:
        query = query.where(WebhookDelivery.sequence < before)
    found = session.scalars(query.order_by(WebhookDelivery.sequence.desc()).limit(limit)).all()
    tries = _fetch_tries(session, found)
    return [(delivery.sequence, describe_delivery(delivery, tries[delivery.id])) for delivery in found]


def _fetch_tries(session: Session, deliveries: Sequence[WebhookDelivery]) -> defaultdict[uuid.UUID, list[WebhookTry]]:
    tries: defaultdict[uuid.UUID, list[WebhookTry]] = defaultdict(list)
    query = select(WebhookTry).where(WebhookTry.delivery_id.in_([delivery.id for delivery in deliveries]))
    for one in session.scalars(query.order_by(WebhookTry.id)):
        tries[one.delivery_id].append(one)
    return tries
