"""Volume files: what is written is read, in whole and in part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.errors import Defect
from workers.volume import Geometry, Volume, VolumeFile, write_volume
from workers.volume.geometry import convert_lps_to_ras

GEOMETRY = Geometry((2.5, 0.7, 0.8), (-150.0, -120.0, -300.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


class TestVolumeFile:
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(arrays.arrays(np.int16, st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))))
    def test_voxels_come_back_exactly(self, tmp_path: Path, hu: np.ndarray) -> None:
        path = tmp_path / "volume.b2nd"
        write_volume(Volume(hu, GEOMETRY, {"kernel": ["STANDARD"]}), path)
        volume = VolumeFile(path).read()
        assert (volume.hu == hu).all()
        assert volume.hu.dtype == np.int16
        assert volume.geometry == GEOMETRY
        assert volume.facts == {"kernel": ["STANDARD"]}

    def test_some_slices_are_read_alone(self, tmp_path: Path) -> None:
        hu = np.arange(50 * 16, dtype=np.int16).reshape(50, 4, 4)
        write_volume(Volume(hu, GEOMETRY), tmp_path / "volume.b2nd")
        assert (VolumeFile(tmp_path / "volume.b2nd").read_slices(17, 33) == hu[17:33]).all()

    def test_the_same_volume_gives_the_same_file(self, tmp_path: Path) -> None:
        hu = np.random.default_rng(1).integers(-1000, 1000, (40, 96, 96), dtype=np.int16)
        paths = [tmp_path / f"{number}.b2nd" for number in range(5)]
        for path in paths:
            write_volume(Volume(hu, GEOMETRY), path)
        assert len({path.read_bytes() for path in paths}) == 1

    def test_anything_else_is_a_defect(self, tmp_path: Path) -> None:
        path = tmp_path / "volume.b2nd"
        path.write_bytes(b"not a volume")
        with pytest.raises(Defect):
            VolumeFile(path)


class TestGeometry:
    def test_the_affine_leads_from_indices_to_millimetres(self) -> None:
        affine = GEOMETRY.compute_affine_lps()
        assert (affine @ [2, 3, 4, 1])[:3] == pytest.approx([-150 + 1.6, -120 + 2.1, -300 + 10])

    def test_ras_and_lps_are_turned_into_each_other(self) -> None:
        affine = GEOMETRY.compute_affine_lps()
        ras = convert_lps_to_ras(affine)
        assert ras[:3, 3] == pytest.approx([150, 120, -300])
        assert (convert_lps_to_ras(ras) == affine).all()
