"""Studies of a table as volumes, read by the code that reads uploads, in a process that may die alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from model_weights.verifying import compute_sha256
from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.children import ChildPool
from workers.intake.local_study import make_local_order
from workers.intake.question import Question
from workers.volume import Volume, VolumeFile


class StudyReader:
    """Reads ZIPs, folders of DICOM files and NIfTI files. With `keeps_volumes` a study is read once for all epochs."""

    def __init__(self, folder: Path, *, keeps_volumes: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keeps_volumes = keeps_volumes
        self._children = ChildPool()

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child processes."""
        self._children.close()

    def read(self, study: Path, digest: str) -> Volume:
        """Return the volume of a study with this digest. Raises InputProblem when intake refuses it."""
        kept = self._folder / f"{digest}.b2nd"
        if kept.exists():
            return VolumeFile(kept).read()
        draft = kept.with_suffix(".new")
        self._read_into(study, draft)
        volume = VolumeFile(draft).read()
        if self._keeps_volumes:
            draft.replace(kept)
        else:
            draft.unlink()
        return volume

    def _read_into(self, study: Path, path: Path) -> None:
        order = make_local_order(study, path, Question(), keeps_volume=True)
        report = self._children.read(order, lambda _progress: None)
        if report.problem is not None:
            raise InputProblem(report.problem.code, report.problem.detail, **report.problem.facts)


def compute_study_digest(study: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder and their names.

    Raises InputProblem when there is no such file or folder, or it cannot be read.
    """
    try:
        return _digest_files(study)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputProblem(ProblemCode.NOT_FOUND, f"It cannot be read: {reason or 'no path'}.") from error


def _digest_files(study: Path) -> str:
    if not study.exists():
        raise InputProblem(ProblemCode.NOT_FOUND, "There is no such file or folder.")
    if study.is_file():
        return compute_sha256(study)
    digest = hashlib.sha256()
    for file in _iterate_files(study):
        name = file.relative_to(study).as_posix().encode("utf-8", "surrogateescape")
        digest.update(name + f"\0{compute_sha256(file)}\n".encode())
    return digest.hexdigest()


def _iterate_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
