"""A file that comes over the network: whole and with the digest that was promised, or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from client.errors import Damaged
from client.results import ArtifactLink


@contextmanager
def receiving(artifact: ArtifactLink, path: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield whom to give the bytes to; at the end the file stands under its name. Raises Damaged."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:

            def write(chunk: bytes) -> None:
                digest.update(chunk)
                file.write(chunk)

            yield write
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != artifact.sha256:
            raise Damaged(artifact.name)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
