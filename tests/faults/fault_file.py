"""The file that tells the networks of a worker to fail: what the matrix writes and `faulty_worker` reads."""

from __future__ import annotations

FAULT_FILE = "CTCLIP_TEST_DEVICE_FAULT"
"""Variable of the environment that names the file."""

ONCE = " once"
"""Behind the name of a fault: the first network to meet it ends it."""
