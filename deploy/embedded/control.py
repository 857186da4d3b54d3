"""What one does to a stack from outside: start it detached, look at it, stop it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from deploy.embedded.launcher import end_orphans
from deploy.embedded.problems import AlreadyRunning, StackProblem
from deploy.embedded.report import StackPhase, StackReport, find_running, read_report, write_report
from deploy.embedded.state_folder import StateFolder

LAUNCHER_COMMAND = (sys.executable, "-m", "deploy.embedded.launcher")

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.05
_STOP_LIMIT_S = 60.0
