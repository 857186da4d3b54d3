"""Lingering close: after an early refusal, what the client still sends is read and dropped.

Closing a socket with unread bytes resets the connection, and a client that sends its whole body before it reads would
then never see the answer. So the answer goes out at once, and the connection is closed only when the body has come.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.byte_units import MIB

LINGER_BYTES = 64 * MIB
"""Of a body with more than this still to come, nothing is dropped: the connection is closed at once."""

LINGER_IDLE_S = 5.0
"""A refused client that sends nothing for this long is given up."""

LINGER_LIMIT_S = 30.0
"""A refused client that has not sent everything after this is given up, however steadily it sends."""


class LingeringClose:
    """ASGI middleware around everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not _announces_body(scope):
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, receive, send).run(self._app)


class _Exchange:
    """One request with a body, and its answer. The end of a refusal is held back until the body was dropped."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._headers = Headers(scope=scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._received_bytes = 0
        self._was_asked_for = "expect" not in self._headers  # or else the first read asks for the body
        self._has_ended = False
        self._status = 0
        self._holds_end = False

    async def run(self, app: ASGIApp) -> None:
        await app(self._scope, self._receive_counted, self._send_but_hold_end)
        if self._holds_end:
            await self._drop_body()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _receive_counted(self) -> Message:
        self._was_asked_for = True
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        self._has_ended = not message.get("more_body", False)  # a client that is gone sends no more either
        return message

    async def _send_but_hold_end(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif not message.get("more_body", False) and self._should_linger():
            self._holds_end = True
            message = {**message, "more_body": True}
        await self._send(message)

    def _should_linger(self) -> bool:
        if self._has_ended or not self._was_asked_for or self._status < HTTPStatus.BAD_REQUEST:
            return False
        length = self._headers.get("content-length", "0")  # the server has checked that it is a number
        return int(length) - self._received_bytes <= LINGER_BYTES

    async def _drop_body(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LINGER_LIMIT_S
        most_bytes = self._received_bytes + LINGER_BYTES
        while not self._has_ended and self._received_bytes <= most_bytes:
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + LINGER_IDLE_S)):
                    await self._receive_counted()
            except TimeoutError:
                return


def _announces_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
