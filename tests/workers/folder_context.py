"""A stage context without a platform, for stages that read artefacts and report progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.artefacts import ArtefactKind
from shared.errors import StaleLease
from shared.json_values import JsonObject
from workers.runtime.stage import ArtefactRecord


@dataclass
class FolderContext:
    """A stage context on a folder: artefacts are files in it, progress is kept."""

    scratch: Path
    is_wanted: bool = True
    progress: list[float] = field(default_factory=list)
    policy: JsonObject = field(default_factory=dict)

    def fetch_artefact(self, kind: ArtefactKind) -> Path:
        return self.scratch / kind

    def fetch_artefact_records(self) -> Sequence[ArtefactRecord]:
        return ()  # of a NIfTI upload, which has no images to refer to

    def report(self, progress: float) -> None:
        self.progress.append(progress)
        if not self.is_wanted:
            raise StaleLease("no longer wanted")
