"""Arrays on the grid of a volume as NIfTI, written slab by slab: a map of a long scan is never whole in memory.

What the numbers mean stands in an extension of the header as JSON.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Extension

from shared.json_values import JsonObject
from workers.volume import Geometry
from workers.volume.nifti import lay_in_space

_COMMENT = "comment"
_LEVEL = 4  # beyond it, masks and maps take twice the time for some per cent


def make_image(shape_zyx: tuple[int, int, int], kind: npt.DTypeLike, geometry: Geometry) -> nibabel.Nifti1Image:
    """Return an image without voxels, (x, y, z), laid on the grid of a volume: a header to be completed."""
    depth, height, width = shape_zyx
    image = nibabel.Nifti1Image(np.broadcast_to(np.zeros((), kind), (width, height, depth)), None)  # type: ignore[no-untyped-call]  # nibabel
    lay_in_space(image, geometry.compute_affine_lps())
    return image


def write_nifti(
    path: Path, image: nibabel.Nifti1Image, slabs: Iterable[npt.NDArray[Any]], description: JsonObject
) -> None:
    """Write an image whose voxels are slabs (z, y, x), from the lowest up. Equal slabs give equal bytes."""
    text = json.dumps(description, ensure_ascii=False, sort_keys=True)
    header = image.header
    header.extensions.append(Nifti1Extension(_COMMENT, text.encode()))
    head = io.BytesIO()
    header.write_to(head)  # type: ignore[no-untyped-call]  # nibabel
    head.write(bytes(int(header["vox_offset"]) - head.tell()))
    kind = header.get_data_dtype()  # type: ignore[no-untyped-call]  # nibabel
    with path.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        packed.write(head.getvalue())
        for slab in slabs:
            packed.write(np.ascontiguousarray(slab, kind).data)
