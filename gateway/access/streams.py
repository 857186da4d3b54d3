"""Streams that outlive the access they were opened with: a key may be revoked or end while one is read."""

from __future__ import annotations

import asyncio
import math

from starlette.datastructures import Headers

from gateway.access.authentication import Authenticator
from gateway.access.callers import LOCAL_CALLER, Caller
from gateway.access.errors import AccessRefused
from shared.errors import TransientFault

_STREAM = "text/event-stream"


class AccessEnded(Exception):
    """Who reads a stream may not read on."""


class StreamWatch:
    """Looks, before something goes out on a stream, whether its reader may still have it: once a heartbeat at most."""

    def __init__(self, authenticator: Authenticator, headers: Headers, caller: Caller) -> None:
        self._authenticator = authenticator
        self._headers = headers
        self._caller = caller
        self._next_look = math.inf

    def begin(self, answer: Headers) -> None:
        """Begin to look, where the answer is a stream of somebody who said who they are."""
        if answer.get("content-type", "").startswith(_STREAM) and self._caller is not LOCAL_CALLER:
            self._plan()

    async def require_access(self) -> None:
        """Raises AccessEnded. What cannot be found out now is looked at the next time."""
        if asyncio.get_running_loop().time() < self._next_look:
            return
        self._plan()
        try:
            is_same = await self._authenticator.identify(self._headers) == self._caller
        except AccessRefused as refusal:
            raise AccessEnded from refusal
        except TransientFault:
            return
        if not is_same:
            raise AccessEnded

    def _plan(self) -> None:
        self._next_look = asyncio.get_running_loop().time() + self._authenticator.looks_every_s
