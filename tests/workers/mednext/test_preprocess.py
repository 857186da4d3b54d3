"""Preprocessing beside MONAI's own transforms, and the quirks that are part of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor
from monai.transforms.croppad.array import CenterSpatialCrop, SpatialPad
from monai.transforms.intensity.array import NormalizeIntensity
from monai.transforms.spatial.array import Spacing

from shared.errors import Defect
from workers.mednext.configuration import Preprocessing
from workers.mednext.preprocess import compute_input_corner, normalise, prepare
from workers.volume import Geometry, Volume

GRID = Preprocessing(spacing_xyz_mm=(1.0, 1.0, 1.5), roi_xyz=(24, 20, 16))


def make_volume(shape_zyx: tuple[int, int, int], spacing_zyx: tuple[float, float, float], seed: int = 0) -> Volume:
    # No value near 0, where one rounding decides whether a voxel counts.
    rng = np.random.default_rng(seed)
    hu = rng.integers(10, 900, shape_zyx).astype(np.int16)
    return Volume(hu, Geometry(spacing_zyx, (-12.5, 7.25, 100.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))


def run_monai(volume: Volume, grid: Preprocessing) -> torch.Tensor:
    spacing = np.asarray(volume.geometry.spacing_zyx_mm[::-1], np.float32).astype(np.float64)
    affine = np.diag([*spacing * (-1, -1, 1), 1.0])
    affine[:3, 3] = (12.5, -7.25, 100.0)
    array = volume.hu.transpose(2, 1, 0)[None].astype(np.float32)
    image: Any = Spacing(grid.spacing_xyz_mm)(MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine)))
    image = SpatialPad(grid.roi_xyz)(image.clip(*grid.window_hu))
    image = NormalizeIntensity(nonzero=True, channel_wise=True)(CenterSpatialCrop(grid.roi_xyz)(image))
    tensor: torch.Tensor = image.as_tensor()
    return tensor[None]


class TestAgainstMonai:
    @settings(max_examples=40, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(2, 40)] * 3),
        spacing=st.tuples(*[st.floats(0.4, 4.0)] * 3),
        seed=st.integers(0, 99),
    )
    def test_any_grid_gives_the_same_input(
        self, shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
    ) -> None:
        volume = make_volume(shape, spacing, seed)
        assert torch.allclose(prepare(volume, GRID), run_monai(volume, GRID), atol=2e-5)

    @pytest.mark.parametrize("spacing", [(1.5, 1.0, 1.0), (1.5004, 0.9996, 1.0), (3.0, 2.0, 2.0), (0.75, 0.5, 0.5)])
    def test_spacings_on_the_edge_of_its_tolerance_too(self, spacing: tuple[float, float, float]) -> None:
        volume = make_volume((21, 30, 33), spacing)
        assert torch.allclose(prepare(volume, GRID), run_monai(volume, GRID), atol=2e-5)


class TestQuirks:
    def test_padding_and_real_zeros_stay_zero_and_do_not_count(self) -> None:
        hu = np.array([[[0, 100, 300]]], np.float32)
        assert normalise(hu).tolist() == [[[0.0, -1.0, 1.0]]]

    def test_a_volume_of_zeros_or_of_one_value_is_finite(self) -> None:
        assert not normalise(np.zeros((2, 2, 2), np.float32)).any()
        assert not normalise(np.full((2, 2, 2), 7, np.float32)).any()

    def test_the_window_clips_padding_of_the_scanner(self) -> None:
        volume = make_volume((16, 20, 24), (1.5, 1.0, 1.0))
        padded = Volume(volume.hu.copy(), volume.geometry)
        padded.hu[0], volume.hu[0] = -3024, -1000
        assert torch.equal(prepare(padded, GRID), prepare(volume, GRID))


class TestShape:
    @pytest.mark.parametrize("shape", [(2, 2, 2), (90, 70, 80), (5, 70, 3)])
    def test_it_is_exactly_the_region_of_interest(self, shape: tuple[int, int, int]) -> None:
        prepared = prepare(make_volume(shape, (1.2, 0.8, 0.9)), GRID)
        assert prepared.shape == (1, 1, *GRID.roi_xyz)
        assert prepared.dtype is torch.float32

    def test_the_corner_says_where_the_input_lies(self) -> None:
        volume = make_volume((40, 50, 60), (1.5, 1.0, 1.0))
        x, y, z = (int(value) for value in compute_input_corner(volume, GRID) / GRID.spacing_xyz_mm)
        assert (x, y, z) == (18, 15, 12)
        kept = volume.hu[z : z + 16, y : y + 20, x : x + 24].transpose(2, 1, 0).astype(np.float32)
        assert np.allclose(prepare(volume, GRID)[0, 0].numpy(), normalise(kept), atol=1e-5)

    def test_the_corner_of_a_padded_input_lies_outside(self) -> None:
        assert (compute_input_corner(make_volume((4, 4, 4), (1.5, 1.0, 1.0)), GRID) == [-10, -8, -9]).all()


class TestBodyBox:
    def test_a_volume_without_a_body_is_kept_whole(self) -> None:
        volume = Volume(np.full((30, 60, 60), -1000, np.int16), make_volume((2, 2, 2), (1.5, 1.0, 1.0)).geometry)
        grid = Preprocessing(roi_xyz=(60, 60, 30), crop_by_body_part=True)
        whole = Preprocessing(roi_xyz=(60, 60, 30))
        assert torch.equal(prepare(volume, grid), prepare(volume, whole))

    def test_a_body_is_cut_out_of_the_air(self) -> None:
        hu = np.full((30, 120, 100), -1000, np.int16)
        hu[:, 40:90, 20:70] = 40
        volume = Volume(hu, make_volume((2, 2, 2), (1.5, 1.0, 1.0)).geometry)
        grid = Preprocessing(roi_xyz=(90, 90, 30), crop_by_body_part=True)
        # The region of interest is larger than the box, so most of the input is padding.
        assert float((prepare(volume, grid) != 0).float().mean()) < 0.35


class TestConfiguration:
    @pytest.mark.parametrize(
        "table", [{"spacing": [1, 1, 1]}, {"spacing_xyz_mm": [1, 1]}, {"roi_xyz": [0, 1, 1]}, {"window_hu": [5, 1]}]
    )
    def test_a_wrong_table_is_refused(self, table: dict[str, object]) -> None:
        with pytest.raises(Defect, match="MedNeXt"):
            Preprocessing.from_table(table)

    def test_a_table_reads_back_equal(self) -> None:
        assert Preprocessing.from_table(GRID.to_table()) == GRID
