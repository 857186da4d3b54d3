"""Bodies of webhooks."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from gateway.instants import Instant
from shared.callback_urls import LONGEST_URL
from shared.states import DeliveryState
from shared.tables import WebhookDelivery, WebhookEndpoint, WebhookTry
from shared.webhooks import SUBSCRIBABLE, DisabledReason, WebhookEvent

LONGEST_OVERLAP = timedelta(days=7)


def _check_events(events: list[WebhookEvent]) -> list[WebhookEvent]:
    if not set(events) <= set(SUBSCRIBABLE):
        raise ValueError(f"Expected some of {', '.join(SUBSCRIBABLE)}")
    return list(dict.fromkeys(events))


Events = Annotated[
    list[WebhookEvent],
    Field(min_length=1, max_length=20, description=f"Some of {', '.join(f'`{event}`' for event in SUBSCRIBABLE)}."),
    AfterValidator(_check_events),
]
Url = Annotated[
    str,
    Field(
        max_length=LONGEST_URL,
        description="HTTPS; plain HTTP only inside networks that the operator has allowed.",
        examples=["https://pacs.example.org/hooks/ctclip"],
    ),
]


class CreateWebhookBody(BaseModel):
    """A webhook to be."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    events: Events = list(SUBSCRIBABLE)


class UpdateWebhookBody(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    events: Events | None = None
    enabled: StrictBool | None = None


class RotateBody(BaseModel):
    """How a secret is to be rotated."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: StrictInt | None = Field(
        default=None,
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        description="How long messages are signed with the old secret too; 0 when it has leaked.",
    )


class ReplayBody(BaseModel):
    """What is to be sent again."""

    model_config = ConfigDict(extra="forbid")

    since: Instant = Field(description="Every message since then is sent again, each under its old id.")


class WebhookBody(BaseModel):
    """A webhook, without its secret."""

    id: uuid.UUID
    url: str
    events: list[WebhookEvent]
    enabled: bool
    disabled_reason: DisabledReason | None
    failing_since: datetime | None = Field(description="Null while the last message was taken.")
    previous_secret_until: datetime | None = Field(description="Until when the old secret signs too.")
    created_at: datetime


class WebhookWithSecretBody(WebhookBody):
    """A webhook with its secret, which is shown once."""

    secret: str = Field(description="Verify signatures with it; it is not shown again.")


class WebhookList(BaseModel):
    """All webhooks of a tenant."""

    items: list[WebhookBody]
    next_cursor: str | None = None


class DefaultSecretBody(BaseModel):
    """What messages to the `callback_url` of a job are signed with."""

    secret: str


class TryBody(BaseModel):
    """One try of a delivery."""

    attempt: int
    at: datetime
    seconds: float
    status_code: int | None = Field(description="Null where no answer came.")
    error: str | None = Field(description="`timeout`, `connection_failed`, `tls_failed`, `no_answer`, `not_allowed`.")
    response_body: str | None = Field(description="The beginning of what was answered.")


class DeliveryBody(BaseModel):
    """One message to one address."""

    id: uuid.UUID = Field(description="The `webhook-id`, the same in every try.")
    event_type: WebhookEvent
    job_id: uuid.UUID | None
    state: DeliveryState
    reason: str | None = Field(description="Why it was given up.")
    attempt: int = Field(description="How many tries have ended.")
    status_code: int | None = Field(description="Of the last try.")
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    tries: list[TryBody]


class DeliveryList(BaseModel):
    """One page of messages, newest first."""

    items: list[DeliveryBody]
    next_cursor: str | None


class ReplayedBody(BaseModel):
    """How much is sent again."""

    replayed: int


def describe_webhook(endpoint: WebhookEndpoint) -> WebhookBody:
    """Return a webhook as callers see it."""
    return WebhookBody.model_validate(_list_fields(endpoint))


def describe_with_secret(endpoint: WebhookEndpoint) -> WebhookWithSecretBody:
    """Return a webhook with its secret: only when it was just made."""
    return WebhookWithSecretBody.model_validate({**_list_fields(endpoint), "secret": endpoint.secret})


def describe_delivery(delivery: WebhookDelivery, tries: Sequence[WebhookTry]) -> DeliveryBody:
    """Return a message as callers see it, with its tries in their order."""
    return DeliveryBody(
        id=delivery.id,
        event_type=WebhookEvent(delivery.event_type),
        job_id=delivery.job_id,
        state=delivery.state,
        reason=delivery.reason,
        attempt=delivery.attempt,
        status_code=delivery.status_code,
        next_attempt_at=delivery.next_attempt_at,
        delivered_at=delivery.delivered_at,
        created_at=delivery.created_at,
        tries=[TryBody.model_validate(one, from_attributes=True) for one in tries],
    )


def _list_fields(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": cast("list[str]", endpoint.events),
        "enabled": endpoint.is_enabled,
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": endpoint.failing_since,
        "previous_secret_until": endpoint.previous_secret_until,
        "created_at": endpoint.created_at,
    }
