"""What callers may do with webhooks."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from gateway.jobs.paging import make_place_cursor, parse_place_cursor
from gateway.jobs.repository import fetch_job
from gateway.resources import Resources
from gateway.tenants import Tenant
from gateway.webhooks.addresses import check_address
from gateway.webhooks.repository import (
    add_webhook,
    change_webhook,
    fetch_deliveries,
    fetch_enabled_webhook,
    fetch_webhook,
    rotate_secret,
)
from gateway.webhooks.schemas import (
    CreateWebhookBody,
    DeliveryBody,
    DeliveryList,
    RotateBody,
    UpdateWebhookBody,
    WebhookBody,
    WebhookWithSecretBody,
    describe_delivery,
    describe_webhook,
    describe_with_secret,
)
from shared.tables import WebhookDelivery
from shared.webhooks import add_ping


async def create_webhook(resources: Resources, tenant: Tenant, body: CreateWebhookBody) -> WebhookWithSecretBody:
    """Make a webhook. Raises CallbackUrlNotAllowed or WebhookLimitReached."""
    await check_address("url", body.url, resources.settings)
    return await resources.transact_deed(
        lambda session: describe_with_secret(add_webhook(session, tenant, body)),
        HTTPStatus.CREATED,
        lambda made: f"/v1/webhooks/{made.id}",
    )


async def update_webhook(
    resources: Resources, tenant: Tenant, webhook_id: uuid.UUID, body: UpdateWebhookBody
) -> WebhookBody:
    """Change a webhook. Raises CallbackUrlNotAllowed or WebhookNotFound."""
    if body.url is not None:
        await check_address("url", body.url, resources.settings)
    return await resources.transact_deed(
        lambda session: describe_webhook(change_webhook(session, tenant, webhook_id, body)), HTTPStatus.OK
    )


async def rotate(
    resources: Resources, tenant: Tenant, webhook_id: uuid.UUID, body: RotateBody
) -> WebhookWithSecretBody:
    """Give a webhook a new secret. Raises WebhookNotFound."""
    asked = body.overlap_s
    overlap = resources.settings.webhook_secret_overlap if asked is None else timedelta(seconds=asked)
    return await resources.transact_deed(
        lambda session: describe_with_secret(rotate_secret(session, tenant, webhook_id, overlap)), HTTPStatus.OK
    )


async def ping(resources: Resources, tenant: Tenant, webhook_id: uuid.UUID) -> DeliveryBody:
    """Leave a test message. Raises WebhookNotFound or WebhookDisabled."""

    def write(session: Session) -> DeliveryBody:
        message = add_ping(session, fetch_enabled_webhook(session, tenant, webhook_id))
        session.flush()
        session.refresh(message)
        return describe_delivery(message, ())

    return await resources.transact_deed(write, HTTPStatus.ACCEPTED)


async def list_deliveries(
    resources: Resources, tenant: Tenant, webhook_id: uuid.UUID, *, cursor: str | None, limit: int
) -> DeliveryList:
    """Return one page of the messages of a webhook. Raises WebhookNotFound."""
    owner = WebhookDelivery.endpoint_id == webhook_id
    return await _list(
        resources, lambda session: fetch_webhook(session, tenant, webhook_id), owner, cursor=cursor, limit=limit
    )


async def list_job_deliveries(
    resources: Resources, tenant: Tenant, job_id: uuid.UUID, *, cursor: str | None, limit: int
) -> DeliveryList:
    """Return one page of the messages that told of a job. Raises JobNotFound."""
    owner = WebhookDelivery.job_id == job_id
    return await _list(resources, lambda session: fetch_job(session, tenant, job_id), owner, cursor=cursor, limit=limit)


async def _list(
    resources: Resources,
    check_owner: Callable[[Session], object],
    owner: ColumnElement[bool],
    *,
    cursor: str | None,
    limit: int,
) -> DeliveryList:
    before = None if cursor is None else parse_place_cursor(cursor)

    def fetch(session: Session) -> list[tuple[int, DeliveryBody]]:
        check_owner(session)
        return fetch_deliveries(session, owner, before=before, limit=limit + 1)

    found = await resources.transact(fetch)
    page = found[:limit]
    next_cursor = make_place_cursor(page[-1][0]) if len(found) > limit else None
    return DeliveryList(items=[body for _, body in page], next_cursor=next_cursor)
