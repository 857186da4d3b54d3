"""What intake knows of one image: a frozen record, valid once it exists. Nothing of the patient is kept."""

from __future__ import annotations

from dataclasses import dataclass

from workers.intake.dicom.descriptions import NOTHING_DESCRIBED, Described
from workers.intake.dicom.syntaxes import TransferSyntax

Vector = tuple[float, float, float]

PaddingRange = tuple[int, int]
"""The lowest and the highest stored value that is padding."""


@dataclass(frozen=True)
class PixelLayout:
    """How the stored values of an image are written (PS3.3 C.7.6.3).

    `offset` and `length` locate the value of PixelData in the file; `length` is None when it is encapsulated.
    `is_word_swapped` says that pixels of 8 bits lie in big-endian words, so each two have changed places.
    """

    syntax: TransferSyntax
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    offset: int
    length: int | None
    is_word_swapped: bool = False

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, decoded."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True)
class Identity:
    """Which study, series and instance an image says it belongs to; empty strings where it says nothing.

    `patient` is SHA-256 over the PatientID, `issued_patient` over the PatientID and its issuer; both are empty where
    there is no PatientID. They tell patients apart and never leave this process but to be made a pseudonym.
    """

    study_uid: str
    series_uid: str
    instance_uid: str
    frame_of_reference_uid: str
    patient: bytes
    issued_patient: bytes = b""
    sop_class_uid: str = ""


@dataclass(frozen=True)
class Technique:
    """How the image was made: all that artefacts and candidates may tell of it.

    `kernel` is None when the attribute is absent, and may have several values. `described` is what words of the
    descriptions say, and `instance_number` serves to tell phases apart, never to sort slices.
    """

    modality: str
    image_type: tuple[str, ...]
    manufacturer: str
    kernel: tuple[str, ...] | None
    filter_type: str
    body_part: str
    thickness_mm: float | None
    kilovolts: float | None
    acquisition: int | None
    temporal_position: int | None
    has_contrast: bool
    is_lossy: bool
    lossy_ratio: float | None
    has_burned_in_text: bool
    rescale_type: str
    is_derived_view: bool
    described: Described = NOTHING_DESCRIBED
    instance_number: int | None = None


@dataclass(frozen=True)
class Placement:
    """Where an image lies (LPS, mm) and how its stored values become HU.

    `row_direction` runs along a row (growing column), `column_direction` down a column (PS3.3 C.7.6.2.1.1).
    """

    position_mm: Vector
    row_direction: Vector
    column_direction: Vector
    spacing_yx_mm: tuple[float, float]
    slope: float
    intercept: float
    padding: PaddingRange | None


@dataclass(frozen=True)
class Image:
    """One frame of one file. `ordinal` names the file in the report.

    `crc32` is that of the whole file: it orders images that are otherwise alike, whatever their order in the archive.
    """

    ordinal: int
    frame: int
    file_bytes: int
    crc32: int
    identity: Identity
    technique: Technique
    placement: Placement
    pixels: PixelLayout

    @property
    def normal(self) -> Vector:
        """Row direction x column direction: the way in which slices are counted."""
        (a, b, c), (d, e, f) = self.placement.row_direction, self.placement.column_direction
        return (b * f - c * e, c * d - a * f, a * e - b * d)

    @property
    def height_mm(self) -> float:
        """Position along the normal."""
        return sum(a * b for a, b in zip(self.normal, self.placement.position_mm, strict=True))
