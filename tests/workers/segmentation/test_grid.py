"""The way to the network's grid and back is TotalSegmentator's own, to the last voxel, however the volume lies."""

from __future__ import annotations

import math

import nibabel
import numpy as np
import pytest
from totalsegmentator.alignment import as_closest_canonical, undo_canonical
from totalsegmentator.resampling import change_spacing

from workers.segmentation.grid import NetworkGrid
from workers.volume import Geometry
from workers.volume.geometry import convert_lps_to_ras

ORIGIN = (-70.0, -60.0, 30.0)
C, S = math.cos(0.3), math.sin(0.3)

GRIDS = {
    "axial": Geometry((5.0, 2.1, 2.2), ORIGIN, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "prone": Geometry((2.5, 2.1, 2.2), ORIGIN, (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "feet up": Geometry((2.5, 1.1, 1.2), ORIGIN, (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "sagittal": Geometry((1.5, 0.9, 0.8), ORIGIN, (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "turned in the plane": Geometry((1.5, 0.9, 0.8), ORIGIN, (C, S, 0.0), (-S, C, 0.0)),
    "oblique": Geometry((1.5, 0.9, 0.8), ORIGIN, (C, 0.0, S), (0.0, 1.0, 0.0)),
    "at the network's spacing": Geometry((3.0, 3.0, 3.0), ORIGIN, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
}


def _make_image(array: np.ndarray, affine: np.ndarray) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]  # nibabel


def _as_image(array_zyx: np.ndarray, geometry: Geometry) -> nibabel.Nifti1Image:
    return _make_image(array_zyx.transpose(2, 1, 0), convert_lps_to_ras(geometry.compute_affine_lps()))


def _coarsen_as_package(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    canonical = as_closest_canonical(_make_image(image.get_fdata(), image.affine))
    coarse: nibabel.Nifti1Image = change_spacing(canonical, 3.0, order=1, dtype=np.int32)
    return coarse


@pytest.mark.parametrize("name", GRIDS)
def test_the_coarse_volume_is_the_packages(name: str) -> None:
    hu = np.random.default_rng(2).integers(-1024, 1500, (23, 40, 51), dtype=np.int16)
    expected = np.asarray(_coarsen_as_package(_as_image(hu, GRIDS[name])).dataobj).transpose(2, 1, 0)
    coarse = NetworkGrid(GRIDS[name]).coarsen(hu)
    assert coarse.shape == expected.shape
    assert (coarse == expected).all()


@pytest.mark.parametrize("name", GRIDS)
def test_the_labels_come_back_as_the_packages(name: str) -> None:
    image = _as_image(np.zeros((23, 40, 51), np.int16), GRIDS[name])
    coarse = _coarsen_as_package(image)
    labels = np.random.default_rng(3).integers(0, 118, coarse.shape, dtype=np.uint8)
    canonical = as_closest_canonical(image)
    back = change_spacing(
        _make_image(labels, coarse.affine),
        3.0,
        canonical.shape,
        order=0,
        dtype=np.uint8,
        force_affine=canonical.affine,
    )
    expected = undo_canonical(back, image).get_fdata().astype(np.uint8).transpose(2, 1, 0)
    fine = NetworkGrid(GRIDS[name]).refine(labels.transpose(2, 1, 0), (23, 40, 51))
    assert fine.shape == (23, 40, 51)
    assert (fine == expected).all()


def test_a_single_slice_has_its_labels_back() -> None:
    grid = NetworkGrid(GRIDS["axial"])
    coarse = grid.coarsen(np.zeros((1, 20, 20), np.int16))
    assert grid.refine(np.full(coarse.shape, 7, np.uint8), (1, 20, 20)).tolist() == np.full((1, 20, 20), 7).tolist()
