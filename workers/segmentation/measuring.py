"""What can be said of each organ from its mask: volume, extent, density, and whether the scan cuts it off. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.segmentation.labels import TOTAL_NAMES, get_name
from workers.volume.artefact import CHUNK_SLICES
from workers.volume.label_map import Labels

Spacing = tuple[float, float, float]
Edge = str

_EDGES: tuple[tuple[Edge, Edge], ...] = (
    ("first_slice", "last_slice"),
    ("first_row", "last_row"),
    ("first_column", "last_column"),
)
_KINDS = len(TOTAL_NAMES) + 1


@dataclass(frozen=True)
class OrganMeasurement:
    """One organ that is present. Extents are along the axes of the volume, slices first.

    `edges` are the sides of the volume that the organ touches: what lies beyond is not known, so volume and extent are
    those of the part that was scanned.
    """

    name: str
    volume_ml: float
    extent_zyx_mm: Spacing
    mean_hu: float
    std_hu: float
    edges: tuple[Edge, ...]

    @property
    def is_truncated(self) -> bool:
        """Whether the organ reaches an edge of the volume."""
        return bool(self.edges)

    def describe(self) -> dict[str, Any]:
        """Return the measurement as JSON values, rounded to what a mask of 3 mm can tell."""
        return {
            "volume_ml": round(self.volume_ml, 2),
            "extent_zyx_mm": [round(side, 1) for side in self.extent_zyx_mm],
            "mean_hu": round(self.mean_hu, 1),
            "std_hu": round(self.std_hu, 1),
            "is_truncated": self.is_truncated,
            "edges": list(self.edges),
        }


class Densities:
    """Number, sum and sum of squares of HU for each label, gathered a few slices at a time."""

    def __init__(self) -> None:
        self._counts = np.zeros(_KINDS, dtype=np.int64)
        self._sums = np.zeros(_KINDS)
        self._squares = np.zeros(_KINDS)

    def add(self, labels: Labels, hu: npt.NDArray[np.int16]) -> None:
        """Take in slices of labels and HU, (z, y, x) both."""
        is_organ = labels > 0
        numbers, values = labels[is_organ], hu[is_organ].astype(np.float64)
        self._counts += np.bincount(numbers, minlength=_KINDS)
        self._sums += np.bincount(numbers, values, minlength=_KINDS)
        self._squares += np.bincount(numbers, values * values, minlength=_KINDS)

    def describe(self, number: int) -> tuple[int, float, float]:
        """Return voxels, mean and standard deviation of a label that is present."""
        count = int(self._counts[number])
        mean = self._sums[number] / count
        variance = max(0.0, self._squares[number] / count - mean * mean)
        return count, float(mean), float(np.sqrt(variance))


def measure_organs(
    labels: Labels, slabs: Iterable[npt.NDArray[np.int16]], spacing_zyx_mm: Spacing
) -> tuple[OrganMeasurement, ...]:
    """Return the organs that are present in labels (z, y, x), in the order of their numbers.

    `slabs` are the HU of the same voxels, `CHUNK_SLICES` slices at a time, so that the volume need not be held whole.
    """
    densities = Densities()
    for number, hu in enumerate(slabs):
        start = number * CHUNK_SLICES
        densities.add(labels[start : start + len(hu)], hu)
    boxes = ndimage.find_objects(labels, max_label=_KINDS - 1)
    return tuple(
        _measure(number, box, densities, labels.shape, spacing_zyx_mm)
        for number, box in enumerate(boxes, 1)
        if box is not None
    )


def _measure(
    number: int, box: tuple[slice, ...], densities: Densities, shape: tuple[int, ...], spacing_zyx_mm: Spacing
) -> OrganMeasurement:
    count, mean, std = densities.describe(number)
    z, y, x = ((side.stop - side.start) * step for side, step in zip(box, spacing_zyx_mm, strict=True))
    voxel_ml = float(np.prod(spacing_zyx_mm)) / 1000
    return OrganMeasurement(get_name(number), count * voxel_ml, (z, y, x), mean, std, _find_edges(box, shape))


def _find_edges(box: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[Edge, ...]:
    edges: list[Edge] = []
    for side, size, (first, last) in zip(box, shape, _EDGES, strict=True):
        edges += [first] if side.start == 0 else []
        edges += [last] if side.stop == size else []
    return tuple(edges)


def name_features(organs: Iterable[OrganMeasurement]) -> Mapping[str, float]:
    """Return `organ_<name>_<quantity>` -> number for organs that are present; the fusion reads none of these.

    The volume of an organ that the scan cuts off is not known and left out; its density is that of what was scanned.
    """
    features: dict[str, float] = {}
    for organ in organs:
        quantities = {"mean_hu": organ.mean_hu, "std_hu": organ.std_hu}
        if not organ.is_truncated:
            quantities |= {"volume_ml": organ.volume_ml}
            quantities |= dict(zip(("extent_z_mm", "extent_y_mm", "extent_x_mm"), organ.extent_zyx_mm, strict=True))
        features |= {f"organ_{organ.name}_{quantity}": value for quantity, value in quantities.items()}
    return features
