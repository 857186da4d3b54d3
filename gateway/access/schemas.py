"""Bodies of API keys."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.access.keys import Key
from gateway.access.scopes import Scope
from gateway.instants import Instant
from shared.access_tables import ApiKey

TENANT_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
"""How a tenant is named (whole text)."""


def _check_name(name: str) -> str:
    if not name.isprintable() or not name.strip():
        raise ValueError("Expected printable characters")
    return name


def _check_expiry(expires_at: datetime) -> datetime:
    if expires_at <= datetime.now(UTC):
        raise ValueError("Expected a time that is still to come")
    return expires_at


Name = Annotated[
    str,
    Field(min_length=1, max_length=100, description="What the key is for; never a patient.", examples=["pacs-router"]),
    AfterValidator(_check_name),
]
Tenant = Annotated[
    str,
    Field(pattern=f"^{TENANT_PATTERN}$", description="Whose jobs it reaches; by default, those of the maker's own."),
]
Scopes = Annotated[
    list[Scope],
    Field(min_length=1, max_length=20, description="What it allows. None includes another."),
    AfterValidator(lambda scopes: list(dict.fromkeys(scopes))),
]
Expiry = Annotated[Instant, Field(description="When it ends by itself; null: never."), AfterValidator(_check_expiry)]


class CreateKeyBody(BaseModel):
    """A key to be."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    scopes: Scopes
    expires_at: Expiry | None = None
    tenant: Tenant | None = None


class KeyBody(BaseModel):
    """A key, without its secret."""

    id: uuid.UUID
    name: str
    tenant: str
    prefix: str = Field(description="The middle of the key, by which it is told from others.")
    scopes: list[Scope]
    created_at: datetime
    created_by: str = Field(description="Who made it: `key:` and a prefix, `token:` and a subject, `command`, `local`.")
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class NewKeyBody(KeyBody):
    """A key that was just made, in the clear."""

    key: str = Field(
        description="Send it as `Authorization: Bearer`. It is not shown again, and nobody can look it up."
    )


class KeyList(BaseModel):
    """One page of keys, newest first."""

    items: list[KeyBody]
    next_cursor: str | None


def describe_key(row: ApiKey) -> KeyBody:
    """Return a key as administrators see it."""
    return KeyBody.model_validate(row, from_attributes=True)


def describe_new_key(row: ApiKey, key: Key) -> NewKeyBody:
    """Return a key with its secret: only when it was just made."""
    return NewKeyBody(key=key.text, **describe_key(row).model_dump())
