"""The platform that `ctclip up` runs on this machine, found by the report in its state folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from client.exchange import DEFAULT_URL

_RUNNING = frozenset({"ready", "degraded"})


def choose_url(named: str | None) -> str:
    """Return the address to speak to: the one named, else that of the platform running here, else the default."""
    return named or find_local_url(default_state()) or DEFAULT_URL


def choose_key(named: str | None, named_url: str | None) -> str | None:
    """Return the key to speak with: the one named; else, of the platform here, where no address is named."""
    return named if named is not None or named_url is not None else find_local_key(default_state())


def find_local_url(state: Path) -> str | None:
    """Return the address of the platform that runs in a state folder, or None."""
    return _find_in_report(state, "url")


def find_local_key(state: Path) -> str | None:
    """Return the key of the platform that runs in a state folder, or None where it asks for none."""
    return _find_in_report(state, "api_key")


def _find_in_report(state: Path, name: str) -> str | None:
    try:
        report: Any = json.loads((state / "processes.json").read_text("utf-8"))
        is_running = report["phase"] in _RUNNING and _is_alive(int(report["pids"]["launcher"]))
        return report.get(name) if is_running else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def default_state() -> Path:
    """Return the state folder that `ctclip up` uses when none is named."""
    named = os.environ.get("CTCLIP_STATE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "ctclip"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
