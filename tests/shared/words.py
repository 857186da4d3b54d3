"""Where a word stands in the code of the workers."""

from __future__ import annotations

from pathlib import Path

WORKERS = sorted((Path(__file__).parents[2] / "workers").rglob("*.py"))


def find_uses(word: str) -> list[Path]:
    """Return the modules of the workers that hold a word."""
    return [path for path in WORKERS if word in path.read_text()]
