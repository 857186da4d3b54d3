"""A large file goes in parts, so that a cut connection costs one of them: what to ask, one request after the other.

The steps know no network: each yields a request and is sent its answer, or is thrown what it was refused with. So the
blocking and the asynchronous client take the same ones.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from client.documents import Document
from client.errors import ApiError
from client.exchange import Call, OnProgress, make_file_name, make_submission

PARTS_FROM_BYTES = 64 * 1024 * 1024
"""Size from which a file goes in parts, unless a client is told another."""

_PLACE = "/v1/uploads"
_ASSEMBLY_S = 900.0  # the parts of gigabytes are read and written once more
_COMPLETE_BY_NOW = "upload_already_complete"
ANOTHERS = frozenset({"upload_not_found", "upload_already_submitted"})
"""Refusals of an upload that somebody else made a job of meanwhile, or that has expired."""

Steps = Generator[Call, Document, Document]
"""Yields requests, is sent their answers, and returns the last of them."""


def advance(steps: Steps, answer: Document | ApiError | None) -> Call | Document:
    """Give the steps an answer, None at their beginning; return the next request, or at their end what came of them."""
    try:
        if isinstance(answer, ApiError):
            return steps.throw(answer)
        return next(steps) if answer is None else steps.send(answer)
    except StopIteration as end:
        done: Document = end.value
        return done


@dataclass(frozen=True)
class PartedFile:
    """A file and its digest, which tells whether an upload that was begun earlier is of the same bytes."""

    path: Path
    size_bytes: int
    sha256: str

    @classmethod
    def read(cls, path: Path) -> PartedFile:
        """Hash a file."""
        with path.open("rb") as file:
            return cls(path, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())

    def read_part(self, number: int, part_size_bytes: int) -> bytes:
        """Return the bytes of a part."""
        with self.path.open("rb") as file:
            file.seek((number - 1) * part_size_bytes)
            return file.read(part_size_bytes)


def submit_study(
    path: Path, options: Mapping[str, str], idempotency_key: str, on_progress: OnProgress | None, parts_from_bytes: int
) -> Steps:
    """Send a file and make a job of it: in one go, or from a size on in parts."""
    if path.stat().st_size < parts_from_bytes:
        return (yield make_submission(path, options, idempotency_key, on_progress))
    return (yield from _submit_in_parts(path, options, idempotency_key, on_progress))


def _submit_in_parts(
    path: Path, options: Mapping[str, str], idempotency_key: str, on_progress: OnProgress | None
) -> Steps:
    """Go on with an upload of the same bytes that was begun earlier, or begin one; once more where another takes it."""
    file = PartedFile.read(path)
    submit = _Submission(file, options, idempotency_key, on_progress)
    begin = Call("POST", _PLACE, json={"size_bytes": file.size_bytes, "sha256": file.sha256})
    try:
        return (yield from submit.finish((yield from _find_begun(file)) or (yield begin)))
    except ApiError as error:
        if error.code not in ANOTHERS:
            raise
    return (yield from submit.finish((yield begin)))


def _find_begun(file: PartedFile) -> Generator[Call, Document, Document | None]:
    """Return an upload of the same bytes that is no job yet."""
    listed = yield Call("GET", _PLACE)
    wanted = (file.size_bytes, file.sha256)
    same = [one for one in listed["items"] if (one["size_bytes"], one.get("announced_sha256")) == wanted]
    return next(iter(same), None)


@dataclass(frozen=True)
class _Submission:
    """What is to become of a file."""

    file: PartedFile
    options: Mapping[str, str]
    idempotency_key: str
    on_progress: OnProgress | None

    def finish(self, upload: Document) -> Steps:
        """Send the parts that have not come, and make a job of the upload."""
        place = f"{_PLACE}/{upload['id']}"
        try:
            yield from self._send_missing(place, upload)
        except ApiError as error:
            if error.code != _COMPLETE_BY_NOW:
                raise
        yield Call("POST", f"{place}/complete", takes_s=_ASSEMBLY_S)
        return (
            yield Call(
                "POST",
                "/v1/jobs",
                query=self.options,
                headers={"Idempotency-Key": self.idempotency_key},
                json={"upload_id": upload["id"], "file_name": make_file_name(self.file.path)},
            )
        )

    def _send_missing(self, place: str, upload: Document) -> Generator[Call, Document, None]:
        size_bytes, part_size_bytes = self.file.size_bytes, int(upload["part_size_bytes"])
        received = set(upload["received_parts"])
        for number in range(1, -(-size_bytes // part_size_bytes) + 1):
            if number not in received:
                part = self.file.read_part(number, part_size_bytes)
                told = self._make_teller(min(number * part_size_bytes, size_bytes))
                yield Call("PUT", f"{place}/parts/{number}", headers=_announce(part), content=part, on_answer=told)

    def _make_teller(self, sent_bytes: int) -> Callable[[], object] | None:
        return None if self.on_progress is None else partial(self.on_progress, sent_bytes, self.file.size_bytes)


def _announce(part: bytes) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
    return {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
