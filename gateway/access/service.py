"""What administrators may do with keys."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from gateway.access.callers import Caller
from gateway.access.errors import TenantForbidden
from gateway.access.keys import make_key
from gateway.access.repository import add_key, fetch_key, fetch_page, revoke_key
from gateway.access.schemas import CreateKeyBody, KeyBody, KeyList, NewKeyBody, describe_key, describe_new_key
from gateway.jobs.paging import make_place_cursor, parse_place_cursor
from gateway.resources import Resources


async def create_key(resources: Resources, caller: Caller, body: CreateKeyBody) -> NewKeyBody:
    """Make a key. Raises TenantForbidden."""
    key, tenant = make_key(), _choose_tenant(caller, body.tenant) or caller.tenant
    return await resources.transact_deed(
        lambda session: describe_new_key(
            add_key(
                session,
                key,
                tenant=tenant,
                name=body.name,
                scopes=body.scopes,
                created_by=caller.name,
                expires_at=body.expires_at,
            ),
            key,
        ),
        HTTPStatus.CREATED,
        lambda made: f"/v1/api-keys/{made.id}",
    )


async def list_keys(
    resources: Resources, caller: Caller, *, tenant: str | None, cursor: str | None, limit: int
) -> KeyList:
    """Return one page of keys: an operator's of all tenants, another's of its own. Raises TenantForbidden."""
    before = None if cursor is None else parse_place_cursor(cursor)
    chosen = _choose_tenant(caller, tenant)
    found = await resources.transact(lambda session: fetch_page(session, chosen, before=before, limit=limit + 1))
    next_cursor = make_place_cursor(found[limit - 1].sequence) if len(found) > limit else None
    return KeyList(items=[describe_key(row) for row in found[:limit]], next_cursor=next_cursor)


async def get_key(resources: Resources, caller: Caller, key_id: uuid.UUID) -> KeyBody:
    """Return a key. Raises ApiKeyNotFound, for another tenant's too."""
    tenant = _choose_tenant(caller, None)
    return describe_key(await resources.transact(lambda session: fetch_key(session, tenant, key_id)))


async def revoke(resources: Resources, caller: Caller, key_id: uuid.UUID) -> None:
    """End a key at once. Raises ApiKeyNotFound, for another tenant's too."""
    tenant = _choose_tenant(caller, None)
    await resources.transact_deed(lambda session: revoke_key(session, tenant, key_id), HTTPStatus.NO_CONTENT)


def _choose_tenant(caller: Caller, named: str | None) -> str | None:
    """Return whose keys are meant; None: everybody's, which operators alone may ask for. Raises TenantForbidden."""
    if caller.is_operator:
        return named
    if named not in {None, caller.tenant}:
        raise TenantForbidden
    return caller.tenant
