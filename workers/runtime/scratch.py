"""A scratch folder for each process. A killed process cannot tidy up, so the next one to start here does it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path


def take_scratch(parent: Path) -> Path:
    """Make a folder that is this process's until it ends, and remove those whose processes have ended.

    A lock says which ones live: the kernel lets it go when its process ends, however it ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    guard = os.open(parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for folder in parent.iterdir():
            _remove_if_left(folder)
        taken = Path(tempfile.mkdtemp(dir=parent))
        # Never closed: the descriptor is the lock.
        fcntl.flock(os.open(taken, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_EX)
    finally:
        os.close(guard)
    return taken


def _remove_if_left(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its process lives
    finally:
        os.close(descriptor)
