"""Webhooks: endpoints that were given up or fail, and messages that wait longer than they should."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from deploy.doctor.finding import Finding, fine, odd
from shared.database import transaction
from shared.states import DeliveryState
from shared.tables import WebhookDelivery, WebhookEndpoint
from shared.webhooks import DisabledReason

_LATE_S = 60.0
_MOST_NAMED = 5


def look_at_webhooks(engine: Engine) -> Iterator[Finding]:
    """Yield what was found about webhooks. Raises TransientFault when the database is away."""
    with transaction(engine) as session:
        yield _look_at_endpoints(session)
        yield _look_at_lag(session)


def _look_at_endpoints(session: Session) -> Finding:
    given_up = session.scalars(
        select(WebhookEndpoint.id)
        .where(~WebhookEndpoint.is_enabled, WebhookEndpoint.disabled_reason != DisabledReason.BY_CALLER)
        .order_by(WebhookEndpoint.created_at)
    ).all()
    failing = session.scalars(
        select(WebhookEndpoint.id).where(WebhookEndpoint.is_enabled, WebhookEndpoint.failing_since.is_not(None))
    ).all()
    if given_up:
        named = ", ".join(str(endpoint) for endpoint in given_up[:_MOST_NAMED])
        told = f"{len(given_up)} endpoints get nothing any more, as they failed for days or are gone: {named}."
        return odd(
            "endpoints", told, "Tell their owners; PATCH /v1/webhooks/ID with `enabled` true turns one on again."
        )
    if failing:
        named = ", ".join(str(endpoint) for endpoint in failing[:_MOST_NAMED])
        told = f"{len(failing)} endpoints fail at present: {named}."
        return odd("endpoints", told, "GET /v1/webhooks/ID/deliveries says what they answer.")
    return fine("endpoints", "No endpoint fails.")


def _look_at_lag(session: Session) -> Finding:
    due = (WebhookDelivery.state == DeliveryState.PENDING, WebhookDelivery.next_attempt_at <= func.now())
    age = func.extract("epoch", func.now() - func.min(WebhookDelivery.next_attempt_at))
    count, oldest_s = session.execute(select(func.count(), func.coalesce(age, 0)).where(*due)).one()
    told = f"{count} messages are due, the oldest for {float(oldest_s):.0f} s."
    if float(oldest_s) > _LATE_S:
        return odd("lag", told, "Start a delivery worker (python -m workers.delivery), or further ones.")
    return fine("lag", told)
