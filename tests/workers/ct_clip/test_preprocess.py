"""Preprocessing beside torch's own interpolation, whole and at once, and what both references take for granted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.ct_clip.configuration import Preprocessing, Variant
from workers.ct_clip.preprocess import Rescale, orient, plan_lengths, prepare
from workers.volume import Geometry, Volume

GRID = Preprocessing(spacing_mm=(1.5, 0.75, 0.75), shape=(24, 28, 20))
PUBLIC = Preprocessing(Variant.PUBLIC, GRID.spacing_mm, GRID.shape)
Triple = tuple[float, float, float]


def make_volume(
    shape: tuple[int, int, int],
    spacing: Triple = (1.5, 0.75, 0.75),
    directions: tuple[Triple, Triple] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    seed: int = 0,
) -> Volume:
    hu = np.random.default_rng(seed).integers(-1200, 1200, shape).astype(np.int16)
    return Volume(hu, Geometry(spacing, (0.0, 0.0, 0.0), *directions))


def interpolate_whole(volume: Volume, grid: Preprocessing) -> torch.Tensor:
    precision = torch.float64 if grid.variant is Variant.PUBLIC else torch.float32
    z, y, x = volume.geometry.spacing_zyx_mm
    ordered = torch.from_numpy(volume.hu.transpose(0, 2, 1).copy()).to(precision).clamp(-1000, 1000)
    lengths = plan_lengths(ordered.shape, (z, x, x if grid.variant is Variant.PUBLIC else y), grid)
    resampled = functional.interpolate(ordered[None, None], lengths, mode="trilinear", align_corners=False)[0, 0]
    for axis, size in enumerate(grid.shape):
        length = resampled.shape[axis]
        resampled = resampled.narrow(axis, max(0, (length - size) // 2), min(length, size))
    placed = torch.full(grid.shape, -1.0)
    starts = [(size - length) // 2 for size, length in zip(grid.shape, resampled.shape, strict=True)]
    region = tuple(slice(start, start + n) for start, n in zip(starts, resampled.shape, strict=True))
    placed[region] = (resampled / 1000).float()
    return placed[None, None]


class TestAgainstTorch:
    @settings(max_examples=40, deadline=None)
    @given(
        shape=st.tuples(st.integers(25, 50), st.integers(2, 40), st.integers(2, 40)),
        spacing=st.tuples(st.floats(1.3, 4.0), st.floats(0.4, 2.0), st.floats(0.4, 2.0)),
        seed=st.integers(0, 99),
        grid=st.sampled_from([GRID, PUBLIC]),
    )
    def test_any_grid_gives_the_same_input(
        self, shape: tuple[int, int, int], spacing: Triple, seed: int, grid: Preprocessing
    ) -> None:
        volume = make_volume(shape, spacing, seed=seed)
        assert torch.allclose(prepare(volume, grid), interpolate_whole(volume, grid), atol=2e-6, rtol=0)

    def test_a_tall_volume_of_steep_edges_does_too(self) -> None:
        volume = make_volume((700, 3, 3), (0.8, 0.75, 0.75))
        tall = Preprocessing(shape=(400, 4, 4))
        assert torch.allclose(prepare(volume, tall), interpolate_whole(volume, tall), atol=2e-6, rtol=0)


class TestOrientation:
    @pytest.mark.parametrize("grid", [GRID, PUBLIC])
    @pytest.mark.parametrize(
        ("directions", "turn"),
        [
            (((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), (slice(None, None, -1), slice(None), slice(None, None, -1))),
            (((1.0, 0.0, 0.0), (0.0, -1.0, 0.0)), (slice(None, None, -1), slice(None, None, -1), slice(None))),
            (((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)), (slice(None), slice(None, None, -1), slice(None, None, -1))),
        ],
    )
    def test_a_mirrored_volume_is_turned_back(
        self, grid: Preprocessing, directions: tuple[Triple, Triple], turn: tuple[slice, slice, slice]
    ) -> None:
        straight = make_volume((30, 12, 14))
        mirrored = Volume(straight.hu[turn], Geometry((1.5, 0.75, 0.75), (0.0, 0.0, 0.0), *directions))
        assert torch.equal(prepare(mirrored, grid), prepare(straight, grid))

    def test_axes_in_another_order_are_put_in_place_with_their_spacing(self) -> None:
        # Rows run to the back, columns to the head, so slices run to the left.
        coronal = make_volume((7, 30, 9), (0.8, 1.5, 0.7), ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
        ordered, spacing = orient(coronal)
        assert ordered.shape == (30, 7, 9)
        assert spacing == (1.5, 0.8, 0.7)
        assert ordered[3, 2, 1] == coronal.hu[2, 3, 1]

    def test_a_tilted_volume_is_left_as_it_is(self) -> None:
        tilted = make_volume((30, 8, 9), directions=((0.96, 0.28, 0.0), (-0.28, 0.96, 0.0)))
        ordered, _ = orient(tilted)
        assert np.array_equal(ordered, tilted.hu.transpose(0, 2, 1))


class TestVariants:
    def test_the_public_one_takes_one_spacing_for_both_axes(self) -> None:
        oblong, square = (make_volume((24, 10, 10), (1.5, y, 1.5)) for y in (0.75, 1.5))
        assert torch.equal(prepare(oblong, PUBLIC), prepare(square, PUBLIC))
        assert not torch.equal(prepare(oblong, GRID), prepare(square, GRID))

    def test_only_the_public_one_rescales(self) -> None:
        volume, shift = make_volume((24, 20, 20)), Rescale(2.0, -100.0)
        shifted = Volume((volume.hu * 2 - 100).astype(np.int16), volume.geometry)
        assert torch.equal(prepare(volume, PUBLIC, shift), prepare(shifted, PUBLIC))
        assert torch.equal(prepare(volume, GRID, shift), prepare(volume, GRID))

    def test_too_few_slices_are_refused_by_the_predecessors(self) -> None:
        volume = make_volume((19, 20, 20))
        with pytest.raises(InputProblem) as caught:
            prepare(volume, GRID)
        assert caught.value.problem.code is ProblemCode.INSUFFICIENT_COVERAGE
        assert prepare(volume, PUBLIC).shape == (1, 1, *PUBLIC.shape)


class TestInput:
    @pytest.mark.parametrize("shape", [(24, 28, 20), (60, 90, 80), (20, 1, 1)])
    def test_it_is_exactly_the_network_s_and_within_its_range(self, shape: tuple[int, int, int]) -> None:
        prepared = prepare(make_volume(shape), GRID)
        assert prepared.shape == (1, 1, *GRID.shape)
        assert prepared.dtype is torch.float32
        assert prepared.abs().max() <= 1

    def test_the_volume_is_left_alone(self) -> None:
        volume = make_volume((30, 12, 14))
        kept: npt.NDArray[np.int16] = volume.hu.copy()
        prepare(volume, GRID)
        assert np.array_equal(volume.hu, kept)
