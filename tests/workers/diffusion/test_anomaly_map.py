"""Maps on the voxels of the scan, and the regions in them: every place is checked against the geometry itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model_weights.policies.reconstruction import RegionOptions
from shared.errors import Defect
from tests.workers.diffusion.tiny import SLICING
from workers.ct_clip.preprocess import prepare
from workers.diffusion.anomaly_map import AnomalyMapFile, iterate_slabs, write_anomaly_map
from workers.diffusion.regions import find_regions
from workers.diffusion.slice_grid import SliceGrid, make_slice_grid
from workers.diffusion.slices import take_slices
from workers.volume import Geometry, Volume

AXIAL = Geometry((4.0, 6.0, 5.0), (-150.0, -120.0, 30.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SHAPE = (80, 60, 64)

# Columns towards the feet, rows to the right, slices therefore to the front: every axis is another one, and all turned.
CORONAL = Geometry((6.0, 4.0, 5.0), (150.0, 120.0, 350.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
CORONAL_SHAPE = (60, 80, 64)

POSES = [(AXIAL, SHAPE), (CORONAL, CORONAL_SHAPE)]


def make_grid(geometry: Geometry, shape: tuple[int, int, int]) -> SliceGrid:
    return make_slice_grid(geometry, shape, SLICING)


def collect(maps: npt.NDArray[np.float32], numbers: list[int], grid: SliceGrid) -> npt.NDArray[np.float16]:
    return np.concatenate([slab for _, slab in iterate_slabs(maps, numbers, grid)])


@pytest.mark.parametrize(("geometry", "shape"), POSES, ids=["axial", "coronal"])
class TestPlaces:
    def test_a_bright_ball_lies_where_the_slices_show_it(self, geometry: Geometry, shape: tuple[int, int, int]) -> None:
        voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        centre = np.asarray([20.0, 40.0, 30.0]) * np.asarray(shape) / 64
        spacing = np.asarray(geometry.spacing_zyx_mm)
        distance_mm = np.linalg.norm((voxels - centre) * spacing, axis=-1)
        hu = np.where(distance_mm < 40, 1000, -1000).astype(np.int16)
        prepared = prepare(Volume(hu, geometry), SLICING.volume)[0, 0]
        squares = take_slices(prepared, range(SLICING.volume.shape[0]), SLICING.slice_size)[:, 0].numpy()
        weights = squares + 1
        points = np.stack(np.meshgrid(*map(np.arange, weights.shape), indexing="ij"), axis=-1)[..., [1, 2, 0]]
        found = make_grid(geometry, shape).locate(np.average(points.reshape(-1, 3), axis=0, weights=weights.ravel()))
        z, y, x = centre
        expected = geometry.compute_affine_lps() @ [x, y, z, 1]
        assert np.allclose(found, expected[:3], atol=2.0)

    def test_a_map_lies_on_the_voxels_that_its_slices_were_made_of(
        self, geometry: Geometry, shape: tuple[int, int, int]
    ) -> None:
        grid = make_grid(geometry, shape)
        numbers = [6, 7, 12]
        rising = np.arange(SLICING.slice_size, dtype=np.float32)
        maps = np.stack([100 * number + rising[:, None] + rising / 100 for number in numbers]).astype(np.float32)
        found = collect(maps, numbers, grid)
        assert found.shape == shape
        shown = np.argwhere(np.isfinite(found))
        own = np.linalg.inv(grid.to_volume) @ np.vstack([shown.T, np.ones(len(shown))])
        x, y, number = own[:3]
        nearest = np.asarray(numbers)[np.abs(number[:, None] - numbers).argmin(axis=1)]
        assert np.abs(number - nearest).max() <= 0.5 + 1e-9
        clipped_x, clipped_y = (np.clip(each, 0, SLICING.slice_size - 1) for each in (x, y))
        expected = 100 * nearest + clipped_x + clipped_y / 100
        assert np.allclose(found[tuple(shown.T)].astype(np.float64), expected, atol=1.0)

    def test_between_the_slices_nothing_is_made_up(self, geometry: Geometry, shape: tuple[int, int, int]) -> None:
        grid = make_grid(geometry, shape)
        size = SLICING.slice_size
        found = collect(np.ones((1, size, size), np.float32), [10], grid)
        share = float(np.isfinite(found).mean())
        assert 0 < share <= 1.5 / len(grid.scanned)


class TestMapFile:
    def test_it_gives_back_what_was_written(self, tmp_path: Path) -> None:
        grid = make_grid(AXIAL, SHAPE)
        maps = np.random.default_rng(0).uniform(0, 900, (2, SLICING.slice_size, SLICING.slice_size)).astype(np.float32)
        write_anomaly_map(tmp_path / "map", maps, [8, 11], grid, AXIAL)
        opened = AnomalyMapFile(tmp_path / "map")
        assert opened.shape == SHAPE
        assert opened.geometry == AXIAL
        assert np.array_equal(opened.read_slices(0, SHAPE[0]), collect(maps, [8, 11], grid), equal_nan=True)

    def test_equal_maps_give_equal_bytes(self, tmp_path: Path) -> None:
        maps = np.ones((1, SLICING.slice_size, SLICING.slice_size), np.float32)
        for name in ("one", "other"):
            write_anomaly_map(tmp_path / name, maps, [9], make_grid(AXIAL, SHAPE), AXIAL)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()

    def test_another_file_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "map").write_bytes(b"no map")
        with pytest.raises(Defect, match="cannot be read"):
            AnomalyMapFile(tmp_path / "map")


class TestRegions:
    def make_maps(self) -> npt.NDArray[np.float32]:
        maps = np.zeros((3, SLICING.slice_size, SLICING.slice_size), np.float32)
        maps[0, 2:4, 2:6] = 300
        maps[2, 10:13, 8:11] = 500
        maps[2, 0, 0] = 900
        return maps

    def find(self, numbers: list[int], most: int = 5) -> list[tuple[float, tuple[int, ...]]]:
        options = RegionOptions(least_mm2=1500.0, most=most)
        regions = find_regions(self.make_maps(), numbers, make_grid(AXIAL, SHAPE), options, 150.0)
        return [(region.largest_hu, region.slices) for region in regions]

    def test_the_one_with_the_highest_score_comes_first_and_specks_do_not(self) -> None:
        assert self.find([5, 10, 15]) == [(500.0, (15,)), (300.0, (5,))]

    def test_no_more_than_asked_for_are_told(self) -> None:
        assert self.find([5, 10, 15], most=1) == [(500.0, (15,))]

    def test_centre_extent_and_score_are_those_of_the_patient(self) -> None:
        grid = make_grid(AXIAL, SHAPE)
        first, *_ = find_regions(self.make_maps(), [5, 10, 15], grid, RegionOptions(), 150.0)
        assert np.allclose(first.centre_lps_mm, grid.locate([(11, 9, 15)])[0])
        pixel_mm = np.abs(np.diag(grid.to_lps)[:3])
        assert np.allclose(first.extent_lps_mm, [3 * pixel_mm[0], 3 * pixel_mm[1], pixel_mm[2]])
        assert first.area_mm2 == pytest.approx(9 * grid.pixel_area_mm2)
        assert first.score == pytest.approx(first.area_mm2 * 500 / 1e5)

    def test_the_box_is_that_of_the_pixels_however_the_difference_is_spread(self) -> None:
        grid = make_grid(AXIAL, SHAPE)
        maps = self.make_maps()
        maps[2, 10, 8] = 5000
        first, *_ = find_regions(maps, [5, 10, 15], grid, RegionOptions(), 150.0)
        box = first.to_document()["box_lps_mm"]
        assert box == {"low": list(first.low_lps_mm), "high": list(first.high_lps_mm)}
        ends = grid.locate([(9.5, 7.5, 14.5), (12.5, 10.5, 15.5)])
        assert np.allclose([first.low_lps_mm, first.high_lps_mm], [ends.min(axis=0), ends.max(axis=0)])
        assert not np.allclose(first.centre_lps_mm, np.mean(ends, axis=0), atol=5)

    def test_slices_far_from_each_other_are_not_joined(self) -> None:
        maps = np.zeros((2, SLICING.slice_size, SLICING.slice_size), np.float32)
        maps[:, 4:9, 4:9] = 400
        regions = find_regions(maps, [6, 7], make_grid(AXIAL, SHAPE), RegionOptions(), 150.0)
        assert [region.slices for region in regions] == [(6,), (7,)]

    def test_neighbours_are(self) -> None:
        grid = SliceGrid(np.eye(4), np.diag([5.0, 6.0, 1.5, 1.0]), range(20), SLICING.slice_size, (80, 100, 100))
        maps = np.zeros((2, SLICING.slice_size, SLICING.slice_size), np.float32)
        maps[:, 4:9, 4:9] = 400
        (region,) = find_regions(maps, [6, 7], grid, RegionOptions(), 150.0)
        assert region.slices == (6, 7)

    def test_padding_around_the_scan_is_no_region(self) -> None:
        grid = make_grid(AXIAL, SHAPE)
        maps = np.full((1, SLICING.slice_size, SLICING.slice_size), 400, np.float32)
        (region,) = find_regions(maps, [10], grid, RegionOptions(), 150.0)
        assert region.area_mm2 < maps[0].size * grid.pixel_area_mm2
        assert region.extent_lps_mm[0] <= 64 * 5.0 + 2 * 27.0
