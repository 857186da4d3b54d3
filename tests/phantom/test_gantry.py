"""A gantry that leans: the patient stays where he lies, and intake takes what is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread

from phantom.canvas import Grid
from phantom.dicom import write_series, write_zip
from phantom.gantry import MOST_DEGREES, find_column_direction, find_corner, lean_planes
from phantom.settings import PhantomSettings
from phantom.study import Study, make_study
from tests.hostile.packing import read

COARSE = PhantomSettings.coarse()
GRID = Grid((9, 11, 3), (2.0, 1.5, 1.0), (3.0, 4.0, 5.0))
HEART = 51


def make_tilted(degrees: float, seed: int = 5) -> Study:
    return make_study(seed, ("mass",), replace(COARSE, gantry_tilt_degrees=(degrees, degrees)))


def locate(study: Study, label: int) -> npt.NDArray[np.float64]:
    """Return the middle of an organ in mm, LPS."""
    down = np.asarray(find_column_direction(study.gantry_tilt_degrees))
    z, y, x = np.argwhere(study.labels == label).mean(axis=0)
    step_z, step_y, step_x = study.spacing_zyx_mm
    across = np.array([x * step_x, 0.0, z * step_z])
    return np.asarray(np.asarray(study.origin_lps_mm) + across + y * step_y * down)


class TestPlanes:
    @pytest.mark.parametrize("degrees", [-20.0, 15.0])
    def test_they_see_what_lies_on_them(self, degrees: float) -> None:
        down, (_, corner_y, corner_z) = find_column_direction(degrees), find_corner(GRID, degrees)
        rows = 1.5 * np.arange(11)
        for axis, corner, share in (
            (GRID.z[:, None, None], corner_z + 2.0 * 4, down[2]),
            (GRID.y[:, None], corner_y, down[1]),
        ):
            values = np.ascontiguousarray(np.broadcast_to(axis, GRID.shape_zyx), dtype=np.float32)
            seen = lean_planes(values, GRID, degrees)
            # Without the first and the last rows, which may look beyond the grid.
            assert seen[4, 2:-2, 1] == pytest.approx((corner + share * rows)[2:-2], abs=1e-4)

    def test_the_back_is_nearer_to_the_head_where_the_tilt_is_positive(self) -> None:
        assert find_column_direction(8.0)[2] > 0 > find_column_direction(-8.0)[2]


class TestStudy:
    @pytest.mark.parametrize("degrees", [-12.0, 8.0])
    def test_the_patient_stays_where_he_lies(self, degrees: float) -> None:
        assert locate(make_tilted(degrees), HEART) == pytest.approx(locate(make_tilted(0.0), HEART), abs=2.0)

    def test_it_is_the_same_patient(self) -> None:
        straight, tilted = make_tilted(0.0), make_tilted(6.0)
        assert [finding.name for finding in straight.findings] == [finding.name for finding in tilted.findings]
        assert straight.findings[0].centre_lps_mm == pytest.approx(tilted.findings[0].centre_lps_mm, abs=3.0)
        assert (straight.age_years, straight.kernel) == (tilted.age_years, tilted.kernel)

    def test_the_files_tell_how_the_planes_lie(self, tmp_path: Path) -> None:
        study = make_tilted(8.0)
        first, second, *_ = (dcmread(path) for path in write_series(study, tmp_path / "series"))
        step = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient)
        assert first.GantryDetectorTilt == 8
        assert list(first.ImageOrientationPatient) == pytest.approx(
            [1, 0, 0, 0, np.cos(np.radians(8)), np.sin(np.radians(8))], abs=1e-5
        )
        assert step == pytest.approx([0, 0, study.spacing_zyx_mm[0]], abs=1e-5)
        assert first.SpacingBetweenSlices == pytest.approx(study.spacing_zyx_mm[0] * np.cos(np.radians(8)), abs=1e-5)

    @pytest.mark.parametrize("degrees", [-MOST_DEGREES, -10.0, 10.0, MOST_DEGREES])
    def test_intake_takes_it_and_tells_the_tilt(self, tmp_path: Path, degrees: float) -> None:
        write_zip(make_tilted(degrees), tmp_path / "study.zip")
        report = read((tmp_path / "study.zip").read_bytes(), tmp_path).report
        assert report.is_accepted
        told = {notice.code: notice.facts for notice in report.notices}
        assert told["tilt_corrected"]["degrees"] == pytest.approx(abs(degrees), abs=0.05)
        assert not [code for code in told if "lung" in code]
