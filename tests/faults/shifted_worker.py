"""`python -m tests.faults.shifted_worker`: a worker under libfaketime.

Version 0.9.10 of it breaks `time.sleep` (clock_nanosleep with a deadline) where it leaves monotonic clocks alone.
"""

from __future__ import annotations

import select
import time


def sleep(seconds: float) -> None:
    """Wait as `time.sleep` does, by another way."""
    select.select([], [], [], seconds)


if __name__ == "__main__":
    time.sleep = sleep  # type: ignore[assignment]  # nobody here sleeps for an index
    from workers.__main__ import main

    main()
