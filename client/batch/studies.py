"""The studies of a folder: every ZIP and NIfTI file in it, however deep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".zip", ".nii", ".nii.gz")
"""What a study's file name ends in."""


@dataclass(frozen=True)
class Study:
    """A file to send. `name` is its path in the folder; size and time tell whether it is still the same file."""

    path: Path
    name: str
    size_bytes: int
    modified_ns: int


def find_studies(folder: Path) -> list[Study]:
    """Return the studies of a folder by name. Hidden files and linked folders are passed over."""
    return sorted(_iterate_studies(folder), key=lambda study: study.name)


def _iterate_studies(folder: Path) -> Iterator[Study]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            if file.lower().endswith(ENDINGS) and not file.startswith("."):
                yield _describe(Path(parent, file), folder)


def _describe(path: Path, folder: Path) -> Study:
    name = path.relative_to(folder).as_posix()
    try:
        facts = path.stat()
    except OSError:  # a link that leads nowhere gets a row too, once it is opened
        return Study(path, name, 0, 0)
    return Study(path, name, facts.st_size, facts.st_mtime_ns)
