"""Uploads in parts that are answered with a problem."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import func, update

from gateway.uploads.division import SMALLEST_PART_BYTES
from shared.database import transaction
from shared.problems import ProblemCode
from shared.upload_tables import Upload
from tests.gateway.conftest import ZIP, running_gateway
from tests.problems.bench import Bench, Document, Generator, read_json

_PATH = "/v1/uploads"
_SIZE_BYTES = SMALLEST_PART_BYTES + len(ZIP)
_FIRST = ZIP.ljust(SMALLEST_PART_BYTES, b"\0")


def _begin(bench: Bench, size_bytes: int = len(ZIP)) -> str:
    made = read_json(bench.gateway.http.post(_PATH, json={"size_bytes": size_bytes}))
    return f"{_PATH}/{made['id']}"


def _put(bench: Bench, place: str, number: int, content: bytes = ZIP) -> Document:
    return read_json(bench.gateway.http.put(f"{place}/parts/{number}", content=content))


def _complete(bench: Bench, place: str) -> Document:
    return read_json(bench.gateway.http.post(f"{place}/complete"))


def _submit(bench: Bench, place: str) -> Document:
    return read_json(bench.gateway.http.post("/v1/jobs", json={"upload_id": place.rsplit("/", 1)[-1]}))


def _make_too_many(bench: Bench) -> Document:
    with running_gateway(bench.settings.model_copy(update={"open_uploads_limit": 1})) as other:
        place = _begin(bench)
        problem = read_json(other.http.post(_PATH, json={"size_bytes": 1}))
        bench.gateway.http.delete(place)
        return problem


def _change_a_part(bench: Bench) -> Document:
    place = _begin(bench, _SIZE_BYTES)
    _put(bench, place, 1, _FIRST)
    return _put(bench, place, 1, _FIRST[:-1] + b"x")


def _ask_while_busy(bench: Bench) -> Document:
    place = _begin(bench)
    with transaction(bench.engine) as session:  # as another gateway would hold it
        held = {"assembly_token": uuid.uuid4(), "assembly_until": func.now() + timedelta(minutes=1)}
        session.execute(update(Upload).where(Upload.id == uuid.UUID(place.rsplit("/", 1)[-1])).values(**held))
    return _complete(bench, place)


def _add_after_the_end(bench: Bench) -> Document:
    place = _begin(bench)
    _put(bench, place, 1)
    _complete(bench, place)
    return _put(bench, place, 1)


def _submit_twice(bench: Bench) -> Document:
    place = _begin(bench)
    _put(bench, place, 1)
    _complete(bench, place)
    _submit(bench, place)
    return _submit(bench, place)


GENERATORS: Mapping[ProblemCode, Generator] = {
    ProblemCode.UPLOAD_NOT_FOUND: lambda bench: bench.get(f"{_PATH}/{uuid.uuid4()}"),
    ProblemCode.TOO_MANY_UPLOADS: _make_too_many,
    ProblemCode.UPLOAD_PART_UNKNOWN: lambda bench: _put(bench, _begin(bench), 2),
    ProblemCode.UPLOAD_PART_SIZE_WRONG: lambda bench: _put(bench, _begin(bench, _SIZE_BYTES), 2, b"x"),
    ProblemCode.UPLOAD_PART_CONFLICT: _change_a_part,
    ProblemCode.UPLOAD_INCOMPLETE: lambda bench: _complete(bench, _begin(bench)),
    ProblemCode.UPLOAD_BUSY: _ask_while_busy,
    ProblemCode.UPLOAD_ALREADY_COMPLETE: _add_after_the_end,
    ProblemCode.UPLOAD_ALREADY_SUBMITTED: _submit_twice,
}
