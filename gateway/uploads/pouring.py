"""How bytes of a request come in time, and how a thread consumes them while they still come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.threads import ThreadSlots
from gateway.uploads.pipe import BodyPipe
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.storage import Readable

Taken = TypeVar("Taken")

IDLE_LIMIT_S = 60.0
"""A client that sends nothing for this long is given up."""

UPLOAD_LIMIT_S = 3600.0
"""A client that has not sent everything after this is given up, however steadily it drips."""


async def pour(pieces: AsyncIterator[bytes], threads: ThreadSlots, consume: Callable[[Readable], Taken]) -> Taken:
    """Let `consume` read the pieces on a thread while they come; return what it made of them.

    Raises what `pieces` and `consume` raise. When the pieces break off, `consume` sees an error from its next read and
    so can undo its own work.
    """
    pipe = BodyPipe()
    consuming = asyncio.ensure_future(threads.run(lambda: consume(pipe)))
    consuming.add_done_callback(lambda _: pipe.leave())
    try:
        async for piece in pieces:
            if not await pipe.write(piece):
                break
        pipe.end()
    except BaseException:
        pipe.abort()
        await asyncio.wait({consuming})
        _ = consuming.cancelled() or consuming.exception()  # known already: the consumer saw the body break off
        raise
    return await consuming


async def iterate_in_time(request: Request) -> AsyncIterator[bytes]:
    """Yield the chunks of a body. Raises InputProblem(UPLOAD_INTERRUPTED) when it breaks off or takes too long."""
    stream = request.stream()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + UPLOAD_LIMIT_S
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + IDLE_LIMIT_S)):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            detail = f"No byte came for {IDLE_LIMIT_S:g} s, or not all within {UPLOAD_LIMIT_S:g} s."
            raise InputProblem(ProblemCode.UPLOAD_INTERRUPTED, detail) from error
        except ClientDisconnect as error:
            raise InputProblem(ProblemCode.UPLOAD_INTERRUPTED, "The connection closed before the end.") from error
        if chunk is None:
            return
        yield chunk
