"""Which messages are sent next, decided by the database alone.

A claim holds for longer than a try can take. When the worker dies in a try, the claim lapses and the message is sent
again under the same id: at least once, never not at all.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, Subquery, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from shared.states import DeliveryState
from shared.tables import WebhookDelivery, WebhookEndpoint
from shared.webhooks import get_default_secret

ORDER_PATIENCE = timedelta(minutes=1)
"""How long an undelivered message holds later ones of its endpoint back; after that they pass it."""

_LOCK = 0x6374_636C_7768  # "ctclwh": one claimer at a time, so that a lane is never claimed twice
_MARGIN = timedelta(seconds=1)


@dataclass(frozen=True)
class ClaimedDelivery:
    """A message that is ours to send until its claim lapses."""

    id: uuid.UUID
    token: uuid.UUID
    endpoint_id: uuid.UUID | None
    url: str
    content: str
    secrets: Sequence[str]
    claimed_at: datetime
    waited_s: float
    traceparent: str | None = None


def claim_due(session: Session, limit: int, try_limit: timedelta) -> list[ClaimedDelivery]:
    """Claim up to `limit` messages that are due: the oldest of each lane on which nothing is under way."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    due = session.scalars(_select_due(limit)).all()
    if not due:
        return []
    now = session.execute(select(func.now())).scalar_one()
    return [_claim(session, delivery, now, 2 * try_limit + _MARGIN) for delivery in due]


def _select_due(limit: int) -> Select[WebhookDelivery]:
    # What holds the first of a lane back holds all others back too, so only the first is asked.
    due = _rank_due()
    query = select(WebhookDelivery).join(due, due.c.id == WebhookDelivery.id)
    in_order = (
        query.where(due.c.rank == 1, ~_is_held_back(due))
        .order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.sequence)
        .limit(limit)
    )
    # A webhook or a job that is being deleted takes its messages with it: they are nobody's to send any more.
    return in_order.with_for_update(of=WebhookDelivery, skip_locked=True)


def _rank_due() -> Subquery:
    """Return what is due and not under way, with its place among those of its lane."""
    columns = (WebhookDelivery.id, WebhookDelivery.lane, WebhookDelivery.sequence, WebhookDelivery.endpoint_id)
    rank = func.row_number().over(partition_by=WebhookDelivery.lane, order_by=WebhookDelivery.sequence)
    return (
        select(*columns, rank.label("rank"))
        .where(WebhookDelivery.state == DeliveryState.PENDING, WebhookDelivery.next_attempt_at <= func.now())
        .where(or_(WebhookDelivery.lease_expires_at.is_(None), WebhookDelivery.lease_expires_at <= func.now()))
        .subquery()
    )


def _is_held_back(due: Subquery) -> ColumnElement[bool]:
    """Say whether something is under way on the lane, or an earlier message of the endpoint still has its chance."""
    other = aliased(WebhookDelivery)
    comes_before = and_(
        due.c.endpoint_id.is_not(None),
        other.sequence < due.c.sequence,
        other.queued_at > func.now() - ORDER_PATIENCE,
    )
    return exists().where(
        other.lane == due.c.lane,
        other.state == DeliveryState.PENDING,
        other.id != due.c.id,
        or_(other.lease_expires_at > func.now(), comes_before),
    )


def _claim(session: Session, delivery: WebhookDelivery, now: datetime, held_for: timedelta) -> ClaimedDelivery:
    token = uuid.uuid4()
    waited = now - (delivery.next_attempt_at or now)
    delivery.lease_token = token
    delivery.lease_expires_at = now + held_for
    delivery.first_tried_at = delivery.first_tried_at or now
    url, secrets = _get_address(session, delivery, now)
    return ClaimedDelivery(
        id=delivery.id,
        token=token,
        endpoint_id=delivery.endpoint_id,
        url=url,
        content=json.dumps(delivery.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        secrets=secrets,
        claimed_at=now,
        waited_s=waited.total_seconds(),
        traceparent=delivery.traceparent,
    )


def _get_address(session: Session, delivery: WebhookDelivery, now: datetime) -> tuple[str, Sequence[str]]:
    """Return where a message goes and what it is signed with, the newest secret first."""
    if delivery.endpoint_id is None:
        return delivery.url or "", [get_default_secret(session, delivery.tenant)]
    endpoint = session.get_one(WebhookEndpoint, delivery.endpoint_id)
    is_rotating = endpoint.previous_secret_until is not None and endpoint.previous_secret_until > now
    old = [endpoint.previous_secret] if is_rotating and endpoint.previous_secret else []
    return endpoint.url, [endpoint.secret, *old]
