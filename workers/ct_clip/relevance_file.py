"""Relevance maps as NIfTI, so that any viewer lays them over the CT.

One volume for each finding, (x, y, z, finding) float32, on the token grid. The names of the findings stand in an
extension of the header as JSON. Geometry is LPS up to here; NIfTI's is RAS.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Extension

from shared.json_values import JsonObject
from workers.ct_clip.token_grid import Matrix
from workers.volume.nifti import lay_in_space

_COMMENT = "comment"


def write_relevance(path: Path, maps: npt.NDArray[np.float32], to_lps: Matrix, description: JsonObject) -> None:
    """Write maps (x, y, z, finding); equal maps give equal bytes."""
    image = nibabel.Nifti1Image(maps, None)  # type: ignore[no-untyped-call]  # nibabel
    lay_in_space(image, to_lps)
    image.header["descrip"] = b"relevance of each token, in log-odds"
    image.header["cal_max"] = max(float(maps.max()), 0.0)
    text = json.dumps(description, ensure_ascii=False, sort_keys=True)
    image.header.extensions.append(Nifti1Extension(_COMMENT, text.encode()))
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
