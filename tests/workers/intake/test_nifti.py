"""NIfTI uploads: any orientation gives the same volume; what is no chest volume is refused."""

from __future__ import annotations

import gzip
import struct
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from tests.hostile.packing import MemorySource
from workers.intake.limits import IntakeLimits
from workers.intake.nifti_study import read_nifti_study
from workers.intake.question import Question
from workers.intake.study import StudyRead

SPACING = (4.0, 3.0, 5.0)


def make_chest() -> npt.NDArray[np.int16]:
    """Return (x, y, z) in RAS order: an ellipse of tissue with two lungs, not symmetric in any axis."""
    x, y, z = np.meshgrid(np.arange(80), np.arange(90), np.arange(60), indexing="ij")
    hu = np.full((80, 90, 60), -1000, dtype=np.int16)
    hu[((x - 40) / 36) ** 2 + ((y - 45) / 40) ** 2 < 1] = 40
    for centre in (26, 55):
        hu[((x - centre) / 9) ** 2 + ((y - 47) / 20) ** 2 + ((z - 32) / 24) ** 2 < 1] = -850
    hu[38:42, 10:14, 5:55] = 700
    return hu


def make_affine() -> npt.NDArray[np.float64]:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-150, -120, -80)
    return affine


def write(tmp_path: Path, array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]) -> bytes:
    path = tmp_path / "made.nii"
    nibabel.Nifti1Image(array, affine).to_filename(path)  # type: ignore[no-untyped-call]
    return path.read_bytes()


def read(content: bytes, tmp_path: Path, limits: IntakeLimits | None = None) -> StudyRead:
    return read_nifti_study(
        MemorySource(content), "case 7", Question(has_digest=True), limits or IntakeLimits(), scratch=tmp_path
    )


def refusal(content: bytes, tmp_path: Path, limits: IntakeLimits | None = None) -> str:
    problem = read(content, tmp_path, limits).report.problem
    assert problem is not None
    return f"{problem.code}: {problem.detail}"


class TestOrientation:
    @pytest.mark.parametrize("axes", list(permutations(range(3))))
    def test_every_order_and_direction_of_axes_gives_one_volume(self, tmp_path: Path, axes: tuple[int, ...]) -> None:
        chest, affine = make_chest(), make_affine()
        expected = np.flip(chest, (0, 1)).transpose(2, 1, 0)
        for flips in product((1, -1), repeat=3):
            orientation = np.array(list(zip(axes, flips, strict=True)), dtype=float)
            turned = apply_orientation(chest, orientation)  # type: ignore[no-untyped-call]
            turned_affine = affine @ inv_ornt_aff(orientation, chest.shape)  # type: ignore[no-untyped-call]
            volume = read(write(tmp_path, turned, turned_affine), tmp_path).volume
            assert volume is not None
            assert (volume.hu == expected).all()
            assert volume.geometry.spacing_zyx_mm == pytest.approx((5.0, 3.0, 4.0))
            assert volume.geometry.row_direction == pytest.approx((1, 0, 0))
            assert volume.geometry.column_direction == pytest.approx((0, 1, 0))
            # RAS x runs from -150 in steps of 4: its last voxel is the most leftward-negative one in LPS.
            assert volume.geometry.origin_lps_mm == pytest.approx((150 - 79 * 4, 120 - 89 * 3, -80))


class TestReport:
    def test_uids_come_from_the_name(self, tmp_path: Path) -> None:
        report = read(write(tmp_path, make_chest(), make_affine()), tmp_path).report
        assert report.chosen is not None
        assert (report.chosen.study_uid, report.chosen.series_uid) == ("nifti_case 7", "nifti_case 7_series")

    def test_gzip_is_expanded(self, tmp_path: Path) -> None:
        plain = write(tmp_path, make_chest(), make_affine())
        assert read(gzip.compress(plain), tmp_path).report.hu == read(plain, tmp_path).report.hu

    def test_gzip_in_several_members_is_one_file(self, tmp_path: Path) -> None:
        content = write(tmp_path, make_chest(), make_affine())
        members = gzip.compress(content[:1000]) + gzip.compress(content[1000:])
        assert read(members, tmp_path).report.problem is None

    def test_float_values_are_rounded(self, tmp_path: Path) -> None:
        plain = read(write(tmp_path, make_chest(), make_affine()), tmp_path).report
        floats = read(write(tmp_path, make_chest().astype(np.float32) + 0.2, make_affine()), tmp_path).report
        assert floats.hu == plain.hu

    def test_thick_and_oblique_slices_are_told_as_those_of_dicom_are(self, tmp_path: Path) -> None:
        affine = make_affine()
        lean = np.radians(12)
        turn = np.array([[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]])
        affine[:3, :3] = turn @ affine[:3, :3]
        affine[:3, 2] *= 6 / np.linalg.norm(affine[:3, 2])
        told = {
            notice.code: notice.facts for notice in read(write(tmp_path, make_chest(), affine), tmp_path).report.notices
        }
        assert told["thick_slices"]["spacing_mm"] == pytest.approx(6)
        assert told["oblique"] == {"degrees": 12.0}


class TestRefusals:
    def test_four_dimensions(self, tmp_path: Path) -> None:
        content = write(tmp_path, np.zeros((8, 8, 8, 2), dtype=np.int16), make_affine())
        assert refusal(content, tmp_path).startswith("nifti_unreadable: The NIfTI file has the shape 8x8x8x2")

    def test_values_that_are_not_finite(self, tmp_path: Path) -> None:
        array = make_chest().astype(np.float32)
        array[3, 3, 3] = np.nan
        assert "not finite" in refusal(write(tmp_path, array, make_affine()), tmp_path)

    @pytest.mark.parametrize("is_scaled", [False, True])
    def test_colours_in_place_of_numbers(self, tmp_path: Path, is_scaled: bool) -> None:
        colours = np.zeros((30, 30, 30), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        content = bytearray(write(tmp_path, colours, make_affine()))
        struct.pack_into("<2f", content, 112, float(is_scaled), 100.0)
        assert "the kind" in refusal(bytes(content), tmp_path)

    @pytest.mark.parametrize("spacing_mm", [(13, 3, 5), (4, 12, 5), (4, 3, 21), (4, 3, 51)])
    def test_a_body_larger_than_any_scanner(self, tmp_path: Path, spacing_mm: tuple[int, int, int]) -> None:
        affine = np.diag([*spacing_mm, 1.0])
        assert "mm large" in refusal(write(tmp_path, make_chest(), affine), tmp_path)

    def test_sheared_axes(self, tmp_path: Path) -> None:
        affine = make_affine()
        affine[0, 1] = 2
        assert "not orthogonal" in refusal(write(tmp_path, make_chest(), affine), tmp_path)

    def test_too_many_voxels(self, tmp_path: Path) -> None:
        content = write(tmp_path, make_chest(), make_affine())
        assert "beyond the limits" in refusal(content, tmp_path, IntakeLimits(memory_bytes=100_000))

    def test_voxels_that_are_not_there(self, tmp_path: Path) -> None:
        content = write(tmp_path, make_chest(), make_affine())
        assert refusal(content[: len(content) // 2], tmp_path).startswith("nifti_unreadable")

    def test_voxels_beyond_any_address(self, tmp_path: Path) -> None:
        content = bytearray(write(tmp_path, make_chest(), make_affine()))
        struct.pack_into("<f", content, 108, 1e30)  # vox_offset
        assert "ends before its voxels do" in refusal(bytes(content), tmp_path)

    def test_gzip_that_is_cut_in_its_second_member(self, tmp_path: Path) -> None:
        content = write(tmp_path, make_chest(), make_affine())
        members = gzip.compress(content[:1000]) + gzip.compress(content[1000:])
        assert "truncated gzip" in refusal(members[:-20], tmp_path)

    def test_a_bomb_in_many_gzip_members(self, tmp_path: Path) -> None:
        bomb = gzip.compress(bytes(1 << 19)) * 4
        assert refusal(bomb, tmp_path, IntakeLimits(archive_bytes=1 << 20)).startswith("archive_expands_too_far")

    def test_a_gzip_bomb(self, tmp_path: Path) -> None:
        bomb = gzip.compress(bytes(8 << 20))
        assert refusal(bomb, tmp_path, IntakeLimits(archive_bytes=1 << 20)).startswith("archive_expands_too_far")

    @pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"not a nifti" * 100, bytes(1000)])
    def test_anything_else(self, tmp_path: Path, content: bytes) -> None:
        assert refusal(content, tmp_path).startswith("nifti_unreadable")

    def test_a_body_without_lungs(self, tmp_path: Path) -> None:
        chest = make_chest()
        chest[chest == -850] = 30
        assert refusal(write(tmp_path, chest, make_affine()), tmp_path).startswith("no_lungs_found")
