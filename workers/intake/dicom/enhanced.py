"""Enhanced multi-frame CT (PS3.3 A.38): position, orientation, spacing and rescale of each frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.byte_units import MIB
from workers.intake.dicom.attributes import clean_text
from workers.intake.dicom.header import PaddingRange, Placement, Technique
from workers.intake.dicom.parsing import is_derived_view, make_placement
from workers.intake.dicom.scanner import ElementBudget, Encoding
from workers.intake.dicom.tolerance import make_empty_dataset, read_dataset, tolerant_pydicom
from workers.intake.files import FileCode, FileRejected

if TYPE_CHECKING:
    import pydicom


_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # little and big endian
_LARGEST_HEADER_BYTES = 32 * MIB  # 20,000 frames have some 1 KiB each
_BYTES_PER_ELEMENT = 32


@dataclass(frozen=True)
class Frame:
    """One frame: where it lies and how it was made."""

    placement: Placement
    technique: Technique


def check_groups(header: bytes, budget: ElementBudget) -> None:
    """Refuse functional groups that are too many or too long, before pydicom builds an object for each of their items.

    That takes 50 microseconds an item, and deflated they cost next to nothing to send. Raises FileRejected.
    """
    items, most = sum(map(header.count, _ITEMS)), budget.most
    budget.spend(items + len(header) // _BYTES_PER_ELEMENT)
    if items > most or len(header) > _LARGEST_HEADER_BYTES:
        raise FileRejected(FileCode.HOSTILE_STRUCTURE, f"{items} items in {len(header)} bytes of functional groups")


def read_frames(
    elements: bytes, encoding: Encoding, technique: Technique, *, frames: int, padding: PaddingRange | None
) -> tuple[Frame, ...]:
    """Return the frames in stored order. `elements` are those up to the pixel data. Raises FileRejected."""
    with tolerant_pydicom("the functional groups cannot be read", FileCode.HOSTILE_STRUCTURE):
        dataset = read_dataset(elements, encoding)
        shared = _first(dataset, "SharedFunctionalGroupsSequence")
        groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        if len(groups) < frames:
            raise FileRejected(
                FileCode.MISSING_REQUIRED_TAGS,
                f"functional groups of {len(groups)} of {frames} frames",
                tags=("PerFrameFunctionalGroupsSequence",),
            )
        return tuple(_read_frames(groups[:frames], shared, technique, padding))


def _read_frames(
    groups: list[pydicom.Dataset], shared: pydicom.Dataset, technique: Technique, padding: PaddingRange | None
) -> Iterator[Frame]:
    for group in groups:
        transformation = _find(group, shared, "PixelValueTransformationSequence")
        measures = _find(group, shared, "PixelMeasuresSequence")
        placement = make_placement(
            position=_floats(_find(group, shared, "PlanePositionSequence"), "ImagePositionPatient"),
            orientation=_floats(_find(group, shared, "PlaneOrientationSequence"), "ImageOrientationPatient"),
            spacing=_floats(measures, "PixelSpacing"),
            slope=_float(transformation, "RescaleSlope"),
            intercept=_float(transformation, "RescaleIntercept"),
            padding=padding,
        )
        yield Frame(placement, _read_technique(group, shared, technique))


def _read_technique(group: pydicom.Dataset, shared: pydicom.Dataset, technique: Technique) -> Technique:
    """Return how one frame was made, as far as it says so, else what holds for all of them."""
    content = _find(group, shared, "FrameContentSequence")
    frame_type = _texts(_find(group, shared, "CTImageFrameTypeSequence"), "FrameType") or technique.image_type
    return replace(
        technique,
        image_type=frame_type,
        is_derived_view=is_derived_view(frame_type),
        kernel=_texts(_find(group, shared, "CTReconstructionSequence"), "ConvolutionKernel") or technique.kernel,
        thickness_mm=_length(_find(group, shared, "PixelMeasuresSequence"), "SliceThickness") or technique.thickness_mm,
        kilovolts=_length(_find(group, shared, "CTXRayDetailsSequence"), "KVP") or technique.kilovolts,
        acquisition=_whole(content, "FrameAcquisitionNumber"),
        temporal_position=_whole(content, "TemporalPositionIndex"),
        rescale_type=_text(_find(group, shared, "PixelValueTransformationSequence"), "RescaleType")
        or technique.rescale_type,
    )


def _find(group: pydicom.Dataset, shared: pydicom.Dataset, keyword: str) -> pydicom.Dataset:
    """Return a functional group of the frame, else the shared one."""
    return _first(group, keyword) or _first(shared, keyword)


def _first(dataset: pydicom.Dataset, keyword: str) -> pydicom.Dataset:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else make_empty_dataset()


def _floats(dataset: pydicom.Dataset, keyword: str) -> tuple[float, ...] | None:
    values = dataset.get(keyword)
    return None if values is None else tuple(float(value) for value in values)


def _float(dataset: pydicom.Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    return None if value is None else float(value)


def _length(dataset: pydicom.Dataset, keyword: str) -> float | None:
    value = _float(dataset, keyword)
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _whole(dataset: pydicom.Dataset, keyword: str) -> int | None:
    value = dataset.get(keyword)
    return None if value is None else int(value)


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    texts = _texts(dataset, keyword)
    return texts[0] if texts else ""


def _texts(dataset: pydicom.Dataset, keyword: str) -> tuple[str, ...] | None:
    value = dataset.get(keyword)
    if value is None:
        return None
    return tuple(clean_text(part) for part in ([value] if isinstance(value, str) else map(str, value)))
