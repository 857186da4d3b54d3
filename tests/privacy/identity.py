"""A study that tells who the patient is wherever DICOM and ZIP let it: every such place holds a mark of its own.

Marked is every attribute of the data dictionary (PS3.6) that can hold text, a person, a date or a UID, and so all of
table E.1-1 of PS3.15, but those that say how the image was made; besides them sequences, private attributes, the file
meta group, the preamble, what trails a dataset, and all that a ZIP says in words.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping

import pydicom
from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]  # its own documentation imports it so
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, BasicTextSRStorage, SecondaryCaptureImageStorage

MARK = "QZEBRX"
"""Begins every text of the patient; nothing else in the world contains it."""

UID_MARK = "1.2.840.99999.7777."
"""Begins every UID that nobody may see."""

DATE_MARK = "18770319"
"""Stands for every date, or begins it."""

KNOWN_UID_MARK = "1.2.840.99999.8888."
"""Begins the UIDs of study and series, which the caller gets back, and no log does."""

NAME_MARK = "QNAMEX"
"""Stands in every name inside the archive: the caller gets them back while the upload is kept, and no log does."""

UPLOAD_MARK = "QUPLOADX"
"""Stands in the name of the archive itself."""

# How the image was made and how it is to be read: what artefacts may tell, or what would make another study of it.
_TECHNIQUE = frozenset(
    {
        *("SpecificCharacterSet", "SOPClassUID", "Modality", "ImageType", "Manufacturer", "ConvolutionKernel"),
        *("FilterType", "BodyPartExamined", "PhotometricInterpretation", "QualityControlImage", "BurnedInAnnotation"),
        *("RescaleType", "LossyImageCompression", "PixelPresentation", "VolumetricProperties", "PatientPosition"),
    }
)
# Sequences that would make a multi-frame image of a slice.
_FRAMES = frozenset({"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"})
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_LONGEST = {"AE": 16, "CS": 16, "SH": 16}
_NEVER_IN_A_DATASET = 0x0008  # groups below hold commands, file meta and DICOMDIR


def mark_files(files: Mapping[str, bytes], patient: str) -> dict[str, bytes]:
    """Return the slices of a study with a mark in every place that can hold one. `patient` goes into the PatientID."""
    identity = _encode_once(make_identity(patient))
    return {
        f"{NAME_MARK}^Jane/{number:04d} {NAME_MARK}.dcm": _mark_file(content, identity, number)
        for number, content in enumerate(files.values())
    }


def make_identity(patient: str) -> Dataset:
    """Return every marked attribute: the same in all files of a study."""
    identity = Dataset()
    for tag, (representation, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 < _NEVER_IN_A_DATASET or not keyword or keyword in _TECHNIQUE | _FRAMES:
            continue
        value = _make_value(representation, tag)
        if value is not None:
            identity.add(DataElement(tag, representation, value))
    identity.PatientID = f"{MARK} {patient}"
    identity.StudyInstanceUID, identity.SeriesInstanceUID = f"{KNOWN_UID_MARK}1", f"{KNOWN_UID_MARK}2"
    _add_private(identity)
    identity.DataSetTrailingPadding = MARK.encode()
    return identity


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP that names the patient in names, comments and extra fields, and in files that are no slices."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.comment = f"{MARK} of the archive".encode()
        for name, content in (*files.items(), *_make_companions(next(iter(files.values())))):
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.comment = f"{MARK} of an entry".encode()
            entry.extra = b"\x77\x77\x08\x00" + f"{MARK}00".encode()
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


def _encode_once(identity: Dataset) -> Dataset:
    """Return the same attributes as bytes, which are written as they are: thousands of them go into each file."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, identity, implicit_vr=False, little_endian=True)
    return pydicom.dcmread(io.BytesIO(buffer.getvalue()), force=True)


def encode(dataset: Dataset) -> bytes:
    """Return a dataset as a file whose preamble is marked too."""
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return (f"{MARK} of the preamble ".encode() * 8)[:128] + buffer.getvalue()[128:]


def _mark_file(content: bytes, identity: Dataset, number: int) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.update(identity)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{UID_MARK}1.{number}")
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = f"{MARK}META"
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = UID(f"{UID_MARK}2"), f"{MARK} meta".encode() + b" "
    return encode(dataset)


def _make_value(representation: str, tag: int) -> object:
    """Return a value that is legal for its representation, or None for those that cannot tell much."""
    if representation in _TEXTS:
        return f"{MARK}{tag:08X}"[: _LONGEST.get(representation, 64)]
    made = {
        "UI": f"{UID_MARK}{tag}",
        "DA": DATE_MARK,
        "DT": f"{DATE_MARK}120000",
        "SQ": Sequence([_make_item(tag)]),
    }
    return made.get(representation)


def _make_item(tag: int) -> Dataset:
    item = Dataset()
    item.PersonName = f"{MARK}ITEM^{tag:08X}"
    item.CodeMeaning = f"{MARK}ITEM {tag:08X}"
    item.is_undefined_length_sequence_item = tag % 2 == 0
    return item


def _add_private(identity: Dataset) -> None:
    block = identity.private_block(0x0009, f"{MARK} CREATOR", create=True)
    block.add_new(0x01, "LO", f"{MARK} private text")
    block.add_new(0x02, "OB", f"{MARK} private bytes ".encode())
    block.add_new(0x03, "SQ", Sequence([_make_item(0)]))


def _make_companions(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield files that lie beside the slices of a real study: a report, a picture, notes, a list of the files."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.BurnedInAnnotation = "YES"
    yield f"{NAME_MARK}/capture", encode(dataset)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    dataset.Modality = f"{MARK} SR"
    del dataset.PixelData
    yield f"{NAME_MARK}/report", encode(dataset)
    yield f"{NAME_MARK}.txt", f"{MARK} was here".encode()
    yield "DICOMDIR", encode(dataset)
