"""Parameters that several routes take."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import Depends, Path, Request

from gateway.jobs.errors import JobNotFound
from gateway.problems.handlers import InvalidFields, make_pointer
from shared.problems import FieldError


def parse_job_id(
    job_id: Annotated[str, Path(description="Id of a job.", examples=["0b9f8f0e-5f0c-4f43-9a51-1d2f0c9d7a11"])],
) -> uuid.UUID:
    """Return the id in the address; what is no id leads to no job."""
    try:
        return uuid.UUID(job_id)
    except ValueError as error:
        raise JobNotFound from error


def refuse_query(request: Request) -> None:
    """Refuse every query field, on a route that has none."""
    unknown = [FieldError(make_pointer([name]), "Unknown field") for name in request.query_params]
    if unknown:
        raise InvalidFields(*unknown)


JobId = Annotated[uuid.UUID, Depends(parse_job_id)]
"""A route's parameter of this type gets the id of the job in the address."""

NO_QUERY = Depends(refuse_query)
"""In a route's `dependencies`: unknown query fields are answered with 422."""
