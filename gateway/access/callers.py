"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.access.scopes import ALL_SCOPES, Scope

OPERATOR_TENANT = "default"
"""The installation's own tenant: its administrators may act for every other one."""


@dataclass(frozen=True)
class Caller:
    """Who asks, and what it may do. `name` stands in the log of what was done: a key's prefix, a token's subject."""

    name: str
    tenant: str
    scopes: frozenset[Scope]

    @property
    def is_operator(self) -> bool:
        """Whether it administers the whole installation."""
        return Scope.ADMIN in self.scopes and self.tenant == OPERATOR_TENANT


LOCAL_CALLER = Caller("local", OPERATOR_TENANT, ALL_SCOPES)
"""Everybody on this machine, while authentication is off."""

COMMAND = "command"
"""The name under which commands of the operator stand in the log."""
