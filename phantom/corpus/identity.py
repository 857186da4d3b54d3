"""Whose images they are and of what: rows B21 to B27."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    XRayRadiationDoseSRStorage,
)

from phantom.corpus.case import Case, Sending, accepted, rejected, whole
from phantom.corpus.chest import Chest, encode_files
from phantom.corpus.datasets import add_file, make_other_instance
from phantom.corpus.files import Change, decode, delete, edit, encode, pack, put, set_instance_uid
from phantom.study import Study

_SOFT_TISSUE_HU = 40
_LUNG_BELOW_HU = -300
_OTHER_UID = UID("1.2.3")


def make_dicomdir(names: Sequence[str]) -> bytes:
    """Return a DICOMDIR (PS3.3 F) that lists files by their names, one image record each."""
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = _OTHER_UID
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.FileSetID = "CORPUS"
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.FileSetConsistencyFlag = 0
    directory.DirectoryRecordSequence = [_make_record(name) for name in names]
    buffer = io.BytesIO()
    dcmwrite(buffer, directory, enforce_file_format=True)
    return buffer.getvalue()


def _make_record(name: str) -> Dataset:
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = 0xFFFF
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = name.removesuffix(".dcm").upper().split("/")
    return record


def _drop_extensions(chest: Chest) -> dict[str, bytes]:
    """Name the files as media do: eight letters without an extension."""
    return {name.removesuffix(".dcm"): content for name, content in chest.files.items()}


def make_conflict(chest: Chest) -> bytes:
    """Return the study with a second file of one SOPInstanceUID whose pixels differ."""
    dataset = chest.read(chest.middle)
    pixels = bytearray(dataset.PixelData)
    pixels[1000] ^= 0xFF
    dataset.PixelData = bytes(pixels)
    return pack({**chest.files, "other.dcm": encode(dataset)})


def fill_lungs(study: Study) -> Study:
    """Return the study with soft tissue where its lungs were, as an abdomen looks."""
    hu = study.hu.copy()
    hu[(study.labels > 0) & (hu < _LUNG_BELOW_HU)] = _SOFT_TISSUE_HU
    return replace(study, hu=hu)


def make_head(study: Study) -> Study:
    """Return a head in place of the chest: a shell of bone around brain, 150 x 190 mm."""
    slices, rows, columns = study.hu.shape
    z, y, x = np.ogrid[:slices, :rows, :columns]
    spacing_z, spacing_y, spacing_x = study.spacing_zyx_mm
    radius = np.sqrt(
        ((z - slices / 2) * spacing_z / 110) ** 2
        + ((y - rows / 2) * spacing_y / 95) ** 2
        + ((x - columns / 2) * spacing_x / 75) ** 2
    )
    hu = np.select([radius < 0.92, radius < 1.0], [35, 900], -1000).astype(np.int16)
    return replace(study, hu=hu, findings=())


def copy_as_second_study(chest: Chest) -> dict[str, bytes]:
    """Return the files of the same chest as another study, with UIDs of its own."""

    def change(dataset: Dataset) -> None:
        dataset.StudyInstanceUID = f"{dataset.StudyInstanceUID}.2"[-64:]
        dataset.SeriesInstanceUID = f"{_OTHER_UID}.{chest.seed}.2"
        set_instance_uid(dataset, f"{_OTHER_UID}.{chest.seed}.2.{dataset.InstanceNumber}")

    return {f"second/{name}": content for name, content in edit(chest.files, change).items()}


def make_dose_report(chest: Chest) -> bytes:
    """Return a radiation dose report (SR) of the study, without an image."""
    dataset = decode(chest.files[chest.names[0]])
    for element in [element for element in dataset if element.tag.group == 0x0028]:
        del dataset[element.tag]
    del dataset.PixelData
    dataset.Modality = "SR"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = XRayRadiationDoseSRStorage
    set_instance_uid(dataset, f"{_OTHER_UID}.7")
    dataset.SeriesInstanceUID = f"{_OTHER_UID}.8"
    return encode(dataset)


def _as_localizer(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    dataset.SeriesInstanceUID = f"{_OTHER_UID}.9"


def _be(modality: str, sop_class: str) -> Change:
    def change(dataset: Dataset) -> None:
        dataset.Modality = modality
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)

    return change


def _list_aside() -> list[Case]:
    """List what lies beside a chest and is set aside with a reason."""
    beside: list[tuple[str, Change, str]] = [
        ("localiser", _as_localizer, "localizer"),
        ("quality-control", put("QualityControlImage", "YES"), "quality_control"),
        ("secondary-capture", _be("CT", SecondaryCaptureImageStorage), "secondary_capture"),
        ("structure-set", _be("RTSTRUCT", RTStructureSetStorage), "wrong_modality"),
        ("no-pixels", delete("PixelData"), "not_an_image"),
    ]
    cases = [
        Case(
            f"B27-{kind}",
            f"A {kind} beside the chest",
            partial(add_file, make=partial(_make_changed, change=change)),
            accepted(files={code: 1}, study=whole),
        )
        for kind, change, code in beside
    ]
    report = partial(add_file, make=make_dose_report, name="dose.dcm")
    return [
        *cases,
        Case(
            "B27-dose-report",
            "A dose report beside the chest",
            report,
            accepted(files={"wrong_modality": 1}, study=whole),
        ),
    ]


def _make_changed(chest: Chest, change: Change) -> bytes:
    return make_other_instance(chest, change)


def _change_all(chest: Chest, change: Change, every: int = 1) -> bytes:
    return pack(edit(chest.files, change, every=every))


_TWO_STUDIES = "Two studies in one archive"
_SPLIT = replace(rejected("mixed_studies"), split_into=2, study=whole)

CASES: tuple[Case, ...] = (
    Case(
        "B21-absent",
        "A DICOMDIR that lists files which are not there",
        lambda chest: pack(
            {
                **_drop_extensions(chest),
                "DICOMDIR": make_dicomdir([*_drop_extensions(chest), "DICOM/GONE0001", "DICOM/GONE0002"]),
            }
        ),
        accepted("dicomdir_mismatch", files={"dicomdir": 1}, study=whole),
    ),
    Case(
        "G-dicomdir",
        "A DICOMDIR that lists what is there",
        lambda chest: pack({**_drop_extensions(chest), "DICOMDIR": make_dicomdir(list(_drop_extensions(chest)))}),
        accepted(files={"dicomdir": 1}, without_warnings=("dicomdir_mismatch",), study=whole),
    ),
    Case(
        "B22-all",
        "Every file twice",
        lambda chest: pack({**chest.files, **{f"copy/{name}": content for name, content in chest.files.items()}}),
        accepted("duplicate_instances", files={"duplicate": 20}, study=whole),
    ),
    Case(
        "B23-pixels",
        "One SOPInstanceUID for two different images",
        make_conflict,
        rejected("conflicting_duplicates"),
    ),
    Case(
        "B24-studies",
        _TWO_STUDIES,
        lambda chest: pack({**chest.files, **copy_as_second_study(chest)}),
        rejected("mixed_studies"),
    ),
    Case(
        "B24-patients",
        "Two patients in one study",
        partial(_change_all, change=put("PatientID", "PHANTOM-OTHER"), every=2),
        rejected("mixed_studies", facts={"patients": 2}),
    ),
    Case(
        "B24-split",
        f"{_TWO_STUDIES}, to be read as one job each",
        lambda chest: pack({**chest.files, **copy_as_second_study(chest)}),
        _SPLIT,
        Sending(options={"split": "true"}),
    ),
    *(
        Case(
            f"B25-{modality.lower()}",
            f"Only {modality}",
            partial(_change_all, change=_be(modality, sop_class)),
            rejected("wrong_modality", facts={"found": [modality]}, files={"wrong_modality": 20}),
        )
        for modality, sop_class in (
            ("MR", MRImageStorage),
            ("CR", ComputedRadiographyImageStorage),
            ("RTSTRUCT", RTStructureSetStorage),
            ("SR", EnhancedSRStorage),
        )
    ),
    Case(
        "B26-abdomen",
        "A body without lungs",
        lambda chest: pack(encode_files(fill_lungs(chest.study))),
        rejected("no_lungs_found"),
    ),
    Case(
        "B26-head",
        "A head",
        lambda chest: pack(edit(encode_files(make_head(chest.study)), put("BodyPartExamined", "HEAD"))),
        rejected("no_lungs_found"),
    ),
    *_list_aside(),
    Case(
        "B27-phantom-only",
        "Only images of quality control",
        partial(_change_all, change=put("QualityControlImage", "YES")),
        rejected("phantom_study", files={"quality_control": 20}),
    ),
    Case(
        "B27-localisers-only",
        "Only localisers",
        partial(_change_all, change=_as_localizer),
        rejected("no_usable_series", files={"localizer": 20}),
    ),
)
