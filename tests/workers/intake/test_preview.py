"""The preview of a volume."""

from __future__ import annotations

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.intake.preview import pick_preview_slices, render_planes, render_preview

Triple = tuple[float, float, float]

AIR, TISSUE, LUNG, BONE, PADDING = -1000, 40, -800, 1000, -3024
CELL, WIDE = 250, 333


def make_chest(depth: int = 60, side: int = 128) -> npt.NDArray[np.int16]:
    """Return (z, y, x) in the common pose: tissue, two lungs in the middle third, a bone low, in front and right."""
    hu = np.full((depth, side, side), AIR, np.int16)
    quarter = side // 4
    hu[:, quarter // 2 : -quarter // 2, quarter // 2 : -quarter // 2] = TISSUE
    lungs = hu[depth // 3 : 2 * depth // 3, quarter:-quarter]
    lungs[:, :, quarter : side // 2 - 8] = LUNG
    lungs[:, :, side // 2 + 8 : -quarter] = LUNG
    hu[: depth // 6, : side // 6, : side // 6] = BONE
    return hu


def draw(hu: npt.NDArray[np.int16], spacing: Triple = (5.0, 2.5, 2.5), **directions: Triple) -> npt.NDArray[np.uint8]:
    picture: npt.NDArray[np.uint8] = imagecodecs.png_decode(render_preview(hu, spacing, **directions))
    return picture


def take_coronal(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return picture[2 * CELL :, :WIDE]


class TestPicture:
    def test_it_is_a_grey_png_a_thousand_dots_wide(self) -> None:
        picture = draw(make_chest())
        assert picture.shape == (2 * CELL + WIDE, 1000)
        assert picture.dtype == np.uint8

    def test_a_noisy_volume_at_full_size_stays_small(self) -> None:
        noise = np.random.default_rng(1).normal(0, 30, (60, 512, 512))
        hu = (make_chest(60, 512) + noise).astype(np.int16)
        assert len(render_preview(hu, (2.5, 0.7, 0.7))) < 300_000

    def test_the_same_volume_gives_the_same_bytes(self) -> None:
        assert render_preview(make_chest(), (5.0, 2.5, 2.5)) == render_preview(make_chest(), (5.0, 2.5, 2.5))

    def test_padding_is_black_and_moves_no_window(self) -> None:
        chest = make_chest()
        padded = np.where(chest == AIR, np.int16(PADDING), chest)
        before, after = draw(chest), draw(padded)
        assert after[CELL // 2, 8:12].max() == 0
        assert after[CELL // 2, CELL // 2] == before[CELL // 2, CELL // 2]

    @pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 2), (3, 16, 700), (700, 20, 20)])
    def test_any_shape_can_be_drawn(self, shape: tuple[int, int, int]) -> None:
        picture = draw(np.full(shape, TISSUE, np.int16), (0.5, 3.0, 1.0))
        assert picture.shape[1] == 1000


class TestPlanes:
    def test_axial_planes_are_taken_where_lungs_are(self) -> None:
        picture = draw(make_chest())
        centres = [picture[row, column - 25] for row in (125, 375) for column in (125, 375, 625, 875)]
        assert max(centres) < 120

    def test_without_lungs_the_whole_depth_is_shown(self) -> None:
        hu = np.full((80, 64, 64), TISSUE, np.int16)
        hu[:10] = BONE
        picture = draw(hu)
        assert picture[125, 125] > picture[375, 875]


class TestProportions:
    @pytest.mark.parametrize(
        ("spacing", "expected"), [((5.0, 2.0, 2.0), 60 * 5 / 256), ((2.5, 2.0, 2.0), 60 * 2.5 / 256)]
    )
    def test_millimetres_decide_and_not_voxels(self, spacing: Triple, expected: float) -> None:
        hu = np.full((60, 128, 128), BONE, np.int16)
        coronal = take_coronal(draw(hu, spacing)) > 60
        height, width = coronal.any(axis=1).sum(), coronal[150:180].any(axis=0).sum()
        assert height / width == pytest.approx(expected, abs=0.03)


class TestPose:
    """The bone lies at the patient's right, in front, towards the feet."""

    def test_the_common_pose(self) -> None:
        self.check(draw(make_chest()))

    def test_a_patient_on_his_belly_with_the_feet_first(self) -> None:
        turned = make_chest()[:, ::-1, ::-1]
        self.check(draw(turned, row_direction=(-1.0, 0.0, 0.0), column_direction=(0.0, -1.0, 0.0)))

    def test_slices_that_ascend_to_the_feet(self) -> None:
        turned = make_chest()[::-1, ::-1, :]
        self.check(draw(turned, row_direction=(1.0, 0.0, 0.0), column_direction=(0.0, -1.0, 0.0)))

    def test_sagittal_slices(self) -> None:
        turned = make_chest().transpose(2, 0, 1)[:, ::-1, :]
        self.check(draw(turned, (2.5, 5.0, 2.5), row_direction=(0.0, 1.0, 0.0), column_direction=(0.0, 0.0, -1.0)))

    def test_a_slightly_oblique_series_counts_as_its_nearest_pose(self) -> None:
        self.check(draw(make_chest(), row_direction=(0.98, 0.17, 0.0), column_direction=(-0.17, 0.98, 0.0)))

    @staticmethod
    def check(picture: npt.NDArray[np.uint8]) -> None:
        """The same picture, but for the numbers of slices in the corners."""
        expected = draw(make_chest())
        picture[220:CELL, :40] = expected[220:CELL, :40]
        differs = picture != expected
        for row in range(2):
            for column in range(4):
                differs[row * CELL + 225 : (row + 1) * CELL, column * CELL : column * CELL + 40] = False
        assert not differs.any()


class TestSparsePlanes:
    @given(st.integers(min_value=1, max_value=5000))
    def test_at_most_twelve_ascending_indices_inside_the_volume(self, depth: int) -> None:
        indices = pick_preview_slices(depth)
        assert 1 <= len(indices) <= 12
        assert list(indices) == sorted(set(indices))
        assert indices[0] >= 0
        assert indices[-1] < depth

    def test_the_ends_of_a_chest_are_left_out(self) -> None:
        indices = pick_preview_slices(250)
        assert len(indices) == 12
        assert indices[0] >= 25
        assert indices[-1] < 225

    def test_planes_alone_make_a_picture(self) -> None:
        chest = make_chest(120)
        planes = {index: chest[index] for index in pick_preview_slices(120)}
        picture = imagecodecs.png_decode(render_planes(planes, (2.5, 2.5)))
        assert picture.shape == (3 * CELL, 1000)
        assert picture[CELL + 125, 2 * CELL + 100] < 120

    def test_a_turned_plane_stands_upright(self) -> None:
        plane = make_chest()[0]
        turned = render_planes(
            {4: plane[::-1, ::-1]}, (2.5, 2.5), row_direction=(-1, 0, 0), column_direction=(0, -1, 0)
        )
        assert turned == render_planes({4: plane}, (2.5, 2.5))
