"""Local copies of artefacts, by digest. Shared by all processes of a machine; kept under a size."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.storage import ObjectStore, StoredObject

# A file that was asked for lately may be about to be opened, so eviction leaves it.
_KEEP_FOR_S = 600
_SWEEPS_A_RETENTION = 6


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
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, path)
        except OSError:
            return  # another device or no links: the file is downloaded when asked for

    def expire(self, retention: timedelta) -> None:
        """Remove what nobody has asked for in so long."""
        oldest_kept = time.time() - retention.total_seconds()
        for path, stat in self._iterate_files():
            if stat.st_mtime < oldest_kept:
                path.unlink(missing_ok=True)

    def start_expiring(self, retention: timedelta) -> None:
        """Do that again and again, as long as this process lives: a study's copies outlive the study otherwise."""

        def expire_for_ever() -> None:
            while True:
                self.expire(retention)
                time.sleep(retention.total_seconds() / _SWEEPS_A_RETENTION)

        threading.Thread(target=expire_for_ever, name="cache", daemon=True).start()

    def make_room(self, reserve_bytes: int) -> bool:
        """Keep so much of the disk free, if need be by removing copies; False where that is not enough."""
        self._folder.mkdir(parents=True, exist_ok=True)  # whoever cleans caches may have removed it
        shortage_bytes = reserve_bytes - shutil.disk_usage(self._folder).free
        if shortage_bytes <= 0:
            return True
        self._remove_oldest(shortage_bytes)
        return shutil.disk_usage(self._folder).free >= reserve_bytes

    def _locate(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _keep(self, partial: Path, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.chmod(0o400)
        partial.replace(path)
        return path

    def _evict(self, needed_bytes: int) -> None:
        """Remove the files unused for longest until `needed_bytes` more fit under the limit."""
        taken_bytes = sum(stat.st_size for _, stat in self._iterate_files())
        self._remove_oldest(taken_bytes + needed_bytes - self._limit_bytes)

    def _remove_oldest(self, excess_bytes: int) -> None:
        """Remove files, those unused for longest first, until so many bytes are gone."""
        oldest_kept = time.time() - _KEEP_FOR_S
        for path, stat in sorted(self._iterate_files(), key=lambda file: file[1].st_mtime):
            if excess_bytes <= 0 or stat.st_mtime > oldest_kept:
                return
            path.unlink(missing_ok=True)
            excess_bytes -= stat.st_size

    def _iterate_files(self) -> list[tuple[Path, os.stat_result]]:
        """Return what takes room here, with what killed processes left of their downloads."""
        found = []
        for path in (*self._folder.glob("??/*"), *self._folder.glob(f"{tempfile.gettempprefix()}*")):
            try:
                found.append((path, path.stat()))
            except FileNotFoundError:  # another process evicted it
                continue
        return found
