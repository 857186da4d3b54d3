"""Retirement: a process that can no longer be trusted takes no more work, and ends; its supervisor starts another."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from shared.settings import Settings
from shared.telemetry import get_logger

_log = get_logger()


class Retirement:
    """How this process ends itself. Until it is `armed`, as in tests and on the command line, nothing happens."""

    def __init__(self) -> None:
        self._is_armed = False
        self._ready_file: Path | None = None
        self._lock = threading.Lock()

    def arm(self, settings: Settings) -> None:
        """Let this process be ended: it is a worker, and somebody starts it again."""
        self._is_armed, self._ready_file = True, settings.ready_file

    def begin(self, reason: str) -> None:
        """Say that the process is not ready any more, and stop it as its supervisor would: once."""
        with self._lock:
            if not self._is_armed:
                return
            self._is_armed = False
        _log.error("process retires", reason=reason)
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGTERM)


RETIREMENT = Retirement()
"""Of this process."""
