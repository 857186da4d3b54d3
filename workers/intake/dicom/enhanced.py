"""Enhanced multi-frame CT (PS3.3 A.38): position, orientation, spacing and rescale of each frame."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pydicom
from pydicom.dataset import Dataset

from workers.intake.dicom.attributes import clean_text
from workers.intake.dicom.header import PaddingRange, Placement, Technique
from workers.intake.dicom.parsing import make_placement
from workers.intake.dicom.tolerance import tolerant_pydicom
from workers.intake.files import FileCode, FileRejected


@dataclass(frozen=True)
class Frame:
    """One frame: where it lies and how it was made."""

    placement: Placement
    technique: Technique


def read_frames(header: bytes, technique: Technique, *, frames: int, padding: PaddingRange | None) -> tuple[Frame, ...]:
    """Return the frames in stored order. `header` is the file up to its pixel data. Raises FileRejected."""
    with tolerant_pydicom("the functional groups cannot be read", FileCode.HOSTILE_STRUCTURE):
        dataset = pydicom.dcmread(io.BytesIO(header), stop_before_pixels=True)
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
    groups: list[Dataset], shared: Dataset, technique: Technique, padding: PaddingRange | None
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
        reconstruction = _find(group, shared, "CTReconstructionSequence")
        content = _find(group, shared, "FrameContentSequence")
        yield Frame(
            placement,
            replace(
                technique,
                kernel=_texts(reconstruction, "ConvolutionKernel") or technique.kernel,
                thickness_mm=_length(measures, "SliceThickness") or technique.thickness_mm,
                acquisition=_whole(content, "FrameAcquisitionNumber"),
                temporal_position=_whole(content, "TemporalPositionIndex"),
            ),
        )


def _find(group: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Return a functional group of the frame, else the shared one."""
    return _first(group, keyword) or _first(shared, keyword)


def _first(dataset: Dataset, keyword: str) -> Dataset:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else Dataset()


def _floats(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    values = dataset.get(keyword)
    return None if values is None else tuple(float(value) for value in values)


def _float(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    return None if value is None else float(value)


def _length(dataset: Dataset, keyword: str) -> float | None:
    value = _float(dataset, keyword)
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _whole(dataset: Dataset, keyword: str) -> int | None:
    value = dataset.get(keyword)
    return None if value is None else int(value)


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...] | None:
    value = dataset.get(keyword)
    if value is None:
        return None
    return tuple(clean_text(part) for part in ([value] if isinstance(value, str) else map(str, value)))
