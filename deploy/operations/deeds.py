"""Entries in the log of what was done, for commands of the operator."""

from __future__ import annotations

from sqlalchemy.orm import Session

from gateway.access.callers import COMMAND
from shared.audit import Deed, record


def tell(session: Session, action: str, tenant: str, target: str) -> None:
    """Add the entry; last in its transaction, as the entries of others wait from here on."""
    record(session, Deed(tenant, COMMAND, f"ctclip {action}", target, status=0, trace_id=""))
