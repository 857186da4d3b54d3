"""Label map files: one uint8 label for each voxel of a volume, in the volume's own container and on its own grid.

The labels of organs are those of TotalSegmentator's task `total` (`workers.segmentation.labels`); 0 is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from shared.errors import Defect
from shared.json_values import JsonObject
from workers.volume.artefact import CHUNK_SLICES
from workers.volume.geometry import Geometry

Labels = npt.NDArray[np.uint8]
"""Labels of voxels, (z, y, x)."""

MEDIA_TYPE = "application/x-blosc2"
"""Blosc2 has no registered media type; volumes have this one too."""

_DESCRIPTION = "ctclip_label_map"


def write_label_map(path: Path, labels: Labels, geometry: Geometry, facts: JsonObject | None = None) -> str:
    """Write labels (z, y, x) and what is known of them to one file, and return the digest of labels and geometry.

    Raises Defect when the labels are not uint8 in three dimensions.
    """
    if labels.dtype != np.uint8 or labels.ndim != 3:
        raise Defect(f"a label map is uint8 in three dimensions, not {labels.dtype} in {labels.ndim}")
    depth, height, width = labels.shape
    array = blosc2.asarray(
        np.ascontiguousarray(labels),
        chunks=(min(CHUNK_SLICES, depth), height, width),
        blocks=(1, height, width),
        urlpath=str(path),
        mode="w",
        contiguous=True,
        # One thread: several would store the blocks of a chunk as they get ready, in any order.
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.NOFILTER], "nthreads": 1},
    )
    digest = compute_label_digest(labels, geometry)
    description = {"geometry": geometry.to_document(), "facts": dict(facts or {}), "content_sha256": digest}
    array.schunk.vlmeta[_DESCRIPTION] = json.dumps(description)
    return digest


def compute_label_digest(labels: Labels, geometry: Geometry) -> str:
    """Return the SHA-256 of one line of JSON (geometry and shape, keys sorted) and the labels behind it."""
    head = json.dumps({"geometry": geometry.to_document(), "shape_zyx": list(labels.shape)}, sort_keys=True)
    digest = hashlib.sha256(head.encode() + b"\n")
    for plane in labels:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


class LabelMapFile:
    """A label map on disk, opened for reading. Raises Defect when the file is none.

    `content_digest` is what `compute_label_digest` gives; `facts` are those that it was written with.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._array = blosc2.open(str(path), mode="r")
            description = json.loads(self._array.schunk.vlmeta[_DESCRIPTION])
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise Defect("label map artefact cannot be read") from error
        self.geometry = Geometry.from_document(description["geometry"])
        self.facts: Mapping[str, Any] = description["facts"]
        self.content_digest: str = description["content_sha256"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        depth, height, width = self._array.shape
        return (depth, height, width)

    def read_slices(self, start: int, stop: int) -> Labels:
        """Return slices start..stop, (z, y, x) uint8."""
        return np.asarray(self._array[start:stop], dtype=np.uint8)

    def read(self) -> Labels:
        """Return all labels, (z, y, x) uint8."""
        return self.read_slices(0, self.shape[0])
