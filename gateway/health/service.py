"""Readiness: every dependency proven, each check named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sqlalchemy.orm import Session

from gateway.jobs.acceptance import require_policy_id
from gateway.resources import Resources
from shared.database import fetch_schema_revision, is_served_by
from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.self_check import fetch_self_check
from shared.settings import Settings

OK = "ok"

_PATIENCE_S = 5.0
_UNKNOWN = "unknown"
_OTHER_REVISION = "schema_revision_differs"
_NO_POLICY = "no_active_policy"


async def run_checks(resources: Resources) -> Mapping[str, str]:
    """Return the outcome of every check by name: `ok`, or a code."""
    database, storage = await asyncio.gather(_check_database(resources), _check_storage(resources))
    return {**database, "storage": storage}


async def read_monitors(resources: Resources) -> dict[str, str]:
    """Return the state of every monitor by name; none of them makes the platform unready."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            outcome = await resources.transact(fetch_self_check)
    except (TransientFault, TimeoutError):
        return {"self_check": _UNKNOWN}
    return {"self_check": str(outcome.state)}


async def _check_database(resources: Resources) -> Mapping[str, str]:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            found = await resources.transact(lambda session: _look(session, resources.settings))
    except (TransientFault, TimeoutError):
        return {"database": str(ProblemCode.DATABASE_UNAVAILABLE), "schema": _UNKNOWN, "policy": _UNKNOWN}
    return {"database": OK, **found}


def _look(session: Session, settings: Settings) -> Mapping[str, str]:
    if not is_served_by(fetch_schema_revision(session)):
        return {"schema": _OTHER_REVISION, "policy": _UNKNOWN}
    try:
        require_policy_id(session, settings)
    except TransientFault as fault:
        if fault.code is not ProblemCode.NOT_READY:
            raise
        return {"schema": OK, "policy": _NO_POLICY}
    return {"schema": OK, "policy": OK}


async def _check_storage(resources: Resources) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await resources.probes.run(resources.store.check)
    except (TransientFault, TimeoutError):
        return str(ProblemCode.STORAGE_UNAVAILABLE)
    return OK
