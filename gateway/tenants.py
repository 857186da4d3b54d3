"""Whose request it is. There is one tenant while authentication is off; every row carries it all the same."""

from __future__ import annotations

from typing import Annotated, NewType

from fastapi import Depends

Tenant = NewType("Tenant", str)

_ONLY_TENANT = Tenant("default")


def get_tenant() -> Tenant:
    """Return the tenant of a request."""
    return _ONLY_TENANT


TenantOf = Annotated[Tenant, Depends(get_tenant)]
"""A route's parameter of this type gets the tenant."""
