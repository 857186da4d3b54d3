"""`/v1/jobs/{id}/events`: what happens to a job, as a stream or as a list."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from gateway.events.repository import News, Reader, fetch_events, fetch_news
from gateway.events.schemas import TOLD, EventData, EventList, describe_event
from gateway.jobs.paging import make_place_cursor, parse_place_cursor
from gateway.jobs.repository import fetch_job
from gateway.parameters import JobId
from gateway.problems.examples import document_problems
from gateway.problems.handlers import InvalidFields
from gateway.resources import Resources, ResourcesOf
from gateway.tenants import Tenant, TenantOf
from shared.problems import FieldError, ProblemCode
from shared.tables import Event

MOST_EVENTS_A_PAGE = 1000

router = APIRouter(prefix="/v1/jobs/{job_id}/events", tags=["Events"])

_STREAM = "text/event-stream"
_LARGEST_ID = 2**63 - 1
_LONGEST_ID = len(str(_LARGEST_ID))
_SEND_LIMIT_S = 30.0  # a reader that takes nothing for this long is given up
_EXAMPLE = (
    "id: 1041\nevent: stage.state\n"
    'data: {"job_id": "7f0c1d52-4c5e-4f0e-9a5b-2b8f2f3f6a11", "stage": "intake", "state": "succeeded", '
    '"progress": null, "at": "2026-03-01T10:00:07.120000Z"}\n\n'
)
_PROBLEMS = (
    ProblemCode.JOB_NOT_FOUND,
    ProblemCode.ERASED,
    ProblemCode.VALIDATION_FAILED,
    ProblemCode.TOO_MANY_STREAMS,
    ProblemCode.DATABASE_UNAVAILABLE,
)
_SENT_EVENT = {
    "type": "object",
    "description": "One event of the stream: its lines `id`, `event` and `data`.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "Sequence number, for `Last-Event-ID`."},
        "event": {"enum": list(TOLD)},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventData"},
        },
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of Server-Sent Events, or a list for who accepts only JSON.",
        "content": {_STREAM: {"schema": _SENT_EVENT, "example": _EXAMPLE}},
    },
    204: {"description": "The job has ended and the caller has had every event: there is nothing to reconnect for."},
}


class EventsQuery(BaseModel):
    """Query of a list of events."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=MOST_EVENTS_A_PAGE, description="Events a page of a list.")
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")


def parse_reader(
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event received: the stream goes on behind it.")
    ] = None,
) -> Reader:
    """Return whose events are asked for and behind which. Raises JobNotFound or InvalidFields."""
    value = last_event_id or "0"
    if not value.isascii() or not value.isdecimal() or len(value) > _LONGEST_ID or int(value) > _LARGEST_ID:
        raise InvalidFields(FieldError("/Last-Event-ID", "Not the id of an event"))
    return Reader(job_id, int(value))


ReaderOf = Annotated[Reader, Depends(parse_reader)]


@router.get(
    "",
    summary="What happens to a job",
    response_model=EventList,
    responses={**document_problems(*_PROBLEMS), **_ANSWERS},
)
async def read_events(
    request: Request,
    reader: ReaderOf,
    query: Annotated[EventsQuery, Query()],
    resources: ResourcesOf,
    tenant: TenantOf,
) -> Response:
    """Stream the events of a job from its first one, or from behind `Last-Event-ID`, until the job has ended.

    Comments keep the connection alive. With `Accept: application/json` the events so far are listed, page by page.
    """
    if _wants_list(request):
        page = await _list(resources, tenant, reader.job_id, query)
        return Response(page.model_dump_json(), media_type="application/json")
    first = await resources.transact(lambda session: _look_first(session, tenant, reader))
    if first.has_ended and not first.events:
        return Response(status_code=204)
    return EventSourceResponse(
        _send(resources.streams.open(reader, tenant)),
        ping=resources.settings.event_heartbeat.total_seconds(),
        sep="\n",
        send_timeout=_SEND_LIMIT_S,
    )


def _wants_list(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and _STREAM not in accepted


async def _list(resources: Resources, tenant: Tenant, job_id: uuid.UUID, query: EventsQuery) -> EventList:
    reader = Reader(job_id, 0 if query.cursor is None else parse_place_cursor(query.cursor))

    def fetch(session: Session) -> EventList:
        fetch_job(session, tenant, job_id)
        found = fetch_events(session, reader, query.limit + 1)
        page = found[: query.limit]
        next_cursor = make_place_cursor(page[-1].id) if len(found) > query.limit else None
        return EventList(items=[describe_event(event) for event in page], next_cursor=next_cursor)

    return await resources.transact(fetch)


def _look_first(session: Session, tenant: Tenant, reader: Reader) -> News:
    fetch_job(session, tenant, reader.job_id)
    return fetch_news(session, {0: reader}, 1)[0]


async def _send(events: AsyncIterator[Event]) -> AsyncIterator[ServerSentEvent]:
    async for event in events:
        told = describe_event(event).model_dump_json(include=set(EventData.model_fields))
        yield ServerSentEvent(told, event=event.type, id=str(event.id))
