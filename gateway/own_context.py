"""A context of its own for every request.

A server goes on reading a connection in the context of the request that last asked for more of its body, and so begins
the next request of that connection in it: with the trace, and whatever else a context holds, of somebody else.
"""

from __future__ import annotations

import asyncio
from contextvars import Context

from starlette.types import ASGIApp, Receive, Scope, Send


class OwnContext:
    """ASGI middleware, the outermost: nothing is inherited from the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await asyncio.create_task(self._run(scope, receive, send), context=Context())

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
