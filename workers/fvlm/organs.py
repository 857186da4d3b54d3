"""The organs that fVLM looks at, and which labels of TotalSegmentator's task `total` make up each. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from workers.fvlm.configuration import GeometryKind

LabelMap = npt.NDArray[np.uint8]
"""Labels on the grid of a volume, (z, y, x)."""


class Organ(StrEnum):
    """Organs in the order of the weights."""

    LUNG = "lung"
    HEART = "heart"
    ESOPHAGUS = "esophagus"
    AORTA = "aorta"

    @property
    def row(self) -> int:
        """Row of the organ in the weights."""
        return ORGANS.index(self)

    @property
    def label(self) -> int:
        """Number of the organ in a merged label map, where 0 is none."""
        return self.row + 1


ORGANS: tuple[Organ, ...] = tuple(Organ)

_LUNG_LOBES = (10, 11, 12, 13, 14)
TOTAL_LABELS: Mapping[GeometryKind, Mapping[Organ, tuple[int, ...]]] = {
    GeometryKind.PUBLIC: {
        Organ.LUNG: _LUNG_LOBES,
        Organ.HEART: (51, 61),  # heart and atrial appendage
        Organ.ESOPHAGUS: (15,),
        Organ.AORTA: (52,),
    },
    GeometryKind.PRODUCT: {Organ.LUNG: _LUNG_LOBES, Organ.HEART: (51,), Organ.AORTA: (52,)},
}
"""What the weights were trained with, and what the predecessor gave them: it left out esophagus and appendage."""


def merge_labels(total: LabelMap, kind: GeometryKind) -> LabelMap:
    """Return a label map of organs (`Organ.label`) from one of TotalSegmentator's `total` labels."""
    table = np.zeros(256, np.uint8)
    for organ, labels in TOTAL_LABELS[kind].items():
        table[list(labels)] = organ.label
    return table[total]
