"""Whose request it is: the tenant of the key or token. While authentication is off there is one."""

from __future__ import annotations

from typing import Annotated, NewType

from fastapi import Depends, Request

Tenant = NewType("Tenant", str)


def get_tenant(request: Request) -> Tenant:
    """Return the tenant of a request, which the gate has admitted."""
    return Tenant(request.state.caller.tenant)


TenantOf = Annotated[Tenant, Depends(get_tenant)]
"""A route's parameter of this type gets the tenant."""
