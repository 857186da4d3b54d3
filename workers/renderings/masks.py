# ruff: noqa: ARG001
"""Masks as people use them: NIfTI, one DICOM segmentation, a picture with outlines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.renderings.maker import Maker
from workers.runtime.stage import ProducedArtefact
from workers.volume import Volume
from workers.volume.source import SourceSeries


def make_mask_renderings(
    labels: npt.NDArray[np.uint8],
    volume: Volume,
    names: Mapping[int, str],
    *,
    maker: Maker,
    source: SourceSeries | None,
    scratch: Path,
) -> tuple[ProducedArtefact, ...]:
    """Write the renderings of a label map, (z, y, x) on the volume's grid, and return them."""
    # Under way: what is not written yet is not offered.
    return ()
