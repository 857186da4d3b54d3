"""Which labels of `total` the phantoms have, and which of those matter first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.segmentation.labels import TOTAL_NAMES

BACKGROUND = 0

LUNGS = (10, 11, 12, 13, 14)
HEART, AORTA = 51, 52
FIRST = (*LUNGS, HEART, AORTA)
"""What the organ-level model and the report cannot do without."""

PAINTED: tuple[int, ...] = (
    BACKGROUND, 1, 5, 6, *LUNGS, 15, 16, *range(29, 45), HEART, AORTA, *range(54, 61), 62, 63, *range(69, 75),
    79, 86, 87, *range(92, 118),
)  # fmt: skip
"""Labels of the phantoms, background first; no network learns the others here."""

UNPAINTED: tuple[int, ...] = tuple(sorted(set(range(len(TOTAL_NAMES) + 1)) - set(PAINTED)))

OUTPUTS = len(TOTAL_NAMES) + 1


def make_class_indices() -> npt.NDArray[np.int64]:
    """Return for each label of `total` its place among `PAINTED`; a label that is not there becomes background."""
    indices = np.zeros(OUTPUTS, dtype=np.int64)
    indices[list(PAINTED)] = np.arange(len(PAINTED))
    return indices
