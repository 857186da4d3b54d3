"""From a volume and the organs on its grid to the windows that fVLM looks at. Pure; axes are (z, y, x).

Both geometries cut out all organs with a margin, fill up to a least size, and window to [-1150, 350] HU as 0..1. Then
`product` stretches each organ to fill the window; `public`, which has resampled to one spacing before, takes a window
of that size about each. Organs whose windows are the same share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.ct_clip.preprocess import find_orientation
from workers.fvlm.configuration import GeometryKind, ImageShape, Preprocessing, Triple
from workers.fvlm.image_tower import find_tokens
from workers.fvlm.organs import ORGANS, LabelMap, Organ
from workers.volume import Volume

Box = tuple[slice, slice, slice]
"""Part of an array, along (z, y, x)."""

_LOWEST_HU, _WIDTH_HU = -1150.0, 1500.0
_DELTA_DIVISOR = 20
"""The product widens the box of an organ by a tenth, half of it at each end."""


@dataclass(frozen=True)
class Study:
    """Intensities 0..1 and organs (`Organ.label`) of the part of a volume that holds all organs; both (z, y, x)."""

    image: Tensor
    organs: Tensor
    box: Box
    """The part, on the grid that it was cut from."""


@dataclass(frozen=True)
class Window:
    """What one pass of the network sees (1, 1, z, y, x), and the tokens of each organ in it, bool (n,)."""

    image: Tensor
    token_masks: dict[Organ, Tensor]


def orient(volume: Volume, organs: LabelMap) -> tuple[npt.NDArray[np.int16], LabelMap, tuple[float, float, float]]:
    """Return views of a volume and its label map that grow to head, back and left, and their spacing."""
    orientation = find_orientation(volume.geometry)
    order = (0, 2, 1)  # it names (z, x, y)
    axes = tuple(orientation.own_axes[each] for each in order)
    steps = tuple(slice(None, None, -1 if orientation.is_turned[each] else 1) for each in order)
    z, y, x = (volume.geometry.spacing_zyx_mm[own] for own in axes)
    return volume.hu.transpose(axes)[steps], organs.transpose(axes)[steps], (z, y, x)


def prepare_study(
    hu: npt.NDArray[np.int16], organs: LabelMap, spacing_mm: Sequence[float], preprocessing: Preprocessing
) -> Study:
    """Return the part of an oriented volume that holds all organs. Raises InputProblem when there is no organ."""
    if preprocessing.geometry is GeometryKind.PUBLIC:
        lengths = plan_lengths(hu.shape, spacing_mm, preprocessing.spacing_mm)
        values, labels = resample(hu, organs, lengths)
    else:
        values, labels = (torch.from_numpy(np.ascontiguousarray(each)) for each in (hu, organs))
    box = find_roi(labels, preprocessing.margins)
    image = values[box].float().sub(_LOWEST_HU).div_(_WIDTH_HU).clamp_(0, 1)
    least = preprocessing.least_shape
    return Study(_fill_up(image, least), _fill_up(labels[box], least), box)


def plan_lengths(shape: Sequence[int], spacing_mm: Sequence[float], wanted_mm: Sequence[float]) -> Triple:
    """Return the length of each axis once resampled: from the spacing as a NIfTI header has it, in float32."""
    z, y, x = (
        max(1, int(length * (float(np.float32(found)) / wanted)))
        for length, found, wanted in zip(shape, spacing_mm, wanted_mm, strict=True)
    )
    return (z, y, x)


def resample(hu: npt.NDArray[np.int16], organs: LabelMap, lengths_zyx: Triple) -> tuple[Tensor, Tensor]:
    """Return HU in float32 and organs at other lengths of the axes."""
    lengths = lengths_zyx[::-1]
    # In the reference's order of axes, (x, y, z): rounding follows it.
    values = torch.from_numpy(np.ascontiguousarray(hu.T)).float()
    labels = torch.from_numpy(np.ascontiguousarray(organs.T))
    resized = functional.interpolate(values[None, None], lengths, mode="trilinear", align_corners=False)[0, 0]
    return resized.permute(2, 1, 0), functional.interpolate(labels[None, None], lengths)[0, 0].permute(2, 1, 0)


def find_roi(organs: Tensor, margins: Triple) -> Box:
    """Return the part that holds all organs, with a margin that is a voxel shorter at the far ends, as in training."""
    bounds = _find_bounds(organs != 0)
    if bounds is None:
        raise InputProblem(ProblemCode.NO_LUNGS_FOUND, "No lungs, heart or aorta were found.", lung_length_mm=0.0)
    z, y, x = (
        slice(max(0, low - margin), min(size, high + margin))
        for (low, high), margin, size in zip(bounds, margins, organs.shape, strict=True)
    )
    return (z, y, x)


def cut_windows(
    study: Study, preprocessing: Preprocessing, shape: ImageShape, organs: Sequence[Organ] = ORGANS
) -> list[Window]:
    """Return the windows of those organs that are there. Organs whose windows are the same share one."""
    windows: dict[tuple[tuple[int, int], ...], Window] = {}
    for organ in organs:
        mask = study.organs == organ.label
        bounds = _find_bounds(mask)
        if bounds is None:
            continue
        box = plan_box(bounds, study.image.shape, preprocessing)
        key = tuple((each.start, each.stop) for each in box)
        if key not in windows:
            image = _fit(study.image[box], preprocessing, shape, is_mask=False)
            windows[key] = Window(image[None, None].contiguous(), {})
        tokens = find_tokens(_fit(mask[box].to(torch.uint8), preprocessing, shape, is_mask=True), shape)
        if bool(tokens.any()):
            windows[key].token_masks[organ] = tokens
    return [window for window in windows.values() if window.token_masks]


def plan_box(bounds: Sequence[tuple[int, int]], shape: Sequence[int], preprocessing: Preprocessing) -> Box:
    """Return the part of a study that is an organ's window, from its first and last voxel along each axis."""
    along = _plan_about if preprocessing.geometry is GeometryKind.PUBLIC else _plan_around
    z, y, x = (
        along(low, high, size, wanted)
        for (low, high), size, wanted in zip(bounds, shape, preprocessing.window, strict=True)
    )
    return (z, y, x)


def _plan_around(low: int, high: int, size: int, _window: int) -> slice:
    delta = (high + 1 - low) // _DELTA_DIVISOR
    return slice(max(0, low - delta), min(size, high + 1 + delta))


def _plan_about(low: int, high: int, size: int, window: int) -> slice:
    length = max(window, high - low)  # an organ longer than the window loses its last voxel, as in training
    start = max(0, (low + high) // 2 - length // 2)
    stop = min(size, start + length)
    if stop - start < length:
        start = max(0, stop - length)
    return slice(start, stop)


def _fit(part: Tensor, preprocessing: Preprocessing, shape: ImageShape, *, is_mask: bool) -> Tensor:
    """Return a part as the network takes it: stretched to the window, or filled up at the end to whole patches."""
    if preprocessing.geometry is GeometryKind.PUBLIC:
        ends = [-size % patch for size, patch in zip(part.shape, shape.patch_size, strict=True)]
        return functional.pad(part, [each for end in reversed(ends) for each in (0, end)])
    if is_mask:
        return functional.interpolate(part[None, None], preprocessing.window)[0, 0]
    stretched = functional.interpolate(part[None, None], preprocessing.window, mode="trilinear", align_corners=False)
    return stretched[0, 0]


def _fill_up(part: Tensor, least_shape: Triple) -> Tensor:
    """Return a part with zeros about it up to the least size; longer axes stay."""
    missing = [max(0, least - size) for least, size in zip(least_shape, part.shape, strict=True)]
    padding = [each for lack in reversed(missing) for each in (lack // 2, lack - lack // 2)]
    return functional.pad(part, padding).contiguous()


def _find_bounds(mask: Tensor) -> list[tuple[int, int]] | None:
    """Return the first and last index of a mask along each axis; None when it is empty."""
    bounds = []
    for others in ((1, 2), (0, 2), (0, 1)):
        indices = mask.any(dim=others).nonzero()
        if not len(indices):
            return None
        bounds.append((int(indices[0]), int(indices[-1])))
    return bounds
