"""The light look at the body."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from tests.hostile.packing import read
from workers.intake.lungs import (
    find_lung_notices,
    find_lung_problem,
    find_sparse_veto,
    measure_lungs,
    open_in_plane,
    pick_sparse,
)

SPACING = (2.5, 1.5, 1.5)


def make_body(slices: int = 120, *, lungs: tuple[int, int] | None = (15, 110), hu: int = -850) -> npt.NDArray[np.int16]:
    """Return an ellipse of tissue on a hollow table, with two lungs between two slices and a trachea above."""
    z, y, x = np.meshgrid(np.arange(slices), np.arange(256), np.arange(256), indexing="ij", sparse=True)
    body = np.full((slices, 256, 256), -1000, dtype=np.int16)
    body[((y - 120) / 80) ** 2 + ((x - 128) / 110) ** 2 + 0 * z < 1] = 40
    body[:, 215:220, 20:236] = 100
    body[:, 235:240, 20:236] = 100
    body[:, 215:240, 20:23] = 100
    body[:, 215:240, 233:236] = 100
    if lungs:
        middle, half = sum(lungs) / 2, (lungs[1] - lungs[0]) / 2
        for centre in (75, 181):
            inside = ((y - 120) / 55) ** 2 + ((x - centre) / 35) ** 2 + ((z - middle) / half) ** 6 < 1
            body[inside] = hu
        trachea = (((y - 110) / 6) ** 2 + ((x - 128) / 6) ** 2 < 1) & (z > middle)
        body[trachea] = -1000
    return body


class TestOpening:
    @settings(max_examples=50, deadline=None)
    @given(arrays.arrays(np.bool_, st.tuples(*(st.integers(1, side) for side in (3, 9, 9)))))
    def test_it_is_the_opening_of_scipy(self, mask: npt.NDArray[np.bool_]) -> None:
        cross = ndimage.generate_binary_structure(2, 1)[np.newaxis]
        assert (open_in_plane(mask) == ndimage.binary_opening(mask, cross)).all()


class TestFindings:
    def test_a_chest_is_accepted_with_its_length(self) -> None:
        findings = measure_lungs(make_body(), SPACING)
        assert find_lung_problem(findings) is None
        assert findings.length_mm == pytest.approx(95 * 2.5, abs=10)
        assert find_lung_notices(findings) == ()

    def test_the_trachea_adds_no_length(self) -> None:
        assert measure_lungs(make_body(lungs=(10, 80)), SPACING).length_mm == pytest.approx(70 * 2.5, abs=10)

    def test_a_body_without_lungs(self) -> None:
        problem = find_lung_problem(measure_lungs(make_body(lungs=None), SPACING))
        assert problem is not None
        assert problem.code == "no_lungs_found"

    def test_bowel_gas_is_no_lung(self) -> None:
        problem = find_lung_problem(measure_lungs(make_body(hu=-1000), SPACING))
        assert problem is not None
        assert problem.code == "no_lungs_found"

    def test_short_lungs(self) -> None:
        problem = find_lung_problem(measure_lungs(make_body(slices=50, lungs=(0, 45)), SPACING))
        assert problem is not None
        assert problem.code == "insufficient_coverage"
        assert problem.facts["needed_mm"] == 145

    def test_little_lung_in_a_long_scan(self) -> None:
        findings = measure_lungs(make_body(slices=300, lungs=(250, 300)), SPACING)
        problem = find_lung_problem(findings)
        assert problem is not None
        assert problem.code == "no_lungs_found"
        assert findings.volume_ml > 300
        assert problem.facts["scan_length_mm"] == 750

    def test_whole_lungs_in_a_long_scan_are_accepted_with_a_notice(self) -> None:
        findings = measure_lungs(make_body(slices=300, lungs=(200, 290)), SPACING)
        assert findings.share < 0.35
        assert find_lung_problem(findings) is None
        assert [notice.code for notice in find_lung_notices(findings)] == ["lungs_small_share"]

    def test_lungs_that_touch_the_first_slice_are_told(self) -> None:
        body = make_body(lungs=(15, 110))[40:]
        notices = find_lung_notices(measure_lungs(body, SPACING))
        assert [(notice.code, notice.facts["at_bottom"], notice.facts["at_top"]) for notice in notices] == [
            ("lungs_cut_off", True, False)
        ]

    @pytest.mark.parametrize("value", [-1024, -3024, 0, 3000])
    def test_a_volume_of_one_value(self, value: int) -> None:
        assert find_lung_problem(measure_lungs(np.full((30, 64, 64), value, dtype=np.int16), SPACING)) is not None

    def test_a_large_volume_takes_less_than_a_second(self) -> None:
        volume = np.repeat(np.repeat(make_body(), 2, axis=1), 2, axis=2)
        volume = np.concatenate([volume, volume[:, ::-1]])[:248]
        started = time.process_time()
        measure_lungs(volume, (1.25, 0.7, 0.7))
        assert time.process_time() - started < 1.0


Change = Callable[[npt.NDArray[np.int16]], None]
RIGHT = np.s_[:, :, :128]


def replace_values(half: tuple[slice, ...], lowest: int, highest: int, value: int) -> Change:
    """Return a change of the voxels of one half whose value lies within a range."""

    def change(hu: npt.NDArray[np.int16]) -> None:
        part = hu[half]
        part[(part >= lowest) & (part <= highest)] = value

    return change


def add_noise(hu: npt.NDArray[np.int16], *, lung_hu: int, deviation: float) -> None:
    """Make the lungs emphysematous: many of their voxels are gas."""
    is_lung = hu == -850
    hu[is_lung] = np.random.default_rng(4).normal(lung_hu, deviation, int(is_lung.sum())).astype(np.int16)


def collapse_right_lung(hu: npt.NDArray[np.int16]) -> None:
    """Fill most of the right side with gas, and leave a collapsed lung at the hilum."""
    part = hu[RIGHT]
    is_lung = part == -850
    is_far = np.arange(128) < 95
    part[is_lung & is_far] = -995


def pad_round_field(hu: npt.NDArray[np.int16]) -> None:
    """Write padding outside of a round field of view that cuts the body at both sides."""
    y, x = np.ogrid[:256, :256]
    hu[:, (y - 120) ** 2 + (x - 128) ** 2 > 100**2] = -3024


def put_on_mattress(hu: npt.NDArray[np.int16]) -> None:
    """Fill what is below the body with foam as dense as lung, up to the sides of the image."""
    below = hu[:, 200:]
    below[below == -1000] = -870


def put_arms_down(hu: npt.NDArray[np.int16]) -> None:
    """Put an arm on each side, without contact."""
    y, x = np.ogrid[:256, :256]
    for centre in (9, 247):
        hu[:, ((y - 130) / 30) ** 2 + ((x - centre) / 7) ** 2 < 1] = 40


class TestHardChests:
    @pytest.mark.parametrize(
        "change",
        [
            replace_values(RIGHT, -850, -850, 20),
            replace_values(np.s_[:, 120:, :], -850, -850, 0),
            collapse_right_lung,
            partial(add_noise, lung_hu=-920, deviation=40.0),
            pad_round_field,
            put_on_mattress,
            put_arms_down,
        ],
        ids=["one_white_lung", "effusions", "pneumothorax", "emphysema", "round_field", "mattress", "arms_down"],
    )
    def test_are_accepted_with_their_length(self, change: Change) -> None:
        hu = make_body()
        change(hu)
        findings = measure_lungs(hu, SPACING)
        assert find_lung_problem(findings) is None
        assert findings.length_mm == pytest.approx(95 * 2.5, abs=30)

    @pytest.mark.parametrize("change", [put_on_mattress, put_arms_down, pad_round_field])
    def test_nothing_around_a_body_is_taken_for_lungs(self, change: Change) -> None:
        hu = make_body(lungs=None)
        change(hu)
        assert measure_lungs(hu, SPACING).volume_ml < 20

    def test_a_field_of_view_that_cuts_the_lungs_still_shows_them(self) -> None:
        zoomed = make_body()[:, 60:180, 55:201]
        findings = measure_lungs(zoomed, SPACING)
        assert find_lung_problem(findings) is None
        assert "fov_cut_off" in {notice.code for notice in find_lung_notices(findings)}

    def test_a_whole_field_of_view_is_not_told_to_be_cut(self) -> None:
        assert measure_lungs(make_body(), SPACING).cut_share == 0

    def test_head_and_feet_follow_the_direction_of_the_slices(self) -> None:
        body = make_body(lungs=(15, 110))[40:]
        findings = measure_lungs(body, SPACING, is_head_last=False)
        assert (findings.touches_bottom, findings.touches_top) == (False, True)


class TestVeto:
    def test_a_body_without_lungs_is_vetoed_by_a_few_slices(self) -> None:
        body = make_body(lungs=None)
        planes = body[list(pick_sparse([2.5 * z for z in range(120)]))]
        assert len(planes) == 30
        problem = find_sparse_veto(planes, SPACING[1:], 10.0)
        assert problem is not None
        assert problem.code == "no_lungs_found"
        assert problem.facts == {"lung_volume_ml": 0.0, "lung_length_mm": 0.0, "scan_length_mm": 300.0}

    @pytest.mark.parametrize("lungs", [(15, 110), (0, 12), (100, 119)])
    def test_any_lung_at_all_is_no_veto(self, lungs: tuple[int, int]) -> None:
        assert find_sparse_veto(make_body(lungs=lungs)[::4], SPACING[1:], 10.0) is None

    def test_bowel_gas_is_vetoed(self) -> None:
        assert find_sparse_veto(make_body(hu=-1000)[::4], SPACING[1:], 10.0) is not None

    @pytest.mark.parametrize("slices", [0, 1, 2])
    def test_too_few_slices_veto_nothing(self, slices: int) -> None:
        assert find_sparse_veto(make_body(lungs=None)[:slices], SPACING[1:], 10.0) is None

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.floats(0.1, 7.0), min_size=1, max_size=100))
    def test_slices_are_picked_at_least_a_step_apart_and_the_first_among_them(self, steps: list[float]) -> None:
        heights = np.cumsum(steps).tolist()
        picked = pick_sparse(heights)
        assert picked[0] == 0
        assert all(heights[b] - heights[a] >= 10 for a, b in pairwise(picked))
        assert heights[-1] - heights[picked[-1]] < 10


class TestRealChest:
    def test_the_bundled_chest_has_lungs_of_a_plausible_size(self, tmp_path: Path) -> None:
        bundled = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"
        report = read(bundled.read_bytes(), tmp_path).report
        assert report.chosen is not None
        assert 2500 < report.chosen.facts["lung_volume_ml"] < 3500
        assert 200 < report.chosen.facts["lung_length_mm"] < 260
