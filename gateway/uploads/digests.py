"""`Content-Digest` (RFC 9530): the digest that a sender announces of what it sends, held against what came.

The header covers the content of the message, which is the whole body: of a form, every part with its boundaries. As
many senders put the digest of the file there, a form whose file alone has it is taken too. The file's part may announce
a digest of its own, of the file alone; RFC 7578 knows no such header in a part, but who sends it wants it checked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.storage import Readable

HEADER = "content-digest"
ALGORITHMS = ("sha-256", "sha-512")
"""Algorithms that are checked; RFC 9530 has the others ignored."""

# A member of a dictionary of byte sequences (RFC 9651); nothing here has parameters, so they are passed over.
_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*)={0,2}:(?:;[^,]*)?")


@dataclass(frozen=True)
class Checksum:
    """The digest of some bytes by one algorithm."""

    algorithm: str
    digest: bytes

    def __str__(self) -> str:
        return f"{self.algorithm}=:{base64.b64encode(self.digest).decode()}:"


def parse_content_digest(value: str) -> tuple[Checksum, ...]:
    """Return the checksums of a header that can be checked. Raises InputProblem(MALFORMED_REQUEST)."""
    found: dict[str, bytes] = {}
    for member in value.split(",") if value.strip() else ():
        match = _MEMBER.fullmatch(member.strip(" \t"))
        if match is None:
            raise _malformed()
        found[match[1]] = _decode(match[2])
    return tuple(Checksum(name, found[name]) for name in ALGORITHMS if name in found)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise _malformed() from error


def _malformed() -> InputProblem:
    expected = ", ".join(f"{name}=:BASE64:" for name in ALGORITHMS)
    return InputProblem(ProblemCode.MALFORMED_REQUEST, f"Content-Digest is not of the form {expected} (RFC 9530).")


class DigestCheck:
    """Hashes what passes, by the algorithms of the checksums that are expected of it."""

    def __init__(self, expected: tuple[Checksum, ...]) -> None:
        self._expected = expected
        self._hashes = {one.algorithm: hashlib.new(one.algorithm.replace("-", "")) for one in expected}

    def update(self, chunk: bytes) -> None:
        """Take bytes in."""
        for one in self._hashes.values():
            one.update(chunk)

    def find_wrong(self) -> tuple[Checksum, Checksum] | None:
        """Return the first checksum that does not hold with what was found instead, or None when all hold."""
        found = (Checksum(one.algorithm, self._hashes[one.algorithm].digest()) for one in self._expected)
        return next((pair for pair in zip(self._expected, found, strict=True) if pair[0] != pair[1]), None)


class AnnouncedDigests:
    """All that a request announces of its body, and of the file in it."""

    def __init__(self, header: str, *, is_form: bool) -> None:
        announced = parse_content_digest(header)
        self._of_body = DigestCheck(announced)
        self._of_file = DigestCheck(announced) if is_form else None
        self._of_part: DigestCheck | None = None

    def take_body(self, chunk: bytes) -> None:
        """Take in bytes of the body."""
        self._of_body.update(chunk)

    def take_file(self, piece: bytes, announced: str | None) -> None:
        """Take in bytes of the file, whose part announces a digest or none. Raises InputProblem."""
        if self._of_file is not None:
            self._of_file.update(piece)
        if self._of_part is None:
            self._of_part = DigestCheck(parse_content_digest(announced or ""))
        self._of_part.update(piece)

    def check(self) -> None:
        """Hold everything against what came. Raises InputProblem(CHECKSUM_MISMATCH)."""
        wrong = self._of_body.find_wrong()
        if wrong is not None and self._of_file is not None and self._of_file.find_wrong() is None:
            wrong = None
        if wrong is not None:
            raise _mismatch("body", *wrong)
        if self._of_part is not None and (wrong := self._of_part.find_wrong()) is not None:
            raise _mismatch("file", *wrong)


def compute_sha256(stream: Readable) -> str:
    """Return the digest of a stream in hex, read to its end."""
    digest = hashlib.sha256()
    while chunk := stream.read(MIB):
        digest.update(chunk)
    return digest.hexdigest()


def refuse_other_sha256(announced: str | None, found: str) -> None:
    """Hold the digest of a whole upload, in hex, against the one announced. Raises InputProblem(CHECKSUM_MISMATCH)."""
    if announced is not None and announced != found:
        checksums = (Checksum(ALGORITHMS[0], bytes.fromhex(one)) for one in (announced, found))
        raise _mismatch("whole", *checksums)


def _mismatch(what: str, announced: Checksum, found: Checksum) -> InputProblem:
    detail = f"Another {announced.algorithm} of the {what} was announced than what came has."
    return InputProblem(ProblemCode.CHECKSUM_MISMATCH, detail, announced=str(announced), found=str(found))
