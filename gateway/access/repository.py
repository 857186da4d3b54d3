"""Rows of API keys."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from gateway.access.callers import Caller
from gateway.access.errors import ApiKeyNotFound, CredentialsInvalid
from gateway.access.keys import Key
from gateway.access.scopes import Scope
from shared.access_tables import ApiKey

_USE_NOTED_EVERY = timedelta(minutes=1)  # so that a storm of requests does not write a row each


def add_key(
    session: Session,
    key: Key,
    *,
    tenant: str,
    name: str,
    scopes: Collection[Scope],
    created_by: str,
    expires_at: datetime | None = None,
) -> ApiKey:
    """Keep the digest of a key and what it may do."""
    row = ApiKey(
        id=uuid.uuid4(),
        tenant=tenant,
        name=name,
        prefix=key.prefix,
        secret_sha256=key.sha256,
        scopes=sorted(map(str, scopes)),
        created_by=created_by,
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def fetch_caller(session: Session, key: Key) -> Caller:
    """Return who holds a key, and note that it was used. Raises CredentialsInvalid: same work, any reason."""
    is_valid = ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    found = session.execute(select(ApiKey, is_valid).where(ApiKey.prefix == key.prefix)).one_or_none()
    row, is_current = found if found is not None else (None, False)
    if not key.matches(row.secret_sha256 if row else None) or row is None or not is_current:
        raise CredentialsInvalid
    _note_use(session, row)
    return Caller(f"key:{row.prefix}", row.tenant, frozenset(map(Scope, row.scopes)))


def fetch_page(session: Session, tenant: str | None, *, before: int | None, limit: int) -> Sequence[ApiKey]:
    """Return up to `limit` keys, newest first: of one tenant, or of all."""
    query = select(ApiKey)
    if tenant is not None:
        query = query.where(ApiKey.tenant == tenant)
    if before is not None:
        query = query.where(ApiKey.sequence < before)
    return session.scalars(query.order_by(ApiKey.sequence.desc()).limit(limit)).all()


def fetch_key(session: Session, tenant: str | None, key_id: uuid.UUID) -> ApiKey:
    """Return a key of a tenant, or of any. Raises ApiKeyNotFound."""
    row = session.get(ApiKey, key_id)
    if row is None or tenant not in {None, row.tenant}:
        raise ApiKeyNotFound
    return row


def revoke_key(session: Session, tenant: str | None, key_id: uuid.UUID) -> ApiKey:
    """End a key at once; one that has ended stays as it is. Raises ApiKeyNotFound."""
    row = fetch_key(session, tenant, key_id)
    if row.revoked_at is None:
        row.revoked_at = session.scalar(select(func.now()))
    return row


def _note_use(session: Session, row: ApiKey) -> None:
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == row.id)
        .where(or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _USE_NOTED_EVERY))
        .values(last_used_at=func.now())
        .execution_options(synchronize_session=False)
    )
