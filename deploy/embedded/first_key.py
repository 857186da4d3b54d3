"""The key that the stack of a folder is used with, where authentication is on."""

from __future__ import annotations

from sqlalchemy import select

from deploy.embedded.problems import StackProblem
from gateway.access.callers import COMMAND, OPERATOR_TENANT
from gateway.access.keys import parse_key
from gateway.access.repository import add_key
from gateway.access.scopes import ALL_SCOPES
from shared.access_tables import ApiKey
from shared.database import make_engine, transaction
from shared.errors import TransientFault
from shared.settings import Authentication, Settings

_NAME = "first key of ctclip up"


def register_first_key(settings: Settings, text: str) -> str | None:
    """Keep the key of the folder in the database, unless it stands there, and return it; None where nobody needs one.

    One that was revoked stays revoked. Raises StackProblem.
    """
    if settings.authentication is Authentication.OFF:
        return None
    key = parse_key(text)
    if key is None:
        raise StackProblem("`api_key` in secrets.json is no key. Remove that line, and another is made.")
    engine = make_engine(settings, pool_size=1)
    try:
        with transaction(engine) as session:
            if session.scalar(select(ApiKey.id).where(ApiKey.prefix == key.prefix)) is None:
                add_key(session, key, tenant=OPERATOR_TENANT, name=_NAME, scopes=ALL_SCOPES, created_by=COMMAND)
    except TransientFault as fault:
        raise StackProblem(f"The first key could not be kept: {fault}") from fault
    finally:
        engine.dispose()
    return key.text
