"""Holding a request until its job has ended. A caller that is gone ends the waiting, not the job."""

from __future__ import annotations

import asyncio
import uuid

from fastapi import Request

from gateway.resources import Resources

# How often a waiting request looks whether its caller is still there.
_LOOK_EVERY_S = 1.0


async def wait_for_end(resources: Resources, request: Request, job_id: uuid.UUID, limit_s: float) -> bool:
    """Wait until a job has ended; False when it has not within `limit_s`, or nobody waits any more."""
    ending = asyncio.ensure_future(resources.endings.wait(job_id, limit_s))
    try:
        while not (await asyncio.wait({ending}, timeout=_LOOK_EVERY_S))[0]:
            if await request.is_disconnected():
                return False
        return await ending
    finally:
        ending.cancel()
