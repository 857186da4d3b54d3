"""Where the voxels of a volume lie in the patient. All positions are LPS, in millimetres (DICOM PS3.3 C.7.6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """Geometry of a (z, y, x) array.

    x runs along `row_direction` (across columns), y along `column_direction`, z along their cross product.
    """

    spacing_zyx_mm: Triple
    origin_lps_mm: Triple
    row_direction: Triple
    column_direction: Triple

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector of ascending z."""
        return np.cross(np.asarray(self.row_direction), np.asarray(self.column_direction))

    def compute_affine_lps(self) -> npt.NDArray[np.float64]:
        """Return the 4 x 4 matrix from (x, y, z) voxel indices to LPS millimetres."""
        spacing_z, spacing_y, spacing_x = self.spacing_zyx_mm
        affine = np.eye(4)
        affine[:3, 0] = np.asarray(self.row_direction) * spacing_x
        affine[:3, 1] = np.asarray(self.column_direction) * spacing_y
        affine[:3, 2] = self.normal * spacing_z
        affine[:3, 3] = self.origin_lps_mm
        return affine

    def to_document(self) -> dict[str, Any]:
        """Return the geometry as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Read what `to_document` wrote."""
        return cls(**{name: _triple(document[name]) for name in cls.__dataclass_fields__})


def convert_lps_to_ras(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert an affine between DICOM's LPS and NIfTI's RAS. Its own inverse."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _triple(values: Sequence[float]) -> Triple:
    first, second, third = (float(value) for value in values)
    return (first, second, third)
