"""What is asked of intake."""

from __future__ import annotations

from dataclasses import dataclass

VoxelIndex = tuple[int, int, int]
"""Index of a voxel: z, y, x."""


@dataclass(frozen=True)
class Question:
    """How a study is to be read, and what is to be told of it.

    `series_uid` forces a series; `study_uid` leaves all other studies of the archive aside. Without `reads_pixels`
    only headers are looked at. With `reads_refused` the volume of the best stack is described also when the study is
    refused. `voxels` are those whose HU is to be told. With `has_preview` a picture is drawn; where no pixels are
    read, of a few slices.
    """

    series_uid: str | None = None
    study_uid: str | None = None
    reads_pixels: bool = True
    reads_refused: bool = False
    has_digest: bool = False
    has_preview: bool = False
    voxels: tuple[VoxelIndex, ...] = ()
