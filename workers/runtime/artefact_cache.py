"""Local copies of artefacts, by digest. Shared by all processes of a machine; kept under a size."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from pathlib import Path

from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.storage import ObjectStore, StoredObject

# A file that was asked for lately may be about to be opened, so eviction leaves it.
_KEEP_FOR_S = 600


class ArtefactCache:
    """Content-addressed files under one folder."""

    def __init__(self, folder: Path, limit_bytes: int, store: ObjectStore) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._store = store
        folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, stored: StoredObject) -> Path:
        """Return a local read-only copy, from storage if it is not here yet.

        Raises TransientFault when storage fails, the bytes differ, or the disk is full.
        """
        path = self._locate(stored.sha256)
        if path.exists():
            os.utime(path)
            return path
        self._evict(stored.size_bytes)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as partial:
            try:
                self._store.fetch(stored, partial)
            except BaseException as error:
                Path(partial.name).unlink(missing_ok=True)
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise TransientFault(ProblemCode.NO_SPACE, "artefact cache: disk full") from error
                raise
        return self._keep(Path(partial.name), path)

    def adopt(self, source: Path, sha256: str) -> None:
        """Keep a file that this machine has just written, so that no stage here downloads it."""
        path = self._locate(sha256)
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        try:
            os.link(source, path)
        except OSError:
            return  # another device or no links: the file is downloaded when asked for

    def _locate(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _keep(self, partial: Path, path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        partial.chmod(0o400)
        partial.replace(path)
        return path

    def _evict(self, needed_bytes: int) -> None:
        """Remove the files unused for longest until `needed_bytes` more fit under the limit."""
        files = sorted(
            ((stat.st_mtime, stat.st_size, path) for path, stat in self._iterate_files()), key=lambda row: row[0]
        )
        excess_bytes = sum(size for _, size, _ in files) + needed_bytes - self._limit_bytes
        oldest_kept = time.time() - _KEEP_FOR_S
        for used_at, size, path in files:
            if excess_bytes <= 0 or used_at > oldest_kept:
                return
            path.unlink(missing_ok=True)
            excess_bytes -= size

    def _iterate_files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._folder.glob("??/*"):
            try:
                found.append((path, path.stat()))
            except FileNotFoundError:  # another process evicted it
                continue
        return found
