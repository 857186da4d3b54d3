"""A picture of a scan with the outlines of its organs: three axial planes, a coronal and a sagittal one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from workers.renderings.pictures import (
    AXIAL,
    BLACK,
    CORONAL,
    GREY,
    SAGITTAL,
    TEXT_PX,
    WHITE,
    Colour,
    View,
    draw_scan,
    encode_png,
    find_edges,
    frame,
    load_ink,
    stretch,
)
from workers.volume import Volume
from workers.volume.geometry import Triple
from workers.volume.pose import find_pose

Labels = npt.NDArray[np.uint8]

_SIDE_PX = 380
_CAPTION_PX = 22
_LINE_PX = 18
_AXIAL_SHARES = (0.75, 0.5, 0.25)
"""Heights of the axial planes between the lowest and the highest slice of the lungs, the highest first."""

# Structures of one kind share a colour and a line of the legend: nobody tells 24 ribs apart by colour.
_KINDS = ((re.compile(r"rib_(left|right)_\d+"), "ribs"), (re.compile(r"vertebrae_\w+"), "vertebrae"))
_LUNG = re.compile(r"lung_\w+")

_PALETTE: Sequence[Colour] = (
    (230, 60, 60), (60, 180, 255), (255, 215, 0), (90, 220, 90), (255, 130, 220), (255, 150, 40), (0, 230, 220),
    (180, 130, 255), (190, 240, 60), (255, 170, 150), (120, 160, 255), (220, 190, 120), (0, 190, 140), (255, 80, 150),
    (160, 220, 255), (200, 140, 90), (240, 240, 150), (150, 150, 220), (110, 200, 60), (255, 200, 230),
)  # fmt: skip
"""As many colours as stay apart on grey; what takes the least room in the picture goes without."""


@dataclass(frozen=True)
class _Plane:
    view: View
    index: int


@dataclass(frozen=True)
class _Upright:
    """A scan and its labels, whose axes run to head, back and left."""

    hu: npt.NDArray[np.int16]
    labels: Labels
    spacing_mm: Triple


def render_outlines(volume: Volume, labels: Labels, names: Mapping[int, str], caption: str) -> bytes:
    """Return a PNG. `labels` are (z, y, x) on the volume's grid; `caption` stands below."""
    upright, kinds = _turn(volume, labels), _group(names)
    planes = _choose_planes(upright, names)
    colours = _choose_colours(upright, planes, kinds)
    paint = np.zeros((256, 3), np.uint8)
    for label, kind in kinds.items():
        paint[label] = colours.get(kind, BLACK)
    pictures = [_draw(upright, plane, paint) for plane in planes]
    return encode_png(_compose([*pictures, _draw_legend(colours)], caption))


def _turn(volume: Volume, labels: Labels) -> _Upright:
    geometry = volume.geometry
    pose = find_pose(geometry.row_direction, geometry.column_direction)
    return _Upright(pose.turn(volume.hu), pose.turn(labels), pose.turn_spacing(geometry.spacing_zyx_mm))


def _group(names: Mapping[int, str]) -> dict[int, str]:
    """Return what each label is called in the legend."""
    return {
        label: next((kind for pattern, kind in _KINDS if pattern.fullmatch(name)), name.replace("_", " "))
        for label, name in names.items()
    }


def _choose_planes(upright: _Upright, names: Mapping[int, str]) -> list[_Plane]:
    """Return planes through the lungs; where there are none, through the organs; without any, through the middle."""
    lungs = np.zeros(256, np.bool_)
    lungs[[label for label, name in names.items() if _LUNG.fullmatch(name)]] = True
    ends = _find_ends(lungs[upright.labels]) or _find_ends(upright.labels > 0)
    (low, high), (front, back), (right, left) = ends or [(0, size - 1) for size in upright.labels.shape]
    axial = [_Plane(AXIAL, round(low + share * (high - low))) for share in _AXIAL_SHARES]
    # A quarter across the lungs lies in one of them; the middle would be the spine.
    return [*axial, _Plane(CORONAL, (front + back) // 2), _Plane(SAGITTAL, right + (left - right) // 4)]


def _find_ends(is_in: npt.NDArray[np.bool_]) -> list[tuple[int, int]] | None:
    """Return the first and the last index along each axis where something is; None where nothing is."""
    if not is_in.any():
        return None
    places = (np.flatnonzero(is_in.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return [(int(place[0]), int(place[-1])) for place in places]


def _choose_colours(upright: _Upright, planes: Sequence[_Plane], kinds: Mapping[int, str]) -> dict[str, Colour]:
    """Return a colour for each kind of organ that the planes show, those that take most room first."""
    areas: dict[str, int] = {}
    for plane in planes:
        counts = np.bincount(plane.view.cut(upright.labels, plane.index).ravel(), minlength=256)
        for label, kind in kinds.items():
            areas[kind] = areas.get(kind, 0) + int(counts[label])
    shown = sorted((kind for kind, area in areas.items() if area), key=lambda kind: (-areas[kind], kind))
    return dict(zip(shown, _PALETTE, strict=False))


def _draw(upright: _Upright, plane: _Plane, paint: npt.NDArray[np.uint8]) -> Image.Image:
    view = plane.view
    size = view.fit(upright.hu.shape, upright.spacing_mm, _SIDE_PX)
    picture = np.asarray(draw_scan(view.cut(upright.hu, plane.index), size)).copy()
    labels = stretch(view.cut(upright.labels, plane.index), size)
    colours = paint[labels]
    is_outline = find_edges(labels) & colours.any(axis=2)
    picture[is_outline] = colours[is_outline]
    return frame(Image.fromarray(picture), view, _SIDE_PX)


def _draw_legend(colours: Mapping[str, Colour]) -> Image.Image:
    legend = Image.new("RGB", (_SIDE_PX, _SIDE_PX), BLACK)
    draw = ImageDraw.Draw(legend)
    for line, (kind, colour) in enumerate(colours.items()):
        top = 8 + line * _LINE_PX
        draw.rectangle((12, top + 2, 28, top + TEXT_PX), colour)
        draw.text((36, top), kind, WHITE, load_ink())
    if not colours:
        draw.text((12, 8), "no organ was found", WHITE, load_ink())
    return legend


def _compose(pictures: Sequence[Image.Image], caption: str) -> Image.Image:
    """Return two rows of three pictures, and a line below."""
    whole = Image.new("RGB", (3 * _SIDE_PX, 2 * _SIDE_PX + _CAPTION_PX), BLACK)
    for place, picture in enumerate(pictures):
        whole.paste(picture, (place % 3 * _SIDE_PX, place // 3 * _SIDE_PX))
    ImageDraw.Draw(whole).text((8, 2 * _SIDE_PX + 4), caption, GREY, load_ink())
    return whole
