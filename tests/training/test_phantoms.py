"""Phantoms as training material: the volume that intake would hand on, of a gantry that leans as well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phantom.dicom import write_zip
from phantom.settings import PhantomSettings
from phantom.study import make_study
from tests.hostile.packing import read
from training.phantoms import make_volume


class TestVolume:
    @pytest.mark.parametrize("degrees", [0.0, -10.0, 7.5])
    def test_it_is_what_intake_makes_of_the_files(self, tmp_path: Path, degrees: float) -> None:
        settings = replace(PhantomSettings.coarse(), gantry_tilt_degrees=(degrees, degrees))
        study = make_study(5, ("mass",), settings)
        write_zip(study, tmp_path / "study.zip")
        expected, made = read((tmp_path / "study.zip").read_bytes(), tmp_path).volume, make_volume(study)
        assert expected is not None
        assert made.hu.shape == expected.hu.shape
        # Positions are written with six decimals.
        assert np.abs(made.hu.astype(int) - expected.hu).max() <= 1
        for name in ("spacing_zyx_mm", "origin_lps_mm", "row_direction", "column_direction"):
            assert getattr(made.geometry, name) == pytest.approx(getattr(expected.geometry, name), abs=1e-3)
