"""Ages as people write and read them: `90s`, `15m`, `6h`, `2d`."""

from __future__ import annotations

import re
from datetime import timedelta

import typer

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_age(text: str) -> timedelta:
    """Return how long `90s`, `15m`, `6h` or `2d` is. Raises typer.BadParameter."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no age; 90s, 15m, 6h or 2d are")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def write_age(age: timedelta) -> str:
    """Return an age in its largest whole unit."""
    seconds = max(0, int(age.total_seconds()))
    unit = next((name for name in ("d", "h", "m") if seconds >= 2 * _SECONDS[name]), "s")
    return f"{seconds // _SECONDS[unit]}{unit}"
