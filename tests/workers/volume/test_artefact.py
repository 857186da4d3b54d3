"""Volume files: what is written is read, in whole and in part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.errors import Defect
from workers.volume import Geometry, Volume, VolumeFile, compute_content_digest, write_volume
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

    @pytest.mark.parametrize("depth", [1, 15, 16, 17, 40])
    def test_threads_do_not_change_the_file(self, tmp_path: Path, depth: int) -> None:
        hu = np.random.default_rng(2).integers(-1000, 1000, (depth, 33, 65), dtype=np.int16)
        for threads in (1, 3):
            write_volume(Volume(hu, GEOMETRY), tmp_path / f"{threads}.b2nd", threads=threads)
        assert (tmp_path / "1.b2nd").read_bytes() == (tmp_path / "3.b2nd").read_bytes()
        assert (VolumeFile(tmp_path / "3.b2nd").read().hu == hu).all()

    def test_a_view_is_written_as_what_it_shows(self, tmp_path: Path) -> None:
        hu = np.arange(20 * 6 * 6, dtype=np.int16).reshape(20, 6, 6)[::-1, :, ::2]
        write_volume(Volume(hu, GEOMETRY), tmp_path / "volume.b2nd")
        assert (VolumeFile(tmp_path / "volume.b2nd").read().hu == hu).all()

    def test_anything_else_is_a_defect(self, tmp_path: Path) -> None:
        path = tmp_path / "volume.b2nd"
        path.write_bytes(b"not a volume")
        with pytest.raises(Defect):
            VolumeFile(path)


class TestContentDigest:
    HU = np.arange(18 * 4 * 4, dtype=np.int16).reshape(18, 4, 4)

    def test_the_file_tells_the_digest_of_what_it_holds(self, tmp_path: Path) -> None:
        path = tmp_path / "volume.b2nd"
        written = write_volume(Volume(self.HU, GEOMETRY), path, threads=2)
        assert VolumeFile(path).content_digest == compute_content_digest(VolumeFile(path).read()) == written

    def test_it_is_the_same_everywhere_and_always(self) -> None:
        expected = "95e985398c53871dd7f86b0524d82c694ab8ca673199370eddb15b8b673e1799"
        assert compute_content_digest(Volume(self.HU, GEOMETRY)) == expected
        assert compute_content_digest(Volume(self.HU.astype(">i2"), GEOMETRY)) == expected

    def test_facts_do_not_change_it(self) -> None:
        facts = {"kernel": ["LUNG"]}
        assert compute_content_digest(Volume(self.HU, GEOMETRY, facts)) == compute_content_digest(
            Volume(self.HU, GEOMETRY)
        )

    def test_voxels_shape_and_geometry_do(self) -> None:
        other = self.HU.copy()
        other[3, 2, 1] += 1
        volumes = [
            Volume(self.HU, GEOMETRY),
            Volume(other, GEOMETRY),
            Volume(self.HU.reshape(18, 2, 8), GEOMETRY),
            Volume(self.HU, replace(GEOMETRY, origin_lps_mm=(-150.0, -120.0, -299.9))),
        ]
        assert len({compute_content_digest(volume) for volume in volumes}) == len(volumes)


class TestFilesOfEarlierVersions:
    def test_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "volume.b2nd"
        hu = np.random.default_rng(3).integers(-1000, 1000, (20, 8, 8), dtype=np.int16)
        array = blosc2.asarray(hu, chunks=(16, 8, 8), urlpath=str(path), mode="w", contiguous=True)
        array.schunk.vlmeta["ctclip_volume"] = json.dumps({"geometry": GEOMETRY.to_document(), "facts": {}})
        assert (VolumeFile(path).read().hu == hu).all()
        assert VolumeFile(path).content_digest is None


class TestGeometry:
    def test_the_affine_leads_from_indices_to_millimetres(self) -> None:
        affine = GEOMETRY.compute_affine_lps()
        assert (affine @ [2, 3, 4, 1])[:3] == pytest.approx([-150 + 1.6, -120 + 2.1, -300 + 10])

    def test_ras_and_lps_are_turned_into_each_other(self) -> None:
        affine = GEOMETRY.compute_affine_lps()
        ras = convert_lps_to_ras(affine)
        assert ras[:3, 3] == pytest.approx([150, 120, -300])
        assert (convert_lps_to_ras(ras) == affine).all()
