"""Being told to stop, for processes that are not Celery workers."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def install_stop_signals(stopped: threading.Event) -> None:
    """Set `stopped` on SIGTERM and SIGINT."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
