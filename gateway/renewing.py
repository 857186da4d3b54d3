"""Holding a right in the database while something takes its time: it lapses by itself when this process dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy.orm import Session

from gateway.resources import Resources
from shared.errors import TransientFault

Change = Callable[[Session], None]


@asynccontextmanager
async def held(resources: Resources, renew: Change, release: Change, *, every_s: float) -> AsyncIterator[None]:
    """Renew a right while the block runs, and give it back when the block fails."""
    renewing = asyncio.create_task(_renew_on_and_on(resources, renew, every_s))
    try:
        yield
    except BaseException:
        with suppress(TransientFault):  # it then lapses by itself
            await resources.transact(release)
        raise
    finally:
        renewing.cancel()


async def _renew_on_and_on(resources: Resources, renew: Change, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        with suppress(TransientFault):
            await resources.transact(renew)
