"""NIfTI uploads: one 3-D volume in HU, turned to (z, y, x) in LPS, feet to head.

NIfTI affines lead to RAS. The predecessor read the array as stored, whatever its orientation; here the affine decides:
axes are permuted and flipped (never resampled) to the nearest LPS axes, so that the models see what they were made
for. A file without an orientation (both form codes 0) is taken as nibabel takes it, with the notice
`orientation_assumed`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.archive import ByteSource, ExpansionBudget
from workers.intake.dicom.pixels import HIGHEST_HU, LOWEST_HU
from workers.intake.limits import LARGEST_EXTENT_MM, LARGEST_FIELD_MM, LARGEST_SIDE, LARGEST_STEP_MM, IntakeLimits
from workers.intake.notices import Notice
from workers.volume import Geometry
from workers.volume.geometry import convert_lps_to_ras

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = zlib.MAX_WBITS | 16
_GZIP_STEP_BYTES = 65_536
_ORTHOGONAL = 1e-3
_LARGEST_SPACING_MM = 100.0


@dataclass(frozen=True)
class NiftiVolume:
    """A volume read from NIfTI: (z, y, x) int16 HU, LPS geometry."""

    hu: npt.NDArray[np.int16]
    geometry: Geometry
    notices: tuple[Notice, ...]


def read_nifti(source: ByteSource, limits: IntakeLimits, *, scratch: Path) -> NiftiVolume:
    """Read a .nii or .nii.gz. Raises InputProblem(NIFTI_UNREADABLE) or one of the archive's limits."""
    path = scratch / "upload.nii"
    _copy_expanded(source, path, ExpansionBudget(limits.archive_bytes))
    image = _open(path)
    _check_shape(image.shape, limits)
    _check_kind(image.get_data_dtype())  # type: ignore[no-untyped-call]  # nibabel has no types here
    affine = np.asarray(image.affine, dtype=np.float64)
    _check_affine(affine)
    try:
        stored = np.asanyarray(image.dataobj)
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise _unreadable("ends before its voxels do") from error
    hu, clipped = _to_hu(stored.reshape(image.shape[:3]))
    turned, lps_affine = turn_to_lps(hu, convert_lps_to_ras(affine))
    hu_zyx = np.ascontiguousarray(turned.transpose(2, 1, 0))
    geometry = _make_geometry(lps_affine)
    _check_extent(hu_zyx.shape, geometry)
    return NiftiVolume(hu_zyx, geometry, tuple(_tell(image, clipped)))


def turn_to_lps(
    array: npt.NDArray[np.int16], lps_affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """Permute and flip voxel axes so that the first runs nearest to L, the second to P, the third to S.

    `lps_affine` leads from voxel indices of `array` to LPS mm; the one returned does so for the returned array.
    """
    cosines = np.abs(lps_affine[:3, :3] / np.linalg.norm(lps_affine[:3, :3], axis=0))
    axes = list(max(permutations(range(3)), key=lambda order: cosines[range(3), order].sum()))
    turned = array.transpose(*axes)
    affine = lps_affine.copy()
    affine[:3, :3] = lps_affine[:3, axes]
    for axis in range(3):
        if affine[axis, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (turned.shape[axis] - 1)
            affine[:3, axis] *= -1
            turned = np.flip(turned, axis)
    return turned, affine


def _copy_expanded(source: ByteSource, path: Path, budget: ExpansionBudget) -> None:
    """Copy the upload to a scratch file, expanding gzip under the budget."""
    is_zipped = source.read_at(0, 2) == _GZIP_MAGIC
    with path.open("wb") as file:
        for piece in _gunzip(source, budget) if is_zipped else _iterate(source):
            file.write(piece)


def _iterate(source: ByteSource) -> Iterator[bytes]:
    for offset in range(0, source.size_bytes, MIB):
        yield source.read_at(offset, MIB)


def _gunzip(source: ByteSource, budget: ExpansionBudget) -> Iterator[bytes]:
    """Expand every member of a gzip file; what follows the last one is padding."""
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        for step in _iterate_steps(source):
            rest = step
            while rest:
                if inflater.eof:
                    if not rest.startswith(_GZIP_MAGIC[: len(rest)]):
                        return
                    inflater = zlib.decompressobj(_GZIP_WINDOW)
                expanded = inflater.decompress(rest, MIB)
                budget.spend(len(expanded))
                yield expanded
                rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    except zlib.error as error:
        raise _unreadable("has damaged gzip compression") from error
    if not inflater.eof:
        raise _unreadable("has truncated gzip compression")


def _iterate_steps(source: ByteSource) -> Iterator[bytes]:
    # Each end of a member copies the rest of its step: small steps keep many tiny members cheap.
    for piece in _iterate(source):
        for start in range(0, len(piece), _GZIP_STEP_BYTES):
            yield piece[start : start + _GZIP_STEP_BYTES]


def _list_refusals() -> tuple[type[Exception], ...]:
    """Return what nibabel raises about a file that it cannot read."""
    own = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
    )
    return (*own, OSError, ValueError, OverflowError)


def _open(path: Path) -> nibabel.Nifti1Image:
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        with suppress(*_list_refusals()):
            return kind.from_filename(path)
    raise _unreadable("has no valid header")


def _check_shape(shape: tuple[int, ...], limits: IntakeLimits) -> None:
    sides, others = shape[:3], shape[3:]
    if len(sides) != 3 or any(other != 1 for other in others):
        raise _unreadable(f"has the shape {'x'.join(map(str, shape))}; one 3-D volume is expected")
    # Stored values may be float64, and the copies before int16 need room.
    is_too_large = max(sides) > LARGEST_SIDE or int(np.prod(sides, dtype=np.int64)) * 4 > limits.volume_bytes
    if min(sides) < 1 or is_too_large:
        raise _unreadable(f"has the shape {'x'.join(map(str, shape))}, which is beyond the limits")


def _check_kind(kind: np.dtype[np.generic]) -> None:
    """Refuse colours and complex numbers before nibabel reads them: it cannot rescale colours."""
    if kind.kind not in "iuf":
        raise _unreadable(f"holds values of the kind {kind}, not numbers")


def _check_affine(affine: npt.NDArray[np.float64]) -> None:
    if not np.isfinite(affine).all():
        raise _unreadable("has an affine that is not finite")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((spacing > 0) & (spacing <= _LARGEST_SPACING_MM)).all():
        raise _unreadable(f"has the spacing {np.round(spacing, 4).tolist()} mm")
    cosines = affine[:3, :3] / spacing
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > _ORTHOGONAL:
        raise _unreadable("has axes that are not orthogonal")


def _check_extent(shape: tuple[int, ...], geometry: Geometry) -> None:
    spacing = geometry.spacing_zyx_mm
    z, y, x = (count * step for count, step in zip(shape, spacing, strict=True))
    if z > LARGEST_EXTENT_MM or max(y, x) > LARGEST_FIELD_MM or round(spacing[0], 3) > LARGEST_STEP_MM:
        raise _unreadable(f"is {x:.0f} x {y:.0f} x {z:.0f} mm large, its slices {spacing[0]:.3f} mm apart: no chest")


def _to_hu(stored: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.int16], int]:
    """Round to int16 plane by plane; return how many voxels did not fit."""
    if stored.dtype == np.int16:
        return np.asarray(stored), 0
    hu = np.empty(stored.shape, dtype=np.int16)
    clipped = 0
    for index in range(stored.shape[2]):
        plane = stored[:, :, index].astype(np.float64)
        if not np.isfinite(plane).all():
            raise _unreadable("holds values that are not finite")
        clipped += int(np.count_nonzero((plane < LOWEST_HU) | (plane > HIGHEST_HU)))
        hu[:, :, index] = np.clip(np.rint(plane), LOWEST_HU, HIGHEST_HU)
    return hu, clipped


def _make_geometry(affine: npt.NDArray[np.float64]) -> Geometry:
    """Return the geometry of voxels (x, y, z) that already run along L, P and S."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    row, column = affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]
    x, y, z = (float(length) for length in spacing)
    return Geometry(
        spacing_zyx_mm=(z, y, x),
        origin_lps_mm=_triple(affine[:3, 3]),
        row_direction=_triple(row),
        column_direction=_triple(column),
    )


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def _tell(image: nibabel.Nifti1Image, clipped: int) -> Iterator[Notice]:
    if int(image.header["qform_code"]) == 0 and int(image.header["sform_code"]) == 0:
        yield Notice("orientation_assumed")
    if clipped:
        yield Notice("hu_clipped", {"voxels": clipped})


def _unreadable(what: str) -> InputProblem:
    return InputProblem(ProblemCode.NIFTI_UNREADABLE, f"The NIfTI file {what}.")
