"""How stored volumes stand in the patient: what turns them upright, for pictures. Directions are LPS."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from workers.volume.geometry import Triple

Voxel = TypeVar("Voxel", bound=np.generic)


@dataclass(frozen=True)
class Pose:
    """Which stored axis, and which of its directions, runs to the patient's head, back and left."""

    axes: tuple[int, int, int]
    is_reversed: tuple[bool, bool, bool]

    def turn(self, voxels: npt.NDArray[Voxel]) -> npt.NDArray[Voxel]:
        """Return a view of a stored volume whose axes run to head, back and left."""
        return voxels.transpose(self.axes)[tuple(slice(None, None, -1 if flip else 1) for flip in self.is_reversed)]

    def turn_spacing(self, spacing_zyx_mm: Triple) -> Triple:
        """Return the spacing of the axes that `turn` makes."""
        first, second, third = (spacing_zyx_mm[axis] for axis in self.axes)
        return (first, second, third)

    def find_stored_slice(self, z: int, depth: int) -> int | None:
        """Return the index of a stored slice by its height; None when stored slices are not axial."""
        if self.axes[0] != 0:
            return None
        return depth - 1 - z if self.is_reversed[0] else z


def find_pose(row_direction: Triple, column_direction: Triple) -> Pose:
    """Match each direction of the patient with the stored axis that comes nearest to it."""
    row, column = np.asarray(row_direction), np.asarray(column_direction)
    stored = np.array([np.cross(row, column), column, row])  # (stored z, y, x) by (left, back, head)
    to_patient = stored[:, ::-1].T  # (head, back, left) by stored axis
    axes = max(permutations(range(3)), key=lambda order: sum(abs(to_patient[i, order[i]]) for i in range(3)))
    first, second, third = (bool(to_patient[i, axis] < 0) for i, axis in enumerate(axes))
    return Pose((axes[0], axes[1], axes[2]), (first, second, third))
