"""A light look at the body: is there a chest in it, and how much of the lungs. No model, well under a second.

A preflight on a coarse copy of the volume: it must not let an abdomen or half a chest reach a GPU. The segmentation
stage judges again with organ masks. Method: the body is the largest piece of tissue. What it encloses in a slice is a
room; a room at the side of the image, or at the padding around a round field of view, is outside unless it is filled
as lungs are. Rooms that hold gas (trachea, stomach, bowel) are told from lungs by their density. The two largest
pieces in 3-D of what is left are the lungs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from shared.problems import Problem, ProblemCode
from workers.intake.choice.ranking import NEEDED_LUNG_MM, make_coverage_problem
from workers.intake.notices import Notice

_COARSE_MM = 3.5
_AIR_HU = -400
_BODY_HU = -500
_PADDING_HU = -1100  # below air: what scanners write outside of a round field of view
_GAS_HU = -930  # gas in trachea and bowel is -940 to -1000; a good part even of an emphysematous lung is denser
_SLICE_AREA_MM2 = 735.0  # 1,500 pixels of 0.7 mm, the predecessor's limit made independent of the pixel size
_SMALLEST_LUNGS_ML = 300.0
_SMALLEST_SHARE = 0.35
_UNDOUBTED_LUNGS_ML = 1000.0
_SECOND_LUNG_SHARE = 0.1

_LARGE_ROOM_MM2 = 6000.0
_AIRWAY_MM2 = 800.0
_DENSE_SHARE = 0.5
_DENSE_SHARE_LARGE = 0.35  # severe emphysema; in a large room full of gas only the rim is denser
_DENSE_SHARE_AT_EDGE = 0.8
_CONTACT_AT_EDGE = 2.0  # of the root of the area: a lung cut in half has 1.6, a mattress or a corner 2.8 and more

_CHEST_WALL_PIXELS = 3
_CUT_SHARE = 0.05

_FEWEST_SPARSE = 3
_SPARSE_AREA_SHARE = 0.5

_IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
_IN_PLANE[1] = [[False, True, False], [True, True, True], [False, True, False]]

Hu = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class LungFindings:
    """What was seen.

    `length_mm` is the longest run of slices that show lung, `share` its part of all slices. `body_share` and
    `air_share` are parts of all voxels. `touches_bottom` and `touches_top`: the lungs reach the last slice towards
    feet or head. `cut_share` is the part of the slices with lung in which lung lies within 10 mm of the edge of the
    field of view, so that the chest wall or more is missing.
    """

    volume_ml: float
    length_mm: float
    scan_mm: float
    share: float
    body_share: float
    air_share: float
    touches_bottom: bool
    touches_top: bool
    cut_share: float

    @property
    def is_undoubted(self) -> bool:
        """Whether these are whole lungs, however small their share of a long scan is."""
        return self.volume_ml >= _UNDOUBTED_LUNGS_ML and self.length_mm >= NEEDED_LUNG_MM

    def describe(self) -> dict[str, float | bool]:
        """Return the findings as JSON values."""
        return {
            "lung_volume_ml": round(self.volume_ml, 1),
            "lung_length_mm": round(self.length_mm, 1),
            "scan_length_mm": round(self.scan_mm, 1),
            "lung_share": round(self.share, 3),
            "body_share": round(self.body_share, 3),
            "air_share": round(self.air_share, 3),
        }


def measure_lungs(hu: Hu, spacing_zyx_mm: tuple[float, float, float], *, is_head_last: bool = True) -> LungFindings:
    """Return what can be seen of the lungs in a volume, (z, y, x) int16 HU.

    `is_head_last` says that z grows towards the head, as it does when the z component of the normal is positive.
    """
    coarse, voxel_mm = _coarsen(hu, spacing_zyx_mm)
    seen = _look(coarse, voxel_mm[1] * voxel_mm[2])
    lungs = _keep_two_pieces(seen.lung_like)
    area_mm2 = lungs.sum(axis=(1, 2)) * voxel_mm[1] * voxel_mm[2]
    shows_lung = np.asarray(area_mm2 > _SLICE_AREA_MM2)
    run = _longest_run(shows_lung)
    is_cut = np.asarray((lungs & _widen(seen.edge)).any(axis=(1, 2)))
    ends = (bool(shows_lung[0]), bool(shows_lung[-1]))
    return LungFindings(
        volume_ml=float(area_mm2.sum() * voxel_mm[0] / 1000),
        length_mm=min(run * voxel_mm[0], hu.shape[0] * spacing_zyx_mm[0]),
        scan_mm=hu.shape[0] * spacing_zyx_mm[0],
        share=run / len(shows_lung),
        body_share=float(seen.body.mean()),
        air_share=float((coarse < _AIR_HU).mean()),
        touches_bottom=ends[0] if is_head_last else ends[1],
        touches_top=ends[1] if is_head_last else ends[0],
        cut_share=float(is_cut[shows_lung].mean()) if run else 0.0,
    )


def find_sparse_veto(planes: Hu, spacing_yx_mm: tuple[float, float], step_mm: float) -> Problem | None:
    """Return the problem of a stack that surely shows no lungs, judged by some of its slices; None in any doubt.

    `planes` are (k, y, x) int16 HU, some `step_mm` apart over the whole stack. A stack is vetoed only when not even
    half of the area that a slice of lung must have looks like lung in any of them.
    """
    coarse, voxel_mm = _coarsen(planes, (_COARSE_MM, *spacing_yx_mm))
    if len(planes) < _FEWEST_SPARSE:
        return None
    pixel_mm2 = voxel_mm[1] * voxel_mm[2]
    area_mm2 = float(_look(coarse, pixel_mm2).lung_like.sum(axis=(1, 2)).max() * pixel_mm2)
    if area_mm2 >= _SPARSE_AREA_SHARE * _SLICE_AREA_MM2:
        return None
    detail = f"None of {len(planes)} slices, {step_mm:.0f} mm apart, shows lung."
    facts = {"lung_volume_ml": 0.0, "lung_length_mm": 0.0, "scan_length_mm": round(len(planes) * step_mm, 1)}
    return Problem(ProblemCode.NO_LUNGS_FOUND, detail, {**facts})


def pick_sparse(heights_mm: Sequence[float], step_mm: float = 10.0) -> tuple[int, ...]:
    """Return the indices of slices that are some `step_mm` apart, for `find_sparse_veto`; heights ascend."""
    picked: list[int] = []
    for index, height in enumerate(heights_mm):
        if not picked or height - heights_mm[picked[-1]] >= step_mm:
            picked.append(index)
    return tuple(picked)


def find_lung_problem(findings: LungFindings) -> Problem | None:
    """Return why a volume must not be read as a chest, or None.

    The predecessor refuses lungs that take less than 35 % of the slices. Lungs that are whole beyond doubt are
    accepted here, with a notice, as its rule would refuse every scan from neck to pelvis.
    """
    if findings.volume_ml < _SMALLEST_LUNGS_ML:
        detail = f"{findings.volume_ml:.0f} ml of lung were found; a chest has at least {_SMALLEST_LUNGS_ML:.0f} ml."
        return Problem(ProblemCode.NO_LUNGS_FOUND, detail, {**findings.describe()})
    if findings.share < _SMALLEST_SHARE and not findings.is_undoubted:
        detail = f"Lungs take {findings.share:.0%} of the slices; at least {_SMALLEST_SHARE:.0%} are needed."
        return Problem(ProblemCode.NO_LUNGS_FOUND, detail, {**findings.describe()})
    if findings.length_mm < NEEDED_LUNG_MM:
        return make_coverage_problem(findings.length_mm, "lungs cut off or too short")
    return None


def find_lung_notices(findings: LungFindings) -> tuple[Notice, ...]:
    """Return what a reader should know of the coverage."""
    notices = []
    if findings.touches_bottom or findings.touches_top:
        facts = {"at_bottom": findings.touches_bottom, "at_top": findings.touches_top}
        notices.append(Notice("lungs_cut_off", {**facts, **findings.describe()}))
    if findings.share < _SMALLEST_SHARE and findings.is_undoubted:
        notices.append(Notice("lungs_small_share", {**findings.describe()}))
    if findings.cut_share > _CUT_SHARE:
        notices.append(Notice("fov_cut_off", {"share_of_slices": round(findings.cut_share, 3)}))
    return tuple(notices)


@dataclass(frozen=True)
class _Seen:
    """Masks of a coarse volume: the body with all it encloses, what is like lung, the edge of the field of view."""

    body: Mask
    lung_like: Mask
    edge: Mask


def _coarsen(hu: Hu, spacing_zyx_mm: tuple[float, float, float]) -> tuple[Hu, list[float]]:
    """Return every n-th voxel, so that they are some 3.5 mm apart, and their size."""
    steps = [max(1, round(_COARSE_MM / spacing)) for spacing in spacing_zyx_mm]
    starts = [step // 2 if size > step else 0 for size, step in zip(hu.shape, steps, strict=True)]
    coarse = hu[tuple(slice(start, None, step) for start, step in zip(starts, steps, strict=True))]
    return np.ascontiguousarray(coarse), [spacing * step for spacing, step in zip(spacing_zyx_mm, steps, strict=True)]


def _look(coarse: Hu, pixel_mm2: float) -> _Seen:
    tissue = _find_largest(open_in_plane(coarse > _BODY_HU))  # opening parts the thin table from it
    padding = coarse < _PADDING_HU
    edge = _find_edge(padding)
    air = (coarse < _AIR_HU) & ~padding
    gas = air & (coarse <= _GAS_HU)
    lung_like, outside = _find_rooms(tissue | padding, air, gas, edge, pixel_mm2)
    lung_like &= ~_find_airways(gas & lung_like, pixel_mm2)
    return _Seen(tissue | ~outside, lung_like, edge)


def _find_rooms(walls: Mask, air: Mask, gas: Mask, edge: Mask, pixel_mm2: float) -> tuple[Mask, Mask]:
    """Return the air in rooms that are filled like lungs, and all that lies outside of the body."""
    rooms, _ = ndimage.label(~walls, _IN_PLANE)
    is_lung_like, is_outside = _judge_rooms(rooms, air, gas, edge, pixel_mm2)
    return air & _select(rooms, is_lung_like), _select(rooms, is_outside)


def _judge_rooms(rooms: Labels, air: Mask, gas: Mask, edge: Mask, pixel_mm2: float) -> tuple[Mask, Mask]:
    """Return of each room whether it is filled like lungs, and whether it is outside. Room 0 is tissue and padding."""
    sizes, contacts, air_sizes, gas_sizes = (_count_labels(rooms, within) for within in (None, edge, air, gas))
    dense_shares = 1 - gas_sizes / np.maximum(air_sizes, 1)
    is_at_edge = contacts > 0
    needed = np.where(air_sizes * pixel_mm2 > _LARGE_ROOM_MM2, _DENSE_SHARE_LARGE, _DENSE_SHARE)
    is_lung_like = dense_shares >= np.where(is_at_edge, _DENSE_SHARE_AT_EDGE, needed)
    is_lung_like &= (air_sizes > 0) & (contacts < _CONTACT_AT_EDGE * np.sqrt(sizes))
    is_outside = is_at_edge & ~is_lung_like
    is_lung_like[0], is_outside[0] = False, True
    return is_lung_like, is_outside


def _find_edge(padding: Mask) -> Mask:
    """Return the pixels at the sides of the image and those beside the padding."""
    framed = np.pad(padding, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    return _join(_shift_in_plane(framed)) & ~padding


def _widen(edge: Mask) -> Mask:
    """Return the pixels within the thickness of a thin chest wall of the edge."""
    for _ in range(_CHEST_WALL_PIXELS):
        edge = _join(_shift_in_plane(np.pad(edge, ((0, 0), (1, 1), (1, 1)))))
    return edge


def _find_airways(gas: Mask, pixel_mm2: float) -> Mask:
    """Return solid areas of gas that are no larger than a trachea."""
    labels, sizes = _label_pieces(open_in_plane(gas), _IN_PLANE)
    is_airway = sizes * pixel_mm2 < _AIRWAY_MM2
    is_airway[0] = False
    return _select(labels, is_airway)


def _find_largest(mask: Mask) -> Mask:
    labels, sizes = _label_pieces(mask)
    return np.asarray(labels == np.argmax(sizes), dtype=bool) if sizes.any() else mask


def _keep_two_pieces(mask: Mask) -> Mask:
    """Return the two largest pieces, the second only when it may be a lung beside the first."""
    labels, sizes = _label_pieces(mask)
    first, second = np.argsort(sizes)[:-3:-1] if len(sizes) > 1 else (0, 0)
    is_lung = np.zeros(len(sizes), dtype=bool)
    is_lung[first] = True
    is_lung[second] |= sizes[second] >= _SECOND_LUNG_SHARE * sizes[first]
    is_lung[0] = False
    return _select(labels, is_lung)


def open_in_plane(mask: Mask) -> Mask:
    """Return what a cross of five pixels can cover in each slice, as `binary_opening` does, ten times as fast."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    centres = np.zeros_like(padded)
    centre, *others = _shift_in_plane(padded)
    kept = centres[:, 1:-1, 1:-1]
    kept[:] = centre
    for other in others:
        kept &= other
    return _join(_shift_in_plane(centres))


def _join(masks: Sequence[Mask]) -> Mask:
    """Return what is in any of the masks."""
    joined = masks[0].copy()
    for mask in masks[1:]:
        joined |= mask
    return joined


def _shift_in_plane(padded: Mask) -> tuple[Mask, ...]:
    """Return the unpadded views of a mask and of its four neighbours in the plane."""
    return (
        padded[:, 1:-1, 1:-1],
        padded[:, :-2, 1:-1],
        padded[:, 2:, 1:-1],
        padded[:, 1:-1, :-2],
        padded[:, 1:-1, 2:],
    )


def _label_pieces(mask: Mask, structure: Mask | None = None) -> tuple[Labels, Labels]:
    """Return the pieces of a mask, in 3-D or as the structure says, and their sizes; label 0 is outside, of size 0."""
    labels, _ = ndimage.label(mask, structure)
    sizes = _count_labels(labels)
    sizes[0] = 0
    return labels, sizes


def _count_labels(labels: Labels, within: Mask | None = None) -> Labels:
    """Return how many pixels each label has. Slice by slice, as NumPy copies labels to 64 bits to count them."""
    sizes = np.zeros(int(labels.max()) + 1, dtype=np.intp)
    for z, plane in enumerate(labels):
        counts = np.bincount(plane.ravel() if within is None else plane[within[z]])
        sizes[: len(counts)] += counts
    return sizes


def _select(labels: Labels, is_wanted: Mask) -> Mask:
    """Return where the wanted labels are; slice by slice, as NumPy copies labels to 64 bits to look them up."""
    selected = np.empty(labels.shape, dtype=bool)
    for plane, out in zip(labels, selected, strict=True):
        out[:] = is_wanted[plane]
    return selected


def _longest_run(flags: Mask) -> int:
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest
