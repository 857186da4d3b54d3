"""What a try changes: the message, its log, and the endpoint that took it or did not."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from shared.states import DeliveryState
from shared.tables import WebhookDelivery, WebhookEndpoint, WebhookTry
from shared.webhooks import DisabledReason, WebhookEvent, announce_disabling, end_pending
from workers.delivery.claims import ClaimedDelivery
from workers.delivery.schedule import compute_delay
from workers.delivery.sending import Outcome

FORGOTTEN_AT_ONCE = 1000
TRIES_EXHAUSTED = "tries_exhausted"


def record_outcome(session: Session, claimed: ClaimedDelivery, outcome: Outcome, chance: float) -> bool:
    """Write what came of a try; False, and nothing changes, when the claim is no longer ours."""
    endpoint = _lock_endpoint(session, claimed)
    delivery = session.scalar(
        select(WebhookDelivery)
        .where(WebhookDelivery.id == claimed.id, WebhookDelivery.lease_token == claimed.token)
        .where(WebhookDelivery.state == DeliveryState.PENDING)
        .with_for_update()
    )
    if delivery is None:
        return False
    _write_try(session, delivery, outcome)
    if outcome.is_delivered:
        _end(delivery, DeliveryState.DELIVERED)
        delivery.delivered_at = func.now()
        if endpoint is not None:
            endpoint.failing_since = None
    else:
        if endpoint is not None and delivery.event_type != WebhookEvent.WEBHOOK_PING:
            endpoint.failing_since = endpoint.failing_since or claimed.claimed_at
        _go_on_after_failure(session, delivery, endpoint, outcome, chance)
    return True


def forget_old(session: Session, retention: timedelta) -> int:
    """Remove messages that ended long ago, with the log of their tries, some at a time; return how many."""
    old = select(WebhookDelivery.id).where(WebhookDelivery.finished_at < func.now() - retention)
    some = old.limit(FORGOTTEN_AT_ONCE)
    removed = delete(WebhookDelivery).where(WebhookDelivery.id.in_(some)).returning(WebhookDelivery.id)
    return len(session.scalars(removed).all())


def _lock_endpoint(session: Session, claimed: ClaimedDelivery) -> WebhookEndpoint | None:
    """Lock the endpoint before its messages, as whoever changes an endpoint does."""
    if claimed.endpoint_id is None:
        return None
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == claimed.endpoint_id)
    return session.scalar(query.with_for_update(key_share=True))


def _write_try(session: Session, delivery: WebhookDelivery, outcome: Outcome) -> None:
    delivery.attempt += 1
    delivery.status_code = outcome.status_code
    delivery.lease_token = delivery.lease_expires_at = None
    session.add(
        WebhookTry(
            delivery_id=delivery.id,
            attempt=delivery.attempt,
            seconds=outcome.seconds,
            status_code=outcome.status_code,
            error=outcome.error,
            response_body=outcome.response_body,
        )
    )


def _go_on_after_failure(
    session: Session, delivery: WebhookDelivery, endpoint: WebhookEndpoint | None, outcome: Outcome, chance: float
) -> None:
    is_ping = delivery.event_type == WebhookEvent.WEBHOOK_PING
    delay = None if is_ping or outcome.is_gone else compute_delay(delivery.attempt, chance)
    if delay is not None:
        delivery.next_attempt_at = func.now() + delay
        return
    _end(delivery, DeliveryState.FAILED, DisabledReason.GONE if outcome.is_gone else TRIES_EXHAUSTED)
    if endpoint is not None and outcome.is_gone:
        _disable(session, endpoint, DisabledReason.GONE)
    elif endpoint is not None and not is_ping and _took_nothing_since(endpoint, delivery):
        _disable(session, endpoint, DisabledReason.FAILING)


def _took_nothing_since(endpoint: WebhookEndpoint, delivery: WebhookDelivery) -> bool:
    """Say whether an endpoint took no other message either while this one was tried."""
    began, failing = delivery.first_tried_at, endpoint.failing_since
    return began is not None and failing is not None and failing <= began


def _disable(session: Session, endpoint: WebhookEndpoint, reason: DisabledReason) -> None:
    endpoint.is_enabled = False
    endpoint.disabled_reason = reason
    session.flush()
    end_pending(session, endpoint.id, f"endpoint_{reason}")
    announce_disabling(session, endpoint)


def _end(delivery: WebhookDelivery, state: DeliveryState, reason: str | None = None) -> None:
    delivery.state = state
    delivery.reason = reason
    delivery.next_attempt_at = None
    delivery.finished_at = func.now()
