"""Weight files as bytes, checked against the digest that the catalogue pins. Light: no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from model_weights.catalogue import WeightFile
from shared.errors import Defect


def verify(file: WeightFile) -> None:
    """Raise Defect when a file is not what the catalogue pins. Reads it in blocks, whatever its size."""
    try:
        found = compute_sha256(file.path)
    except OSError as error:
        raise _make_unreadable(file) from error
    _require_digest(file, found)


def compute_sha256(path: Path) -> str:
    """Return the digest of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_verified(file: WeightFile) -> bytes:
    """Return the bytes of a small file. Raises Defect when they are not those that the catalogue pins."""
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise _make_unreadable(file) from error
    _require_digest(file, hashlib.sha256(content).hexdigest())
    return content


def read_description(file: WeightFile) -> dict[str, object]:
    """Return a verified JSON object."""
    try:
        document = json.loads(read_verified(file))
    except ValueError as error:
        raise Defect(f"the weight file of role {file.role!r} is not JSON") from error
    if not isinstance(document, dict):
        raise Defect(f"the weight file of role {file.role!r} is not a JSON object")
    return document


def _make_unreadable(file: WeightFile) -> Defect:
    return Defect(f"the weight file of role {file.role!r} cannot be read; install the weights again")


def _require_digest(file: WeightFile, found: str) -> None:
    if found != file.sha256:
        raise Defect(
            f"the weight file of role {file.role!r} is not the one that the catalogue pins; install the weights again",
            expected=file.sha256,
            found=found,
        )
