"""From the bytes of a file to images: what every image must have, and what sets a file aside."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workers.intake.dicom.attributes import Attributes
from workers.intake.dicom.descriptions import describe_texts
from workers.intake.dicom.header import Identity, PaddingRange, PixelLayout, Placement, Technique, Vector
from workers.intake.dicom.modalities import name_modality
from workers.intake.dicom.scanner import REPRESENTATIONS, ElementBudget, Elements, Encoding, scan
from workers.intake.dicom.syntaxes import DEFLATED_LITTLE, EXPLICIT_LITTLE, IMPLICIT_LITTLE, TransferSyntax, find_syntax
from workers.intake.dicom.tags import Tag
from workers.intake.files import FileCode, FileIgnored, FileRejected
from workers.intake.limits import LARGEST_SIDE, MOST_FRAMES

PREAMBLE_BYTES = 128
_MARK = b"DICM"
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
_META = Encoding(is_explicit=True, is_little=True)
_COSINE_TOLERANCE = 1e-3
_LARGEST_SPACING_MM = 100.0
_LARGEST_RESCALE = 1e6
_FARTHEST_MM = 1e5
_GREYSCALES = {"MONOCHROME1", "MONOCHROME2"}
_VIEWS = frozenset({
    "REFORMATTED", "PROJECTION IMAGE", "MIP", "MINIP", "MNIP", "MPR", "CSA MPR", "CPR", "VRT", "SSD", "RENDERED",
    "AVERAGE",
})  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """A scanned file: its elements, where they begin, and how they were found."""

    elements: Elements
    attributes: Attributes
    syntax: TransferSyntax
    start: int

    @property
    def has_preamble(self) -> bool:
        """Whether the file begins as PS3.10 wants it."""
        return self.start > 0


def looks_like_dicom(beginning: bytes) -> bool:
    """Whether the first bytes are those of a DICOM file, with or without the preamble."""
    return beginning[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == _MARK or _guess_bare_encoding(beginning) is not None


def find_deflated(content: bytes) -> int | None:
    """Return where a deflated dataset begins, or None when the dataset is not deflated."""
    if content[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != _MARK or DEFLATED_LITTLE.encode() not in content:
        return None
    start, attributes = _scan_meta(content)
    return start if attributes.text(Tag.TransferSyntaxUID) == DEFLATED_LITTLE else None


def scan_file(content: bytes, *, is_whole: bool, budget: ElementBudget | None = None) -> Dataset:
    """Find the elements of a file. Raises NeedsMore, FileRejected, or FileIgnored for a DICOMDIR."""
    if content[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == _MARK:
        start, meta = _scan_meta(content)
        if meta.text(Tag.MediaStorageSOPClassUID) == _DIRECTORY_CLASS:
            raise FileIgnored(FileCode.DICOMDIR, "a DICOMDIR lists files; the files themselves are read")
        syntax = find_syntax(meta.text(Tag.TransferSyntaxUID) or EXPLICIT_LITTLE)
        encoding = _correct_encoding(content[start : start + 8], syntax.encoding)
    else:
        start = 0
        encoding = _guess_bare_encoding(content) or _META
        syntax = find_syntax(EXPLICIT_LITTLE if encoding.is_explicit else IMPLICIT_LITTLE)
    elements = scan(content, start, encoding, is_whole=is_whole, budget=budget)
    return Dataset(elements, Attributes(elements), syntax, start)


def _scan_meta(content: bytes) -> tuple[int, Attributes]:
    """Read the file meta group, which lies within the first bytes; return where the dataset begins."""
    start = PREAMBLE_BYTES + len(_MARK)
    end = start
    while content[end : end + 2] == b"\x02\x00" and end + 12 <= len(content):
        is_long = content[end + 4 : end + 6] in {b"OB", b"UN", b"OW", b"UT"}
        length = int.from_bytes(content[end + 8 : end + 12] if is_long else content[end + 6 : end + 8], "little")
        end += (12 if is_long else 8) + length
    if end > len(content):
        raise FileRejected(FileCode.HOSTILE_STRUCTURE, "the file meta group runs beyond the file")
    elements = scan(content[:end], start, _META, is_whole=True)
    return end, Attributes(elements)


def _guess_bare_encoding(beginning: bytes) -> Encoding | None:
    """Tell the encoding of a file without preamble by its first element, which is of group 0008 in any image."""
    if beginning[:2] != b"\x08\x00" or len(beginning) < 8 or beginning[3] > 0x20:
        return None
    representation = beginning[4:6]
    if representation.isalpha() and representation.isupper():
        return Encoding(is_explicit=True, is_little=True)
    length = int.from_bytes(beginning[4:8], "little")
    return Encoding(is_explicit=False, is_little=True) if length < PREAMBLE_BYTES * 8 else None


def _correct_encoding(first: bytes, said: Encoding) -> Encoding:
    """Return how a dataset is written: some writers say implicit and write explicit, and other readers take it.

    Read as a length, two letters would make the first element longer than any of group 0008 that may come first.
    """
    is_explicit = said.is_explicit or (first[:2] == b"\x08\x00" and first[4:6] in REPRESENTATIONS)
    return replace(said, is_explicit=is_explicit)


def read_identity(attributes: Attributes) -> Identity:
    """Return the UIDs of a file."""
    patient, issuer = attributes.text(Tag.PatientID), attributes.text(Tag.IssuerOfPatientID)
    return Identity(
        study_uid=attributes.text(Tag.StudyInstanceUID),
        series_uid=attributes.text(Tag.SeriesInstanceUID),
        instance_uid=attributes.text(Tag.SOPInstanceUID),
        frame_of_reference_uid=attributes.text(Tag.FrameOfReferenceUID),
        patient=_digest_patient(patient),
        issued_patient=_digest_patient(patient, issuer) if issuer else b"",
        sop_class_uid=attributes.text(Tag.SOPClassUID),
    )


def _digest_patient(patient: str, issuer: str = "") -> bytes:
    return hashlib.sha256(f"{patient}\\{issuer}".encode()).digest() if patient else b""


def read_technique(attributes: Attributes, syntax: TransferSyntax) -> Technique:
    """Return how the image was made."""
    texts = (attributes.text(Tag.SeriesDescription), attributes.text(Tag.ProtocolName))
    image_type = tuple(value.upper() for value in attributes.texts(Tag.ImageType) or ())
    return Technique(
        modality=name_modality(attributes.text(Tag.Modality)),
        image_type=image_type,
        manufacturer=attributes.text(Tag.Manufacturer),
        kernel=attributes.texts(Tag.ConvolutionKernel),
        filter_type=attributes.text(Tag.FilterType),
        body_part=attributes.text(Tag.BodyPartExamined).upper(),
        thickness_mm=attributes.length(Tag.SliceThickness),
        kilovolts=attributes.length(Tag.KVP),
        acquisition=attributes.whole(Tag.AcquisitionNumber),
        temporal_position=attributes.whole(Tag.TemporalPositionIdentifier),
        has_contrast=bool(attributes.text(Tag.ContrastBolusAgent)),
        is_lossy=syntax.is_lossy or attributes.text(Tag.LossyImageCompression) == "01",
        lossy_ratio=attributes.length(Tag.LossyImageCompressionRatio),
        has_burned_in_text=attributes.text(Tag.BurnedInAnnotation).upper() == "YES",
        rescale_type=attributes.text(Tag.RescaleType),
        is_derived_view=is_derived_view(image_type),
        described=describe_texts(texts),
        instance_number=attributes.whole(Tag.InstanceNumber),
    )


def is_derived_view(image_type: tuple[str, ...]) -> bool:
    """Whether the values of ImageType or FrameType name another view of a scan than its slices."""
    return not _VIEWS.isdisjoint(image_type)


def check_is_wanted(attributes: Attributes, technique: Technique, *, has_pixels: bool) -> None:
    """Set files aside that are sound but no CT slices. Raises FileIgnored."""
    if technique.modality != "CT":
        raise FileIgnored(FileCode.WRONG_MODALITY, f"modality {_show(technique.modality)}, not CT")
    if attributes.text(Tag.SOPClassUID).startswith(_SECONDARY_CAPTURE_CLASS):
        raise FileIgnored(FileCode.SECONDARY_CAPTURE, "a secondary capture, not a slice of a scan")
    if not has_pixels:
        raise FileIgnored(FileCode.NOT_AN_IMAGE, "no pixel data")
    if "LOCALIZER" in technique.image_type:
        raise FileIgnored(FileCode.LOCALIZER, "a localiser")
    if attributes.text(Tag.QualityControlImage).upper() == "YES":
        raise FileIgnored(FileCode.QUALITY_CONTROL, "an image of a phantom for quality control")


def read_layout(dataset: Dataset, file_bytes: int) -> PixelLayout:
    """Return how the pixels are written. Raises FileRejected before anything of that size is allocated."""
    attributes, elements = dataset.attributes, dataset.elements
    rows, columns = _require_short(attributes, Tag.Rows), _require_short(attributes, Tag.Columns)
    frames = attributes.whole(Tag.NumberOfFrames) or 1
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE and 0 < frames <= MOST_FRAMES):
        raise FileRejected(FileCode.DIMENSIONS_EXCEED_LIMIT, f"{frames} frames of {rows} x {columns}")
    bits_allocated = _require_short(attributes, Tag.BitsAllocated)
    bits_stored = attributes.short(Tag.BitsStored) or bits_allocated
    photometric = attributes.text(Tag.PhotometricInterpretation).upper()
    if attributes.short(Tag.SamplesPerPixel) not in {1, None} or photometric not in _GREYSCALES:
        raise FileIgnored(FileCode.SECONDARY_CAPTURE, "a colour image")
    if bits_allocated not in {8, 16} or not 0 < bits_stored <= bits_allocated:
        raise FileRejected(FileCode.PIXELS_UNSUPPORTED, f"{bits_stored} bits stored in {bits_allocated}")
    is_word_swapped = bits_allocated == 8 and elements.has_pixel_words and not dataset.syntax.encoding.is_little
    if is_word_swapped and frames > 1 and rows * columns % 2:
        raise FileRejected(FileCode.PIXELS_UNSUPPORTED, "frames that begin in the middle of a word")
    if not dataset.syntax.is_readable:
        detail = f"transfer syntax {_show(dataset.syntax.name)}"
        raise FileRejected(FileCode.TRANSFER_SYNTAX_UNSUPPORTED, detail)
    assert elements.pixels_offset is not None
    layout = PixelLayout(
        syntax=dataset.syntax,
        rows=rows,
        columns=columns,
        frames=frames,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=attributes.short(Tag.HighBit) or bits_stored - 1,
        is_signed=attributes.short(Tag.PixelRepresentation) == 1,
        offset=elements.pixels_offset,
        length=elements.pixels_length,
        is_word_swapped=is_word_swapped,
    )
    _check_length(layout, file_bytes)
    return layout


def _check_length(layout: PixelLayout, file_bytes: int) -> None:
    if layout.syntax.is_native and layout.length is None:
        raise FileRejected(FileCode.UNDECODABLE, "compressed pixels in a transfer syntax without compression")
    there = min(file_bytes if layout.length is None else layout.length, file_bytes - layout.offset)
    if layout.syntax.is_native and there < layout.frame_bytes * layout.frames:
        detail = f"{there} of {layout.frame_bytes * layout.frames} bytes of pixels"
        raise FileRejected(FileCode.PIXELS_TRUNCATED, detail)
    if layout.length is not None and layout.length > file_bytes - layout.offset:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, f"{there} of {layout.length} bytes of pixels")


def read_placement(attributes: Attributes, *, is_signed: bool) -> Placement:
    """Return where a classic image lies and its rescale. Raises FileRejected naming every missing attribute."""
    return make_placement(
        position=attributes.numbers(Tag.ImagePositionPatient),
        orientation=attributes.numbers(Tag.ImageOrientationPatient),
        spacing=attributes.numbers(Tag.PixelSpacing),
        slope=_rescale(attributes, Tag.RescaleSlope),
        intercept=_rescale(attributes, Tag.RescaleIntercept),
        padding=read_padding(attributes, is_signed=is_signed),
    )


def read_padding(attributes: Attributes, *, is_signed: bool) -> PaddingRange | None:
    """Return the lowest and the highest stored value that is padding (PS3.3 C.7.5.1.1.2), or None."""
    value = attributes.short(Tag.PixelPaddingValue, is_signed=is_signed)
    limit = attributes.short(Tag.PixelPaddingRangeLimit, is_signed=is_signed)
    if value is None:
        return None
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def make_placement(
    *,
    position: Sequence[float] | None,
    orientation: Sequence[float] | None,
    spacing: Sequence[float] | None,
    slope: float | None,
    intercept: float | None,
    padding: PaddingRange | None,
) -> Placement:
    """Check and join what places one image. Raises FileRejected."""
    found = {
        "ImagePositionPatient": position if position and len(position) == 3 else None,
        "ImageOrientationPatient": orientation if orientation and len(orientation) == 6 else None,
        "PixelSpacing": spacing if spacing and len(spacing) == 2 else None,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
    }
    missing = tuple(name for name, value in found.items() if value is None)
    if missing:
        raise FileRejected(FileCode.MISSING_REQUIRED_TAGS, f"without {', '.join(missing)}", tags=missing)
    assert position
    assert orientation
    assert spacing
    assert slope is not None
    assert intercept is not None
    placement = Placement(
        position_mm=_vector(position),
        row_direction=_vector(orientation[:3]),
        column_direction=_vector(orientation[3:]),
        spacing_yx_mm=(spacing[0], spacing[1]),
        slope=slope,
        intercept=intercept,
        padding=padding,
    )
    _check_placement(placement)
    return placement


def _check_placement(placement: Placement) -> None:
    row, column = placement.row_direction, placement.column_direction
    is_orthonormal = (
        abs(math.hypot(*row) - 1) <= _COSINE_TOLERANCE
        and abs(math.hypot(*column) - 1) <= _COSINE_TOLERANCE
        and abs(sum(a * b for a, b in zip(row, column, strict=True))) <= _COSINE_TOLERANCE
    )
    if not is_orthonormal:
        raise FileRejected(FileCode.INVALID_GEOMETRY, "direction cosines are not unit and orthogonal")
    if not all(0 < spacing <= _LARGEST_SPACING_MM for spacing in placement.spacing_yx_mm):
        raise FileRejected(FileCode.INVALID_GEOMETRY, f"pixel spacing {placement.spacing_yx_mm} mm")
    if not all(abs(value) <= _FARTHEST_MM for value in placement.position_mm):
        raise FileRejected(FileCode.INVALID_GEOMETRY, "the position is not finite or far outside of any scanner")
    if not 0 < abs(placement.slope) <= _LARGEST_RESCALE or not abs(placement.intercept) <= _LARGEST_RESCALE:
        raise FileRejected(FileCode.INVALID_RESCALE, f"slope {placement.slope}, intercept {placement.intercept}")


def _rescale(attributes: Attributes, tag: Tag) -> float | None:
    """Return a rescale value; text that is no number counts as NaN, which is invalid, not missing."""
    if not attributes.text(tag):
        return None
    number = attributes.number(tag)
    return math.nan if number is None else number


def _require_short(attributes: Attributes, tag: Tag) -> int:
    value = attributes.short(tag)
    if value is None:
        raise FileRejected(FileCode.MISSING_REQUIRED_TAGS, f"without {tag.name}", tags=(tag.name,))
    return value


def _vector(values: Sequence[float]) -> Vector:
    x, y, z = values
    return (float(x), float(y), float(z))


def _show(text: str) -> str:
    """Return a word of the file as far as it is a plain one."""
    plain = "".join(character for character in text if character.isalnum() or character in " .,()[]-_")
    return plain[:64] or "none"
