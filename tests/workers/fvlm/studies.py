"""Phantoms with their masks, as the stages before fVLM leave them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phantom.study import PhantomSettings, make_study
from shared.artefacts import ArtefactKind
from tests.workers.folder_context import FolderContext
from workers.fvlm.configuration import GeometryKind
from workers.fvlm.organs import TOTAL_LABELS, Organ
from workers.volume import Geometry, Volume, write_volume
from workers.volume.label_map import Labels, write_label_map


@dataclass(frozen=True)
class MaskedStudy:
    """A volume and its labels of the task `total`."""

    volume: Volume
    labels: Labels

    def leave_out(self, organs: Collection[Organ]) -> MaskedStudy:
        """Return the study as if these organs had not been found."""
        missing = [label for organ in organs for label in TOTAL_LABELS[GeometryKind.PUBLIC][organ]]
        return MaskedStudy(self.volume, np.where(np.isin(self.labels, missing), 0, self.labels).astype(np.uint8))

    def write(self, folder: Path) -> FolderContext:
        """Leave both artefacts in a folder and return the context of a stage on it."""
        folder.mkdir(exist_ok=True)
        write_volume(self.volume, folder / ArtefactKind.VOLUME)
        write_label_map(folder / ArtefactKind.MASKS, self.labels, self.volume.geometry)
        return FolderContext(folder)


def make_masked_study(seed: int, findings: Sequence[str] = ()) -> MaskedStudy:
    """Return a coarse phantom and its organs."""
    study = make_study(seed, findings, PhantomSettings.coarse())
    geometry = Geometry(study.spacing_zyx_mm, study.origin_lps_mm, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    return MaskedStudy(Volume(study.hu, geometry), study.labels)
