"""From a stack to a volume: decodes each slice once into its place, then mends spacing and tilt where needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.dicom.header import Image
from workers.intake.dicom.pixels import convert_to_hu, decode_frame
from workers.intake.files import FileRejected
from workers.intake.notices import Notice
from workers.intake.resampling import resample_heights, shear_back
from workers.intake.spool import Spool
from workers.intake.stacks.geometry import (
    StackGeometry,
    describe_gaps,
    find_geometry_notices,
    find_geometry_problem,
    measure_stack,
)
from workers.intake.stacks.stack import Stack
from workers.volume import Geometry

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Assembled:
    """A volume, (z, y, x) int16 HU, its geometry, and the files that could not take part."""

    hu: npt.NDArray[np.int16]
    geometry: Geometry
    notices: tuple[Notice, ...]
    padding_voxels: int
    failures: tuple[tuple[Image, FileRejected], ...] = ()


@dataclass
class _Decoded:
    hu: npt.NDArray[np.int16]
    padding: int = 0
    clipped: int = 0
    failures: dict[int, FileRejected] = field(default_factory=dict)


def assemble(stack: Stack, spool: Spool, report: Progress) -> Assembled:
    """Decode a stack. Raises InputProblem when too many slices cannot be decoded."""
    decoded = _decode(stack.images, spool, report)
    images, hu = stack.images, decoded.hu
    failures = tuple((stack.images[index], error) for index, error in decoded.failures.items())
    if failures:
        kept = [index for index in range(len(images)) if index not in decoded.failures]
        images, hu = tuple(images[index] for index in kept), hu[kept]
    geometry = _measure_survivors(images, len(failures))
    notices = (*stack.notices, *find_geometry_notices(geometry), *_tell_counts(stack, decoded))
    if geometry.is_tilted:
        shear_back(hu, geometry, images[0].placement.spacing_yx_mm)
    if geometry.gaps or not geometry.is_uniform:
        hu = resample_heights(hu, geometry)
    return Assembled(hu, _make_geometry(images[0], geometry), notices, decoded.padding, failures)


def _decode(images: Sequence[Image], spool: Spool, report: Progress) -> _Decoded:
    rows, columns = images[0].pixels.rows, images[0].pixels.columns
    decoded = _Decoded(np.empty((len(images), rows, columns), dtype=np.int16))
    values = _PixelValues(spool)
    for index, image in enumerate(images):
        try:
            value, frame = values.read(image)
            stored = decode_frame(image.pixels, value, frame)
        except FileRejected as error:
            decoded.failures[index] = error
            continue
        counts = convert_to_hu(stored, image.placement, decoded.hu[index])
        decoded.padding += counts.padding
        decoded.clipped += counts.clipped
        report(index / len(images))
    return decoded


class _PixelValues:
    """Reads the value of PixelData; the one of a multi-frame file is kept for its next frame."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ordinal = -1
        self._value = b""

    def read(self, image: Image) -> tuple[bytes, int]:
        """Return the value that holds the image, and the number of its frame therein."""
        layout, start = image.pixels, image.spool_offset + image.pixels.offset
        if layout.syntax.is_native:
            return self._spool.read(start + image.frame * layout.frame_bytes, layout.frame_bytes), 0
        if image.ordinal != self._ordinal:
            self._value = self._spool.read(start, layout.length or image.file_bytes - layout.offset)
            self._ordinal = image.ordinal
        return self._value, image.frame


def _measure_survivors(images: Sequence[Image], failed: int) -> StackGeometry:
    if not images:
        raise InputProblem(ProblemCode.SERIES_INCOMPLETE, "None of the slices can be decoded.", unreadable=failed)
    geometry = measure_stack(images)
    problem = find_geometry_problem(geometry)
    if problem is not None and failed:
        detail = f"{failed} slices cannot be decoded, and the others leave gaps."
        raise InputProblem(ProblemCode.SERIES_INCOMPLETE, detail, unreadable=failed, **describe_gaps(geometry))
    return geometry


def _make_geometry(first: Image, geometry: StackGeometry) -> Geometry:
    spacing_y, spacing_x = first.placement.spacing_yx_mm
    return Geometry(
        spacing_zyx_mm=(geometry.spacing_mm, spacing_y, spacing_x),
        origin_lps_mm=first.placement.position_mm,
        row_direction=first.placement.row_direction,
        column_direction=first.placement.column_direction,
    )


def _tell_counts(stack: Stack, decoded: _Decoded) -> list[Notice]:
    technique = stack.technique
    notices = []
    if decoded.failures:
        notices.append(Notice("slices_undecodable", {"slices": len(decoded.failures)}))
    if decoded.clipped:
        notices.append(Notice("hu_clipped", {"voxels": decoded.clipped}))
    if technique.is_lossy:
        notices.append(Notice("lossy_compression", {"ratio": technique.lossy_ratio}))
    if technique.has_burned_in_text:
        notices.append(Notice("burned_in_annotation"))
    if technique.rescale_type not in {"", "HU"}:
        notices.append(Notice("rescale_type_not_hu"))
    if stack.images[0].pixels.bits_allocated == 8:
        notices.append(Notice("eight_bit_images"))
    if not stack.series_uid or not stack.study_uid:
        notices.append(Notice("missing_uids"))
    return notices
