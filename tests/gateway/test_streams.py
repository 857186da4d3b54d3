"""Streams of a gateway that stops: no moment of theirs keeps one open."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

from gateway.events.repository import News, Reader
from gateway.events.streams import EventStreams
from gateway.tenants import Tenant
from shared.tables import Event

TENANT = Tenant("lung-screening")


class Looks:
    """Stands for the database's threads: says when a look has begun, and finds nothing once it may end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, _: object) -> dict[int, News]:
        self.begun.set()
        await self.may_end.wait()
        return {0: News([Event(id=7)], has_ended=False)}


async def drain(events: AsyncIterator[Event]) -> list[int]:
    async with asyncio.timeout(5):
        return [event.id async for event in events]


def test_one_that_begins_while_the_gateway_stops_ends_at_once() -> None:
    async def begin_late() -> list[int]:
        streams = EventStreams(Looks(), limit=1)
        stream = streams.open(Reader(uuid.uuid4(), 0), TENANT)
        streams.let_go()
        return await drain(stream)

    assert asyncio.run(begin_late()) == []


def test_one_that_is_being_looked_for_tells_what_was_found_and_ends() -> None:
    async def stop_within_a_look() -> list[int]:
        looks = Looks()
        streams = EventStreams(looks, limit=1)
        stream = asyncio.ensure_future(drain(streams.open(Reader(uuid.uuid4(), 0), TENANT)))
        await looks.begun.wait()
        looks.may_end.set()
        streams.let_go()
        return await stream

    assert asyncio.run(stop_within_a_look()) == [7]
