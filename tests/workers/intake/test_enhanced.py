"""Functional groups of enhanced multi-frame images: what holds for a frame, what for all, and what is missing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from shared.byte_units import MIB
from tests.workers.intake.images import TECHNIQUE
from workers.intake.dicom.enhanced import Frame, check_groups, read_frames
from workers.intake.dicom.parsing import scan_file
from workers.intake.dicom.scanner import ElementBudget
from workers.intake.files import FileCode, FileRejected
from workers.intake.limits import MOST_ELEMENTS

Groups = Mapping[str, object]
ITEM = b"\xfe\xff\x00\xe0" + bytes(4)


def make(**attributes: object) -> Dataset:
    """Return a dataset with these attributes."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


SHARED = {
    "PlaneOrientationSequence": [make(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    "PixelMeasuresSequence": [make(PixelSpacing=[0.7, 0.8], SliceThickness=1.5)],
    "PixelValueTransformationSequence": [make(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")],
}


def read(shared: Groups, groups: Sequence[Groups], *, frames: int) -> tuple[Frame, ...]:
    """Write the groups into a file and read its frames."""
    dataset = make(
        SharedFunctionalGroupsSequence=[make(**shared)], PerFrameFunctionalGroupsSequence=[make(**it) for it in groups]
    )
    dataset.preamble = bytes(128)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
    content = buffer.getvalue()
    scanned = scan_file(content, is_whole=True)
    return read_frames(content[scanned.start :], scanned.elements.encoding, TECHNIQUE, frames=frames, padding=None)


def place(z_mm: float, **groups: object) -> Groups:
    """Return the groups of a frame at a height."""
    return {"PlanePositionSequence": [make(ImagePositionPatient=[-150, -160, z_mm])], **groups}


class TestFrames:
    def test_each_has_its_place_and_shares_the_rest(self) -> None:
        frames = read(SHARED, [place(0), place(1.25), place(2.5)], frames=3)
        assert [frame.placement.position_mm[2] for frame in frames] == [0, 1.25, 2.5]
        assert {frame.placement.spacing_yx_mm for frame in frames} == {(0.7, 0.8)}
        assert {frame.technique.thickness_mm for frame in frames} == {1.5}

    def test_what_a_frame_says_comes_before_what_is_shared(self) -> None:
        own = {"PixelValueTransformationSequence": [make(RescaleSlope=2, RescaleIntercept=-8192, RescaleType="US")]}
        first, second = read(SHARED, [place(0), place(1, **own)], frames=2)
        assert (first.placement.slope, first.placement.intercept, first.technique.rescale_type) == (1, -1024, "HU")
        assert (second.placement.slope, second.placement.intercept, second.technique.rescale_type) == (2, -8192, "US")

    def test_how_each_was_made(self) -> None:
        made = {
            "FrameContentSequence": [make(FrameAcquisitionNumber=2, TemporalPositionIndex=3)],
            "CTImageFrameTypeSequence": [make(FrameType=["DERIVED", "PRIMARY", "VOLUME", "MIP"])],
            "CTReconstructionSequence": [make(ConvolutionKernel=["Br38f", "3"])],
            "CTXRayDetailsSequence": [make(KVP=80)],
        }
        plain, technique = (frame.technique for frame in read(SHARED, [place(0), place(1, **made)], frames=2))
        assert (technique.acquisition, technique.temporal_position) == (2, 3)
        assert (technique.kernel, technique.kilovolts) == (("Br38f", "3"), 80)
        assert technique.is_derived_view
        assert (plain.kernel, plain.kilovolts, plain.image_type) == (
            TECHNIQUE.kernel,
            TECHNIQUE.kilovolts,
            TECHNIQUE.image_type,
        )
        assert not plain.is_derived_view


class TestMissing:
    def test_frames_without_groups(self) -> None:
        with pytest.raises(FileRejected) as refusal:
            read(SHARED, [place(0)], frames=2)
        assert refusal.value.tags == ("PerFrameFunctionalGroupsSequence",)

    def test_a_frame_without_a_place(self) -> None:
        with pytest.raises(FileRejected) as refusal:
            read(SHARED, [place(0), {}], frames=2)
        assert refusal.value.tags == ("ImagePositionPatient",)

    def test_a_position_that_is_none(self) -> None:
        with pytest.raises(FileRejected) as refusal:
            read(SHARED, [{"PlanePositionSequence": [make(ImagePositionPatient=None)]}], frames=1)
        assert refusal.value.code is FileCode.MISSING_REQUIRED_TAGS


class TestTooMuch:
    """Objects of pydicom are dear: their number is looked at before any is made."""

    def test_more_items_than_any_file_has(self) -> None:
        with pytest.raises(FileRejected) as refusal:
            check_groups(ITEM * (MOST_ELEMENTS + 1), ElementBudget())
        assert refusal.value.code is FileCode.HOSTILE_STRUCTURE

    def test_a_header_longer_than_any_file_has(self) -> None:
        with pytest.raises(FileRejected) as refusal:
            check_groups(bytes(32 * MIB + 1), ElementBudget())
        assert refusal.value.code is FileCode.HOSTILE_STRUCTURE

    def test_as_many_as_twenty_thousand_frames_have_are_read(self) -> None:
        check_groups((ITEM + bytes(100)) * 160_000, ElementBudget())

    def test_the_items_of_all_files_count_together(self) -> None:
        budget = ElementBudget()
        for _ in range(8):
            check_groups(ITEM * (MOST_ELEMENTS - 1), budget)
        with pytest.raises(FileRejected):
            check_groups(ITEM * (MOST_ELEMENTS - 1), budget)
