"""`/v1/api-keys`: who may ask, and what."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.access import service
from gateway.access.callers import Caller
from gateway.access.errors import ApiKeyNotFound
from gateway.access.schemas import CreateKeyBody, KeyBody, KeyList, NewKeyBody, Tenant
from gateway.json_bodies import JsonRoute
from gateway.parameters import NO_QUERY
from gateway.problems.examples import JSON_PROBLEMS, document_problems
from gateway.resources import ResourcesOf
from shared.problems import ProblemCode

MOST_KEYS_A_PAGE = 100

router = APIRouter(prefix="/v1/api-keys", tags=["API keys"], route_class=JsonRoute)

_ALWAYS = (ProblemCode.VALIDATION_FAILED, ProblemCode.DATABASE_UNAVAILABLE)
_OF_LIST = document_problems(ProblemCode.TENANT_FORBIDDEN, *_ALWAYS)
_OF_ONE = document_problems(ProblemCode.API_KEY_NOT_FOUND, *_ALWAYS)


def get_caller(request: Request) -> Caller:
    """Return who asks."""
    caller: Caller = request.state.caller
    return caller


def parse_key_id(
    key_id: Annotated[str, Path(description="Id of a key.", examples=["b0f1a1de-6c1f-4f0b-8f55-0b8d1f1e7a10"])],
) -> uuid.UUID:
    """Return the id in the address; what is no id leads to no key."""
    try:
        return uuid.UUID(key_id)
    except ValueError as error:
        raise ApiKeyNotFound from error


CallerOf = Annotated[Caller, Depends(get_caller)]
KeyId = Annotated[uuid.UUID, Depends(parse_key_id)]


class KeysQuery(BaseModel):
    """Query of a list of keys."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=MOST_KEYS_A_PAGE, description="Keys a page.")
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")
    tenant: Tenant | None = Field(default=None, description="Only keys of this tenant.")


@router.post(
    "",
    status_code=201,
    summary="Make a key",
    dependencies=[NO_QUERY],
    responses=document_problems(ProblemCode.TENANT_FORBIDDEN, *JSON_PROBLEMS, *_ALWAYS),
)
async def create_key(body: CreateKeyBody, response: Response, resources: ResourcesOf, caller: CallerOf) -> NewKeyBody:
    """Make a key. The answer holds it in the clear, once: only its digest is kept.

    Administrators of the tenant `default` may name any tenant, others their own.
    """
    made = await service.create_key(resources, caller, body)
    response.headers["Location"] = f"/v1/api-keys/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return made


@router.get("", summary="List keys", responses=_OF_LIST)
async def list_keys(query: Annotated[KeysQuery, Query()], resources: ResourcesOf, caller: CallerOf) -> KeyList:
    """List keys, newest first, with those that have ended."""
    return await service.list_keys(resources, caller, tenant=query.tenant, cursor=query.cursor, limit=query.limit)


@router.get("/{key_id}", summary="One key", dependencies=[NO_QUERY], responses=_OF_ONE)
async def read_key(key_id: KeyId, resources: ResourcesOf, caller: CallerOf) -> KeyBody:
    """Answer with a key, without its secret."""
    return await service.get_key(resources, caller, key_id)


@router.delete("/{key_id}", status_code=204, summary="Revoke a key", dependencies=[NO_QUERY], responses=_OF_ONE)
async def revoke_key(key_id: KeyId, resources: ResourcesOf, caller: CallerOf) -> None:
    """End a key: the next request with it is refused. It stays in the list, for what it has done names it."""
    await service.revoke(resources, caller, key_id)
