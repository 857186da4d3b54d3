"""Weight files as bytes, checked against the digest that the catalogue pins. Light: no torch."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from model_weights.catalogue import WeightFile
from shared.errors import Defect

_known_digests: dict[tuple[str, int, int, int], str] = {}
"""Digests that this process has computed, by path, size, time of the last change in nanoseconds, and inode."""

_YOUNG_NS = 2_000_000_000
"""A file that changed so lately could change again without its time telling, so its digest is not remembered."""

_later: ContextVar[list[Future[None]] | None] = ContextVar("verifications that go on", default=None)


def verify(file: WeightFile) -> None:
    """Raise Defect when a file is not what the catalogue pins. Each file is read once in a process, in blocks.

    Inside `verified_by_the_end` this returns at once, and the end raises.
    """
    later = _later.get()
    if later is None:
        _verify_now(file)
    else:
        later.append(_verify_apart(file))


@contextmanager
def verified_by_the_end() -> Iterator[None]:
    """Verify files beside what is done with them inside; they are as pinned once this ends without a Defect.

    A model is loaded and warmed up meanwhile: reading tensors runs no code of theirs, and nobody asks it before. Where
    that fails because the file is another one, the Defect of the file is raised.
    """
    outcomes: list[Future[None]] = []
    token = _later.set(outcomes)
    try:
        yield
    finally:
        _later.reset(token)
        for outcome in outcomes:
            outcome.result()


def _verify_apart(file: WeightFile) -> Future[None]:
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            _verify_now(file)
        except BaseException as error:  # noqa: BLE001  # it is raised where the outcome is asked for
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name=f"verify-{file.role}", daemon=True).start()
    return outcome


def _verify_now(file: WeightFile) -> None:
    try:
        found = _find_digest(file.path)
    except OSError as error:
        raise _make_unreadable(file) from error
    _require_digest(file, found)


def _find_digest(path: Path) -> str:
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key in _known_digests:
        return _known_digests[key]
    found = compute_sha256(path)
    if time.time_ns() - stat.st_mtime_ns > _YOUNG_NS:
        _known_digests[key] = found
    return found


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
