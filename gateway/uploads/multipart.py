"""A multipart body read as it comes: small fields are kept, the file's bytes pass through."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.problems.handlers import InvalidFields, make_pointer
from gateway.uploads.digests import HEADER as DIGEST_HEADER
from shared.errors import InputProblem
from shared.problems import FieldError, ProblemCode

FILE_FIELD = "file"

_LONGEST_FIELD_BYTES = 8192
_MOST_FIELDS = 32


@dataclass
class _Part:
    """The part that is being read."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    name: str = ""
    content: bytearray = field(default_factory=bytearray)


class MultipartReader:
    """Reads one `multipart/form-data` body. What is public is known as far as the body was fed."""

    def __init__(self, boundary: bytes, allowed_fields: frozenset[str]) -> None:
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self.file_digest: str | None = None
        self.has_file = False
        self._allowed = allowed_fields
        self._part = _Part()
        self._pieces: list[bytes] = []
        self._has_ended = False
        try:
            self._parser = MultipartParser(boundary, self._make_callbacks())  # type: ignore[arg-type]  # a TypedDict
        except FormParserError as error:
            raise _malformed() from error

    def feed(self, chunk: bytes) -> list[bytes]:
        """Read a chunk and return the bytes of the file in it. Raises InputProblem."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed() from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> None:
        """Check that the body was whole and brought a file. Raises InputProblem."""
        if not self._has_ended:
            raise _malformed()
        if not self.has_file:
            raise InvalidFields(FieldError(f"/{FILE_FIELD}", "Field required"))

    def _make_callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._part.header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._part.header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._take,
            "on_part_end": self._close_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._part = _Part()

    def _end_header(self) -> None:
        part = self._part
        part.headers[bytes(part.header_name).lower()] = bytes(part.header_value)
        part.header_name.clear()
        part.header_value.clear()

    def _open_part(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition"))
        name = self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == FILE_FIELD:
            self._open_file(options.get(b"filename"))
        elif name not in self._allowed or name in self.fields or len(self.fields) >= _MOST_FIELDS:
            message = "Sent more than once" if name in self.fields else "Unknown field"
            raise InvalidFields(FieldError(make_pointer([name]), message))

    def _open_file(self, file_name: bytes | None) -> None:
        if self.has_file:
            raise InvalidFields(FieldError(f"/{FILE_FIELD}", "Sent more than once"))
        self.has_file = True
        self.file_name = None if file_name is None else file_name.decode("utf-8", "replace")
        announced = self._part.headers.get(DIGEST_HEADER.encode())
        self.file_digest = None if announced is None else announced.decode("latin-1")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == FILE_FIELD:
            self._pieces.append(data[start:end])
            return
        self._part.content.extend(data[start:end])
        if len(self._part.content) > _LONGEST_FIELD_BYTES:
            message = f"Longer than {_LONGEST_FIELD_BYTES} bytes"
            raise InvalidFields(FieldError(make_pointer([self._part.name]), message))

    def _close_part(self) -> None:
        if self._part.name != FILE_FIELD:
            self.fields[self._part.name] = self._part.content.decode("utf-8", "replace")

    def _end(self) -> None:
        self._has_ended = True


def _malformed() -> InputProblem:
    return InputProblem(ProblemCode.MALFORMED_REQUEST, "The multipart body breaks off or breaks its own format.")
