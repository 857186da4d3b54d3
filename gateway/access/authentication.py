"""From the header of a request to who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session
from starlette.datastructures import Headers

from gateway.access.callers import LOCAL_CALLER, Caller
from gateway.access.errors import AuthenticationRequired, CredentialsInvalid
from gateway.access.keys import Key, parse_key
from gateway.access.rates import make_rate_limit, spend_one
from gateway.access.repository import fetch_caller
from gateway.access.tokens import TokenVerifier
from gateway.resources import Resources
from shared.settings import Authentication

_SCHEME = "bearer"


@dataclass(frozen=True)
class Admission:
    """Who asks, and the headers that tell it what is left of its allowance."""

    caller: Caller
    headers: Mapping[str, str]


class Authenticator:
    """Tells callers apart, and counts their requests."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._is_required = resources.settings.authentication is Authentication.REQUIRED
        self._limit = make_rate_limit(resources.settings)
        self._tokens = TokenVerifier.of_settings(resources.settings)

    async def admit(self, headers: Headers) -> Admission:
        """Return who asks. Raises AccessRefused, or TransientFault when that cannot be found out now."""
        if not self._is_required:
            return Admission(LOCAL_CALLER, {})
        credentials = _read_bearer(headers)
        key = parse_key(credentials)
        if key is not None:
            return await self._resources.transact(lambda session: self._admit_key(session, key))
        if self._tokens is None:
            raise CredentialsInvalid
        caller = await self._tokens.verify(credentials)
        return await self._resources.transact(lambda session: self._count(session, caller))

    def _admit_key(self, session: Session, key: Key) -> Admission:
        return self._count(session, fetch_caller(session, key))

    def _count(self, session: Session, caller: Caller) -> Admission:
        return Admission(caller, spend_one(session, f"{caller.tenant} {caller.name}", self._limit))


def _read_bearer(headers: Headers) -> str:
    sent = headers.getlist("authorization")
    if not sent:
        raise AuthenticationRequired
    scheme, _, credentials = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != _SCHEME or not credentials.strip():
        raise CredentialsInvalid
    return credentials.strip()
