"""JSON bodies, which are small: what is longer than any of them is refused before it fills the memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Message, Receive

from gateway.problems.responses import mark_body_read
from gateway.uploads.pouring import iterate_in_time
from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode

LONGEST_JSON_BYTES = MIB


class JsonRoute(APIRoute):
    """A route whose body, where it has one, is JSON of a limited length."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer

        async def read_and_answer(request: Request) -> Response:
            body = await read_json_body(request)
            return await answer(Request(request.scope, _give_back(body, request.receive)))

        return read_and_answer


async def read_json_body(request: Request) -> bytes:
    """Return the whole body. Raises InputProblem(UPLOAD_TOO_LARGE or UPLOAD_INTERRUPTED)."""
    body = bytearray()
    async for chunk in iterate_in_time(request):
        body += chunk
        if len(body) > LONGEST_JSON_BYTES:
            detail = f"JSON of this API is not longer than {LONGEST_JSON_BYTES} bytes."
            raise InputProblem(ProblemCode.UPLOAD_TOO_LARGE, detail, limit_bytes=LONGEST_JSON_BYTES)
    mark_body_read(request.scope)
    return bytes(body)


def _give_back(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that tells the body that was read, and then what comes behind it."""
    told = False

    async def receive_again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
