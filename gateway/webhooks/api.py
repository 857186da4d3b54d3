"""`/v1/webhooks`: who wants to be told of jobs, and what became of each message."""

from __future__ import annotations

import uuid
from functools import cache
from http import HTTPStatus
from importlib import resources as package_files
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.etags import answer_unless_known
from gateway.json_bodies import JsonRoute
from gateway.parameters import NO_QUERY, JobId
from gateway.problems.examples import JSON_PROBLEMS, document_problems
from gateway.resources import ResourcesOf
from gateway.tenants import TenantOf
from gateway.webhooks import service
from gateway.webhooks.errors import WebhookNotFound
from gateway.webhooks.repository import fetch_webhook, fetch_webhooks, remove_webhook, replay
from gateway.webhooks.schemas import (
    CreateWebhookBody,
    DefaultSecretBody,
    DeliveryBody,
    DeliveryList,
    ReplayBody,
    ReplayedBody,
    RotateBody,
    UpdateWebhookBody,
    WebhookBody,
    WebhookList,
    WebhookWithSecretBody,
    describe_webhook,
)
from shared.problems import ProblemCode
from shared.webhooks import get_default_secret

MOST_DELIVERIES_A_PAGE = 100

_NOT_KEPT = {"Cache-Control": "no-store"}  # of answers that hold a secret, as RFC 9111 has it

router = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=JsonRoute)

_ALWAYS = (ProblemCode.VALIDATION_FAILED, ProblemCode.DATABASE_UNAVAILABLE)
_OF_LIST = document_problems(*_ALWAYS)
_OF_ONE = document_problems(ProblemCode.WEBHOOK_NOT_FOUND, *_ALWAYS)
_OF_SENDING = document_problems(ProblemCode.WEBHOOK_NOT_FOUND, ProblemCode.WEBHOOK_DISABLED, *_ALWAYS)


def parse_webhook_id(
    webhook_id: Annotated[str, Path(description="Id of a webhook.", examples=["5b1f8a50-9a0e-4a4e-9d53-6a5f0f3a7c21"])],
) -> uuid.UUID:
    """Return the id in the address; what is no id leads to no webhook."""
    try:
        return uuid.UUID(webhook_id)
    except ValueError as error:
        raise WebhookNotFound from error


WebhookId = Annotated[uuid.UUID, Depends(parse_webhook_id)]


class DeliveriesQuery(BaseModel):
    """Query of a list of deliveries."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=MOST_DELIVERIES_A_PAGE, description="Messages a page.")
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")


@router.post(
    "/webhooks",
    status_code=201,
    summary="Make a webhook",
    dependencies=[NO_QUERY],
    responses=document_problems(
        ProblemCode.CALLBACK_URL_NOT_ALLOWED, ProblemCode.WEBHOOK_LIMIT_REACHED, *JSON_PROBLEMS, *_ALWAYS
    ),
)
async def create_webhook(
    body: CreateWebhookBody, response: Response, resources: ResourcesOf, tenant: TenantOf
) -> WebhookWithSecretBody:
    """Name an address that is told how jobs end. The answer holds the secret, which is not shown again."""
    made = await service.create_webhook(resources, tenant, body)
    response.headers.update({"Location": f"/v1/webhooks/{made.id}", **_NOT_KEPT})
    return made


@router.get("/schemas/webhook", summary="JSON Schema of a message", dependencies=[NO_QUERY], responses=_OF_LIST)
async def read_schema(request: Request) -> Response:
    """Answer with the JSON Schema (2020-12) of what is sent."""
    return answer_unless_known(request, _load_schema())


@router.get("/webhooks", summary="List webhooks", dependencies=[NO_QUERY], responses=_OF_LIST)
async def list_webhooks(resources: ResourcesOf, tenant: TenantOf) -> WebhookList:
    """List all webhooks, newest first, without their secrets."""
    return await resources.transact(
        lambda session: WebhookList(items=[describe_webhook(one) for one in fetch_webhooks(session, tenant)])
    )


@router.get("/webhooks/default-secret", summary="The secret of callbacks", dependencies=[NO_QUERY], responses=_OF_LIST)
async def read_default_secret(response: Response, resources: ResourcesOf, tenant: TenantOf) -> DefaultSecretBody:
    """Answer with the secret that messages to the `callback_url` of jobs are signed with."""
    response.headers.update(_NOT_KEPT)
    return await resources.transact_deed(
        lambda session: DefaultSecretBody(secret=get_default_secret(session, tenant)), HTTPStatus.OK
    )


@router.get("/webhooks/{webhook_id}", summary="One webhook", dependencies=[NO_QUERY], responses=_OF_ONE)
async def read_webhook(webhook_id: WebhookId, resources: ResourcesOf, tenant: TenantOf) -> WebhookBody:
    """Answer with a webhook, without its secret."""
    return await resources.transact(lambda session: describe_webhook(fetch_webhook(session, tenant, webhook_id)))


@router.patch(
    "/webhooks/{webhook_id}",
    summary="Change a webhook",
    dependencies=[NO_QUERY],
    responses=document_problems(
        ProblemCode.WEBHOOK_NOT_FOUND, ProblemCode.CALLBACK_URL_NOT_ALLOWED, *JSON_PROBLEMS, *_ALWAYS
    ),
)
async def update_webhook(
    webhook_id: WebhookId, body: UpdateWebhookBody, resources: ResourcesOf, tenant: TenantOf
) -> WebhookBody:
    """Change address, events, or whether it is enabled. Disabling gives up what was still to be told."""
    return await service.update_webhook(resources, tenant, webhook_id, body)


@router.delete(
    "/webhooks/{webhook_id}", status_code=204, summary="Delete a webhook", dependencies=[NO_QUERY], responses=_OF_ONE
)
async def delete_webhook(webhook_id: WebhookId, resources: ResourcesOf, tenant: TenantOf) -> None:
    """Delete a webhook with its messages and their log."""
    await resources.transact_deed(lambda session: remove_webhook(session, tenant, webhook_id), HTTPStatus.NO_CONTENT)


@router.post(
    "/webhooks/{webhook_id}/rotate",
    summary="Rotate the secret",
    dependencies=[NO_QUERY],
    responses=document_problems(ProblemCode.WEBHOOK_NOT_FOUND, *JSON_PROBLEMS, *_ALWAYS),
)
async def rotate_secret(
    webhook_id: WebhookId,
    response: Response,
    resources: ResourcesOf,
    tenant: TenantOf,
    body: RotateBody | None = None,
) -> WebhookWithSecretBody:
    """Make a new secret, shown once. For a while messages are signed with the old one too."""
    response.headers.update(_NOT_KEPT)
    return await service.rotate(resources, tenant, webhook_id, body or RotateBody())


@router.post(
    "/webhooks/{webhook_id}/ping",
    status_code=202,
    summary="Send a test message",
    dependencies=[NO_QUERY],
    responses=_OF_SENDING,
)
async def ping_webhook(webhook_id: WebhookId, resources: ResourcesOf, tenant: TenantOf) -> DeliveryBody:
    """Send a `webhook.ping`, tried once. The log of deliveries tells what came of it."""
    return await service.ping(resources, tenant, webhook_id)


@router.post(
    "/webhooks/{webhook_id}/replay",
    status_code=202,
    summary="Send messages again",
    dependencies=[NO_QUERY],
    responses=document_problems(ProblemCode.WEBHOOK_NOT_FOUND, ProblemCode.WEBHOOK_DISABLED, *JSON_PROBLEMS, *_ALWAYS),
)
async def replay_webhook(
    webhook_id: WebhookId, body: ReplayBody, resources: ResourcesOf, tenant: TenantOf
) -> ReplayedBody:
    """Send every message since a time again, under the same ids, so that a receiver knows what it has seen."""
    count = await resources.transact_deed(
        lambda session: replay(session, tenant, webhook_id, body.since), HTTPStatus.ACCEPTED
    )
    return ReplayedBody(replayed=count)


@router.get("/webhooks/{webhook_id}/deliveries", summary="What was told", responses=_OF_ONE)
async def read_deliveries(
    webhook_id: WebhookId, query: Annotated[DeliveriesQuery, Query()], resources: ResourcesOf, tenant: TenantOf
) -> DeliveryList:
    """List the messages of a webhook, newest first, each with its tries."""
    return await service.list_deliveries(resources, tenant, webhook_id, cursor=query.cursor, limit=query.limit)


@router.get(
    "/jobs/{job_id}/deliveries",
    summary="Who was told of a job",
    responses=document_problems(ProblemCode.JOB_NOT_FOUND, ProblemCode.ERASED, *_ALWAYS),
)
async def read_job_deliveries(
    job_id: JobId, query: Annotated[DeliveriesQuery, Query()], resources: ResourcesOf, tenant: TenantOf
) -> DeliveryList:
    """List the messages that told how a job ended, to webhooks and to its `callback_url`."""
    return await service.list_job_deliveries(resources, tenant, job_id, cursor=query.cursor, limit=query.limit)


@cache
def _load_schema() -> bytes:
    return (package_files.files("shared") / "webhook.schema.json").read_bytes()
