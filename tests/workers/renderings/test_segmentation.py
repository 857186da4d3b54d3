"""DICOM segmentations: what highdicom makes, read back voxel for voxel in the place of the scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.workers.renderings.iod import find_faults
from tests.workers.renderings.scans import (
    AXIAL,
    CORONAL,
    FEET_FIRST,
    MAKER,
    SHAPE,
    draw_geometries,
    make_labels,
    make_organs,
    make_provenance,
    make_source,
)
from workers.renderings.segmentation import Organs, make_segmentation, write_segmentation
from workers.volume import Geometry
from workers.volume.source import SourceSeries

ODD_SHAPE = (5, 7, 9)


def make_odd_labels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 4, ODD_SHAPE).astype(np.uint8)


def write(path: Path, organs: Organs, source: SourceSeries) -> highdicom.seg.Segmentation:
    write_segmentation(path, organs, make_provenance(source))
    return highdicom.seg.segread(path)


def recover(read: highdicom.seg.Segmentation, source: SourceSeries, organs: Organs) -> npt.NDArray[np.uint8]:
    """Return the label map in the order of the images, by what the object says of them."""
    if source.images[0].frame is None:
        uids = [image.sop_instance_uid for image in source.images]
        found = read.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    else:
        frames = [image.frame or 0 for image in source.images]
        found = read.get_pixels_by_source_frame(
            source.images[0].sop_instance_uid, frames, combine_segments=True, assert_missing_frames_are_empty=True
        )
    label_of_segment = np.array([0, *(segment.label for segment in organs.segments)], np.uint8)
    return np.asarray(label_of_segment[found], np.uint8)


def locate_frames(read: Dataset) -> npt.NDArray[np.float64]:
    """Return where the first pixel of each frame lies, (n, 3) LPS."""
    groups = read.PerFrameFunctionalGroupsSequence
    return np.array([item.PlanePositionSequence[0].ImagePositionPatient for item in groups], np.float64)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> highdicom.seg.Segmentation:
    path = tmp_path_factory.mktemp("masks") / "masks.dcm"
    return write(path, make_organs(make_labels()), make_source(AXIAL))


class TestFile:
    @pytest.mark.parametrize("labels", [make_labels(), make_odd_labels(), (make_labels() == 51) * np.uint8(51)])
    def test_is_what_highdicom_makes(self, labels: npt.NDArray[np.uint8], tmp_path: Path) -> None:
        """Several organs, frames that end inside of a byte, one organ."""
        organs, source = make_organs(labels), make_source(AXIAL, labels.shape)
        write_segmentation(tmp_path / "masks.dcm", organs, make_provenance(source))
        numbers = np.searchsorted([0, *(segment.label for segment in organs.segments)], labels).astype(np.uint8)
        made = make_segmentation(replace(organs, labels=numbers), make_provenance(source))
        read = pydicom.dcmread(tmp_path / "masks.dcm")
        pixel_bytes = int(made.NumberOfFrames) * labels[0].size // 8  # what fills up to an even length means nothing
        assert read.PixelData[:pixel_bytes] == made.PixelData[:pixel_bytes]
        del read.PixelData, made.PixelData
        assert read.to_json_dict() == Dataset(made).to_json_dict()

    def test_is_deflated_and_no_larger_than_it_need_be(self, tmp_path: Path) -> None:
        organs = make_organs(np.repeat(np.repeat(make_labels(), 8, axis=1), 8, axis=2))
        read = write(tmp_path / "masks.dcm", organs, make_source(AXIAL, organs.labels.shape))
        assert read.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
        assert (tmp_path / "masks.dcm").stat().st_size < len(read.PixelData) // 2

    def test_of_equal_masks_is_equal(self, tmp_path: Path) -> None:
        organs, provenance = make_organs(make_labels()), make_provenance(make_source(AXIAL))
        for name in ("one", "two"):
            write_segmentation(tmp_path / name, organs, provenance)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_of_other_masks_has_other_uids_in_the_same_series(self, tmp_path: Path) -> None:
        organs = make_organs(make_labels())
        one = write(tmp_path / "one", organs, make_source(AXIAL))
        two = write(tmp_path / "two", replace(organs, digest="ef" * 32), make_source(AXIAL))
        assert one.SOPInstanceUID != two.SOPInstanceUID
        assert one.SeriesInstanceUID == two.SeriesInstanceUID

    @pytest.mark.parametrize("is_multi_frame", [False, True])
    def test_has_all_that_the_standard_asks_for(self, tmp_path: Path, is_multi_frame: bool) -> None:
        source = make_source(AXIAL, is_multi_frame=is_multi_frame)
        assert find_faults(write(tmp_path / "masks.dcm", make_organs(make_labels()), source)) == []


class TestGeometry:
    @pytest.mark.parametrize("geometry", [AXIAL, FEET_FIRST, CORONAL])
    @pytest.mark.parametrize("is_multi_frame", [False, True])
    def test_masks_lie_on_their_images(self, tmp_path: Path, geometry: Geometry, is_multi_frame: bool) -> None:
        source, organs = make_source(geometry, is_multi_frame=is_multi_frame), make_organs(make_labels(), geometry)
        assert (recover(write(tmp_path / "masks.dcm", organs, source), source, organs) == organs.labels).all()

    @given(draw_geometries())
    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_of_any_pose_comes_back(self, tmp_path: Path, geometry: Geometry) -> None:
        source, organs = make_source(geometry), make_organs(make_labels(), geometry)
        read = write(tmp_path / "masks.dcm", organs, source)
        assert (recover(read, source, organs) == organs.labels).all()
        back = read.get_volume(combine_segments=True, allow_missing_positions=True)
        lowest = min(locate_frames(read) @ geometry.normal)
        assert back.spacing == pytest.approx(geometry.spacing_zyx_mm, abs=1e-3)
        assert lowest == pytest.approx(np.dot(source.images[1].position_lps_mm, geometry.normal), abs=1e-3)
        shared = read.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
        assert np.allclose(shared, (*geometry.row_direction, *geometry.column_direction), atol=1e-6)

    def test_is_that_of_the_images_to_the_last_digit_where_they_are_not_quite_even(self, tmp_path: Path) -> None:
        source = make_source(AXIAL)
        shifted = tuple(
            replace(image, position_lps_mm=(-20.0, -30.5, 101.25 + 2.0 * z + 0.009 * (z % 2)))
            for z, image in enumerate(source.images)
        )
        source, organs = replace(source, images=shifted), make_organs(make_labels())
        read = write(tmp_path / "masks.dcm", organs, source)
        assert (recover(read, source, organs) == organs.labels).all()
        expected = {tuple(np.round(image.position_lps_mm, 6)) for image in shifted[1:]}
        assert {tuple(place) for place in locate_frames(read).round(6)} == expected

    def test_of_a_resampled_volume_is_its_own(self, tmp_path: Path) -> None:
        finer = make_source(replace(AXIAL, spacing_zyx_mm=(1.7, 1.5, 1.25)), (13, 12, 16))
        organs = make_organs(make_labels())
        read = write(tmp_path / "masks.dcm", organs, replace(finer, is_resampled=True))
        affine = AXIAL.compute_affine_lps()
        expected = {tuple(np.round((affine @ (0, 0, z, 1))[:3], 3)) for z in range(1, SHAPE[0])}
        assert {tuple(place) for place in locate_frames(read).round(3)} == expected
        assert read.FrameOfReferenceUID == finer.frame_of_reference_uid


class TestContent:
    def test_organs_have_their_codes_and_sides(self, read: Dataset) -> None:
        told = {}
        for segment in read.SegmentSequence:
            (kind,) = segment.SegmentedPropertyTypeCodeSequence
            modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence", ())
            sides = [(modifier.CodeValue, modifier.CodeMeaning) for modifier in modifiers]
            told[segment.SegmentLabel] = (kind.CodeValue, kind.CodingSchemeDesignator, sides)
        assert told["heart"] == ("80891009", "SCT", [])
        assert told["lung_upper_lobe_left"] == ("45653009", "SCT", [("7771000", "Left")])
        assert told["rib_left_1"] == ("48535007", "SCT", [("7771000", "Left")])

    def test_organs_say_who_found_them(self, read: Dataset) -> None:
        for segment in read.SegmentSequence:
            (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
            assert (segment.SegmentAlgorithmType, algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (
                "AUTOMATIC", "segmentation-demo", "1.0"
            )  # fmt: skip
            assert segment.TrackingID == segment.SegmentLabel
        assert len({segment.TrackingUID for segment in read.SegmentSequence}) == len(read.SegmentSequence)

    def test_holds_any_name_of_weights(self, tmp_path: Path) -> None:
        maker = replace(MAKER, name="Сегментация\\" + "long " * 20, version="v" * 99)
        provenance = replace(make_provenance(make_source(AXIAL)), maker=maker)
        write_segmentation(tmp_path / "masks.dcm", make_organs(make_labels()), provenance)
        read = pydicom.dcmread(tmp_path / "masks.dcm")
        assert read.ManufacturerModelName.startswith("???????????/long")
        assert len(read.SeriesDescription) <= 64

    def test_says_what_it_is_for(self, read: Dataset) -> None:
        assert read.ContentDescription == "Research use only. Demo weights, trained on phantoms."

    def test_names_no_patient_and_says_so(self, read: Dataset) -> None:
        assert not any(read[keyword].value for keyword in ("PatientID", "PatientName", "StudyDate", "AccessionNumber"))
        assert read.PatientIdentityRemoved == "YES"
        methods = [item.CodeValue for item in read.DeidentificationMethodCodeSequence]
        assert methods == ["113100", "113110"]

    def test_refers_to_the_study_and_its_images(self, read: Dataset) -> None:
        assert (read.StudyInstanceUID, read.FrameOfReferenceUID) == ("1.2.3", "1.2.5")
        (series,) = read.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == "1.2.4"
        assert len(series.ReferencedInstanceSequence) == SHAPE[0]
