"""Taking in one body: limits, kind, then a thread that consumes it while it still comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request
from python_multipart.multipart import parse_options_header

from gateway.problems.responses import mark_body_read
from gateway.threads import ThreadSlots
from gateway.uploads.digests import HEADER as DIGEST_HEADER
from gateway.uploads.digests import AnnouncedDigests
from gateway.uploads.multipart import MultipartReader
from gateway.uploads.pouring import Taken, iterate_in_time, pour
from shared.artefacts import UploadKind
from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.storage import Readable
from shared.upload_kinds import explain_foreign, get_media_type, is_head_enough, judge_foreign_kind, judge_kind

_ENVELOPE_BYTES = MIB  # what multipart headers and fields may add to the file
_LONGEST_LENGTH = 20  # digits of a Content-Length that is a number at all


class BodyReader(Protocol):
    """Finds the file in a body."""

    fields: dict[str, str]
    file_name: str | None
    file_digest: str | None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Read a chunk and return the bytes of the file in it."""

    def finish(self) -> None:
        """Check that the body was whole."""


class RawReader:
    """The body is the file."""

    def __init__(self, file_name: str | None) -> None:
        self.fields: dict[str, str] = {}
        self.file_name = file_name
        self.file_digest: str | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the chunk itself."""
        return [chunk]

    def finish(self) -> None:
        """Accept: the server has checked the length."""


@dataclass(frozen=True)
class ReceivedUpload:
    """What came with the bytes."""

    kind: UploadKind
    media_type: str
    file_name: str | None
    fields: Mapping[str, str]


class Reception:
    """One body on its way in.

    `check_name` sees the file's name before any of its bytes are kept; `check_fields` sees all fields before the
    file is taken for good. Both raise InputProblem.
    """

    def __init__(
        self,
        request: Request,
        *,
        limit_bytes: int,
        allowed_fields: frozenset[str],
        check_fields: Callable[[Mapping[str, str]], object],
        check_name: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._request = request
        self._limit_bytes = limit_bytes
        self._check_name = check_name
        self._check_fields = check_fields
        self._reader = _choose_reader(request, allowed_fields)
        announced = ", ".join(request.headers.getlist(DIGEST_HEADER))
        self._digests = AnnouncedDigests(announced, is_form=isinstance(self._reader, MultipartReader))
        self._head = b""
        self._kind: UploadKind | None = None
        _check_length(request, limit_bytes)

    async def pour(self, threads: ThreadSlots, consume: Callable[[Readable], Taken]) -> tuple[ReceivedUpload, Taken]:
        """Let `consume` read the file on a thread while it comes; return what came and what `consume` made of it.

        Raises InputProblem for what is wrong with the body, and what `consume` raises. When the body breaks off,
        `consume` sees an error from its next read and so can undo its own work.
        """
        taken = await pour(self._iterate_checked(), threads, consume)
        return self._describe(), taken

    async def _iterate_checked(self) -> AsyncIterator[bytes]:
        async for piece in self._iterate_judged():
            yield piece
        self._check_fields(self._reader.fields)

    def _describe(self) -> ReceivedUpload:
        assert self._kind is not None  # a body that was poured to its end was judged
        media_type = get_media_type(self._kind, self._head)
        return ReceivedUpload(self._kind, media_type, self._reader.file_name, self._reader.fields)

    async def _iterate_judged(self) -> AsyncIterator[bytes]:
        """Yield the file; its first bytes are held back until they were judged."""
        async for piece in self._iterate_file():
            if self._kind is not None:
                yield piece
                continue
            self._head += piece
            if is_head_enough(self._head):
                self._judge()
                yield self._head
        if self._kind is None:
            self._judge()
            yield self._head

    def _judge(self) -> None:
        self._check_name(self._reader.file_name)
        if not self._head:
            raise InputProblem(ProblemCode.EMPTY_UPLOAD, "The upload has no bytes.")
        self._kind = require_kind(self._head)

    async def _iterate_file(self) -> AsyncIterator[bytes]:
        file_bytes = 0
        async for chunk in self._iterate_body():
            for piece in self._reader.feed(chunk):
                file_bytes += len(piece)
                if file_bytes > self._limit_bytes:
                    raise make_too_large(self._limit_bytes)
                if piece:
                    self._digests.take_file(piece, self._reader.file_digest)
                    yield piece
        mark_body_read(self._request.scope)
        self._reader.finish()
        self._digests.check()

    async def _iterate_body(self) -> AsyncIterator[bytes]:
        body_bytes = 0
        async for chunk in iterate_in_time(self._request):
            body_bytes += len(chunk)
            if body_bytes > self._limit_bytes + _ENVELOPE_BYTES:
                raise make_too_large(self._limit_bytes)
            if chunk:
                self._digests.take_body(chunk)
                yield chunk
        if body_bytes == 0:
            raise InputProblem(ProblemCode.EMPTY_UPLOAD, "The request has no body.")


def require_kind(head: bytes) -> UploadKind:
    """Return the kind of what begins with `head`. Raises InputProblem(NOT_AN_ARCHIVE)."""
    kind = judge_kind(head)
    if kind is None:
        foreign = judge_foreign_kind(head)
        found = "unknown" if foreign is None else str(foreign)
        raise InputProblem(ProblemCode.NOT_AN_ARCHIVE, explain_foreign(head, foreign), found=found)
    return kind


def refuse_encoding(request: Request) -> None:
    """Refuse a body that is encoded as a whole. Raises InputProblem(NOT_AN_ARCHIVE)."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        detail = "Content-Encoding is not understood. Send the file as it is."
        raise InputProblem(ProblemCode.NOT_AN_ARCHIVE, detail, found="unknown")


def _choose_reader(request: Request, allowed_fields: frozenset[str]) -> BodyReader:
    refuse_encoding(request)
    content_type, options = parse_options_header(request.headers.get("content-type"))
    if content_type != b"multipart/form-data":
        _, disposition = parse_options_header(request.headers.get("content-disposition"))
        name = disposition.get(b"filename")
        return RawReader(None if name is None else name.decode("utf-8", "replace"))
    if not options.get(b"boundary"):
        raise InputProblem(ProblemCode.MALFORMED_REQUEST, "The multipart Content-Type names no boundary.")
    return MultipartReader(options[b"boundary"], allowed_fields)


def _check_length(request: Request, limit_bytes: int) -> None:
    """Refuse by the announced length, before a byte is read. What really comes is counted all the same."""
    length = request.headers.get("content-length", "0")
    envelope = _ENVELOPE_BYTES if request.headers.get("content-type", "").startswith("multipart/") else 0
    if not length.isdecimal() or len(length) > _LONGEST_LENGTH or int(length) > limit_bytes + envelope:
        raise make_too_large(limit_bytes)


def make_too_large(limit_bytes: int) -> InputProblem:
    """Return the problem of an upload over the limit."""
    return InputProblem(
        ProblemCode.UPLOAD_TOO_LARGE,
        f"The upload is larger than {limit_bytes} bytes.",
        limit_bytes=limit_bytes,
    )
