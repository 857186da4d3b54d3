"""The light look at the body."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from tests.hostile.packing import read
from workers.intake.lungs import find_lung_notices, find_lung_problem, measure_lungs, open_in_plane

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


class TestRealChest:
    def test_the_bundled_chest_has_lungs_of_a_plausible_size(self, tmp_path: Path) -> None:
        bundled = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"
        report = read(bundled.read_bytes(), tmp_path).report
        assert report.chosen is not None
        assert 2500 < report.chosen.facts["lung_volume_ml"] < 3500
        assert 200 < report.chosen.facts["lung_length_mm"] < 260
