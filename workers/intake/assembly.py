"""From a stack to a volume: decodes each slice once into its place, then mends spacing and tilt where needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.choice.policy import CHOICE_POLICY
from workers.intake.dicom.header import Image
from workers.intake.dicom.pixels import SliceCounts
from workers.intake.files import FileRejected
from workers.intake.notices import Notice
from workers.intake.progress import Progress
from workers.intake.resampling import count_even_slices, mend, needs_mending
from workers.intake.slices import SliceReader
from workers.intake.stacks.geometry import (
    StackGeometry,
    describe_gaps,
    find_geometry_notices,
    find_geometry_problem,
    measure_stack,
)
from workers.intake.stacks.stack import Stack
from workers.volume import Geometry


@dataclass(frozen=True)
class Assembled:
    """A volume, (z, y, x) int16 HU, its geometry, and the files that could not take part.

    Its slices are those of the files unless it `is_resampled`.
    """

    hu: npt.NDArray[np.int16]
    geometry: Geometry
    notices: tuple[Notice, ...]
    padding_voxels: int
    failures: tuple[tuple[Image, FileRejected], ...] = ()
    is_resampled: bool = False


@dataclass
class _Decoded:
    hu: npt.NDArray[np.int16]
    padding: int = 0
    clipped: int = 0
    failures: dict[int, FileRejected] = field(default_factory=dict)


def assemble(stack: Stack, slices: SliceReader, threads: int, report: Progress) -> Assembled:
    """Read a stack. Raises InputProblem when too many slices cannot be decoded."""
    decoded = _decode(stack.images, slices, threads, report)
    images, hu = stack.images, decoded.hu
    failures = tuple((stack.images[index], error) for index, error in decoded.failures.items())
    if failures:
        kept = [index for index in range(len(images)) if index not in decoded.failures]
        images, hu = tuple(images[index] for index in kept), hu[kept]
    geometry = _measure_survivors(images, len(failures))
    notices = (*stack.notices, *find_geometry_notices(geometry), *_tell_counts(stack, decoded))
    hu, origin_mm = mend(hu, geometry, images[0].placement)
    placed = replace(make_geometry(images[0], geometry), origin_lps_mm=origin_mm)
    return Assembled(hu, placed, notices, decoded.padding, failures, needs_mending(geometry))


def decode_planes(
    stack: Stack, indices: Sequence[int], slices: SliceReader, threads: int
) -> dict[int, npt.NDArray[np.int16]]:
    """Return the HU, (y, x) int16, of some images of a stack by index; those that cannot be decoded are left out."""
    decoded = _decode([stack.images[index] for index in indices], slices, threads, lambda _share: None)
    return {index: decoded.hu[place] for place, index in enumerate(indices) if place not in decoded.failures}


def _decode(images: Sequence[Image], slices: SliceReader, threads: int, report: Progress) -> _Decoded:
    """Read each image into its place of the volume, several at a time. Inflating and decoding let go of the GIL."""
    rows, columns = images[0].pixels.rows, images[0].pixels.columns
    decoded = _Decoded(np.empty((len(images), rows, columns), dtype=np.int16))

    def read(index: int) -> SliceCounts | FileRejected:
        try:
            return slices.read_hu(images[index], decoded.hu[index])
        except FileRejected as error:
            # A new one: the traceback of this one would keep the file's bytes, and a mapping, of every damaged slice.
            return FileRejected(error.code, error.detail, tags=error.tags)

    with _threads(threads) as pool:
        for index, counts in enumerate(pool.map(read, range(len(images)))):
            if isinstance(counts, FileRejected):
                decoded.failures[index] = counts
                continue
            decoded.padding += counts.padding
            decoded.clipped += counts.clipped
            report(index / len(images))
    return decoded


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Offer threads, and drop the work that is left when one of them fails."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="decode")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_survivors(images: Sequence[Image], failed: int) -> StackGeometry:
    if not images:
        raise InputProblem(ProblemCode.SERIES_INCOMPLETE, "None of the slices can be decoded.", unreadable=failed)
    geometry = measure_stack(images)
    problem = find_geometry_problem(geometry)
    if failed and len(images) < CHOICE_POLICY.fewest_slices:
        detail = f"{failed} slices cannot be decoded, and only {len(images)} can."
        raise InputProblem(ProblemCode.SERIES_INCOMPLETE, detail, unreadable=failed)
    if problem is not None and failed:
        detail = f"{failed} slices cannot be decoded, and the others leave gaps."
        raise InputProblem(ProblemCode.SERIES_INCOMPLETE, detail, unreadable=failed, **describe_gaps(geometry))
    return geometry


def plan_shape(stack: Stack, geometry: StackGeometry) -> tuple[int, int, int]:
    """Return the shape, (z, y, x), of the volume that a stack becomes when none of its slices is damaged."""
    return (count_even_slices(geometry), *stack.shape_yx)


def make_geometry(first: Image, geometry: StackGeometry) -> Geometry:
    """Return the geometry of the volume that a stack becomes; `first` is its lowest image."""
    spacing_y, spacing_x = first.placement.spacing_yx_mm
    return Geometry(
        spacing_zyx_mm=(geometry.spacing_mm, spacing_y, spacing_x),
        origin_lps_mm=first.placement.position_mm,
        row_direction=first.placement.row_direction,
        column_direction=first.placement.column_direction,
    )


def _tell_counts(stack: Stack, decoded: _Decoded) -> list[Notice]:
    techniques = [image.technique for image in stack.images]
    notices = []
    if decoded.failures:
        notices.append(Notice("slices_undecodable", {"slices": len(decoded.failures)}))
    if decoded.clipped:
        notices.append(Notice("hu_clipped", {"voxels": decoded.clipped}))
    if any(technique.is_lossy for technique in techniques):
        ratios = [technique.lossy_ratio for technique in techniques if technique.lossy_ratio is not None]
        notices.append(Notice("lossy_compression", {"ratio": max(ratios, default=None)}))
    if any(technique.has_burned_in_text for technique in techniques):
        notices.append(Notice("burned_in_annotation"))
    if any(technique.rescale_type not in {"", "HU"} for technique in techniques):
        notices.append(Notice("rescale_type_not_hu"))
    if any(image.pixels.bits_allocated == 8 for image in stack.images):
        notices.append(Notice("eight_bit_images"))
    if not stack.series_uid or not stack.study_uid:
        notices.append(Notice("missing_uids"))
    return notices
