"""From the header of a request to who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session
from starlette.datastructures import Headers

from gateway.access.callers import LOCAL_CALLER, Caller
from gateway.access.errors import AuthenticationRequired, CredentialsInvalid
from gateway.access.keys import parse_key
from gateway.access.rates import RateLimits
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
        self._limits = RateLimits(resources.settings)
        self._tokens = TokenVerifier.of_settings(resources.settings)
        self.looks_every_s = resources.settings.event_heartbeat.total_seconds()
        """How often who reads a stream is looked at again."""

    async def admit(self, headers: Headers, address: str) -> Admission:
        """Return who asks. Raises AccessRefused, or TransientFault when that cannot be found out now."""
        if not self._is_required:
            return Admission(LOCAL_CALLER, {})
        try:
            find_caller = await self._read_credentials(headers)
            return await self._resources.transact(lambda session: self._count(session, find_caller(session)))
        except CredentialsInvalid:
            await self._resources.transact(lambda session: self._limits.spend_refused(session, address))
            raise

    async def identify(self, headers: Headers) -> Caller:
        """Return who asks, without counting it as a request. Raises what `admit` raises, but for its limits."""
        return await self._resources.transact(await self._read_credentials(headers))

    async def _read_credentials(self, headers: Headers) -> Callable[[Session], Caller]:
        """Return what finds the caller in the database. Raises AccessRefused or TransientFault."""
        credentials = _read_bearer(headers)
        key = parse_key(credentials)
        if key is not None:
            return lambda session: fetch_caller(session, key)
        if self._tokens is None:
            raise CredentialsInvalid
        caller = await self._tokens.verify(credentials)
        return lambda _: caller

    def _count(self, session: Session, caller: Caller) -> Admission:
        return Admission(caller, self._limits.spend(session, caller))


def _read_bearer(headers: Headers) -> str:
    sent = headers.getlist("authorization")
    if not sent:
        raise AuthenticationRequired
    scheme, _, credentials = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != _SCHEME or not credentials.strip():
        raise CredentialsInvalid
    return credentials.strip()
