"""Idempotency-Key (IETF httpapi draft): who may make the job of a key, decided by the database alone.

A key is reserved before the body is read, so that of many requests at once one takes the body in and the others are
told at once. The reservation lapses by itself when its request dies, and the transaction that makes the job checks it.
"""

from __future__ import annotations

import string
import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from gateway.jobs.schemas import JobBody
from gateway.problems.handlers import RetryLater
from gateway.tenants import Tenant
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.tables import IdempotencyKey

LONGEST_KEY = 255
RESERVED_FOR = timedelta(seconds=20)
"""How long a key stays taken after the gateway that took it was killed; until then, who repeats is told to wait."""

RENEWED_EVERY_S = RESERVED_FOR.total_seconds() / 3

_PRINTABLE = frozenset(string.printable) - frozenset(string.whitespace) | {" "}
_IN_FLIGHT_RETRY_AFTER_S = 1


@dataclass(frozen=True)
class Reservation:
    """The right to make the job of a key."""

    tenant: Tenant
    key: str
    token: uuid.UUID


@dataclass(frozen=True)
class EarlierAnswer:
    """What the first request with a key was answered, and for which payload."""

    payload_sha256: str
    job: JobBody

    def replay_for(self, payload_sha256: str) -> JobBody:
        """Return the answer again. Raises InputProblem when the payload is another one."""
        if payload_sha256 != self.payload_sha256:
            detail = "The key was first sent with another file or other options."
            raise InputProblem(ProblemCode.IDEMPOTENCY_KEY_REUSED, detail)
        return self.job


class KeyInFlight(RetryLater):
    """Another request is making the job of this key."""

    def __init__(self) -> None:
        detail = "A request with the same key is being taken in. Repeat this one to get its answer."
        super().__init__(ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT, detail, retry_after_s=_IN_FLIGHT_RETRY_AFTER_S)


def parse_key(*values: str) -> str | None:
    """Return the key of a request, or None without one. Raises InputProblem; the value is never repeated."""
    if not values:
        return None
    if len(values) > 1:
        raise InputProblem(ProblemCode.IDEMPOTENCY_KEY_INVALID, "The header was sent more than once.")
    (value,) = values
    if not 1 <= len(value) <= LONGEST_KEY or not _PRINTABLE.issuperset(value):
        detail = f"The key has {len(value)} characters or some that are not printable ASCII."
        raise InputProblem(ProblemCode.IDEMPOTENCY_KEY_INVALID, detail, limit_characters=LONGEST_KEY)
    return value


def reserve(session: Session, tenant: Tenant, key: str) -> Reservation | EarlierAnswer:
    """Reserve a key, or return what was answered before. Raises KeyInFlight while another request has it."""
    reservation = Reservation(tenant, key, uuid.uuid4())
    held_until = func.now() + RESERVED_FOR
    taken = session.scalar(
        insert(IdempotencyKey)
        .values(tenant=tenant, key=key, reservation=reservation.token, reserved_until=held_until)
        .on_conflict_do_update(
            index_elements=["tenant", "key"],
            set_={"reservation": reservation.token, "reserved_until": held_until},
            where=and_(IdempotencyKey.job_id.is_(None), IdempotencyKey.reserved_until < func.now()),
        )
        .returning(IdempotencyKey.reservation)
    )
    return reservation if taken == reservation.token else _fetch_answer(session, tenant, key)


def renew(session: Session, reservation: Reservation) -> None:
    """Hold a reservation for longer, while its upload still comes."""
    session.execute(
        update(IdempotencyKey).where(_is_held(reservation)).values(reserved_until=func.now() + RESERVED_FOR)
    )


def release(session: Session, reservation: Reservation) -> None:
    """Give a key back whose request came to nothing."""
    session.execute(delete(IdempotencyKey).where(_is_held(reservation)))


def keep_answer(session: Session, reservation: Reservation, payload_sha256: str, job: JobBody) -> None:
    """Bind the key to its job, in the transaction that makes it. Raises KeyInFlight when the reservation was lost."""
    kept = session.execute(
        update(IdempotencyKey)
        .where(_is_held(reservation))
        .values(payload_sha256=payload_sha256, job_id=job.id, answer=job.model_dump(mode="json"))
    )
    assert isinstance(kept, CursorResult)  # an UPDATE always gives one
    if kept.rowcount == 0:
        raise KeyInFlight


def _fetch_answer(session: Session, tenant: Tenant, key: str) -> EarlierAnswer:
    row = session.execute(
        select(IdempotencyKey.payload_sha256, IdempotencyKey.answer).where(
            IdempotencyKey.tenant == tenant, IdempotencyKey.key == key, IdempotencyKey.job_id.is_not(None)
        )
    ).one_or_none()
    if row is None:
        raise KeyInFlight
    return EarlierAnswer(row.payload_sha256, JobBody.model_validate(row.answer))


def _is_held(reservation: Reservation) -> ColumnElement[bool]:
    return and_(
        IdempotencyKey.tenant == reservation.tenant,
        IdempotencyKey.key == reservation.key,
        IdempotencyKey.reservation == reservation.token,
        IdempotencyKey.job_id.is_(None),
    )
