"""A picture of an anomaly map: the slices that stand out most, each beside the scan, with places in mm. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from workers.renderings.pictures import (
    AXIAL,
    BLACK,
    GREY,
    TEXT_PX,
    WHITE,
    Size,
    draw_scan,
    encode_png,
    frame,
    load_ink,
)
from workers.volume import Geometry, Volume
from workers.volume.geometry import Triple
from workers.volume.pose import Pose, find_pose

Reals = npt.NDArray[np.floating[Any]]

_SIDE_PX = 300
_PAIRS_A_ROW = 2
_MOST_SLICES = 6
_APART_MM = 8.0
_BAR_PX = 70
_LINE_PX = 17
_LEAST_RANGE_HU = 200.0
_OPACITY = 0.8

_HOT = np.array([(0, 0, 0), (150, 0, 60), (230, 60, 0), (255, 190, 0), (255, 255, 220)], np.float64)
"""Colours from no difference to the largest, at even steps."""


@dataclass(frozen=True)
class _Upright:
    """A scan and its map, whose axes run to head, back and left, and how they are stored."""

    hu: npt.NDArray[np.int16]
    map_hu: npt.NDArray[np.float16]
    spacing_mm: Triple
    pose: Pose
    geometry: Geometry

    def locate(self, place: Sequence[float]) -> Triple:
        """Return where indices (head, back, left) lie, LPS."""
        stored = [0.0, 0.0, 0.0]
        for axis, size, index, flip in zip(self.pose.axes, self.hu.shape, place, self.pose.is_reversed, strict=True):
            stored[axis] = size - 1 - index if flip else index
        x, y, z = (self.geometry.compute_affine_lps() @ (*stored[::-1], 1))[:3]
        return (float(x), float(y), float(z))

    def find(self, points_lps_mm: Reals) -> npt.NDArray[np.float64]:
        """Return the indices (head, back, left) of points (n, 3)."""
        to_voxels = np.linalg.inv(self.geometry.compute_affine_lps())
        stored = (points_lps_mm @ to_voxels[:3, :3].T + to_voxels[:3, 3])[:, ::-1]
        columns = [
            size - 1 - stored[:, axis] if flip else stored[:, axis]
            for axis, size, flip in zip(self.pose.axes, self.hu.shape, self.pose.is_reversed, strict=True)
        ]
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _Box:
    """A region in indices (head, back, left): its first and last corner, and its rank."""

    rank: int
    first: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]

    def reaches(self, index: int) -> bool:
        """Return whether an axial plane cuts it."""
        return bool(self.first[0] - 0.5 <= index <= self.last[0] + 0.5)


def render_montage(
    volume: Volume, map_hu: npt.NDArray[np.float16], regions: Sequence[Mapping[str, Any]], caption: str
) -> bytes:
    """Return a PNG. The map is (z, y, x) in HU on the volume's grid; regions are as the reconstruction tells them."""
    geometry = volume.geometry
    pose = find_pose(geometry.row_direction, geometry.column_direction)
    spacing_mm = pose.turn_spacing(geometry.spacing_zyx_mm)
    upright = _Upright(pose.turn(volume.hu), pose.turn(map_hu), spacing_mm, pose, geometry)
    boxes = [_make_box(upright, rank, region) for rank, region in enumerate(regions, start=1)]
    chosen = choose_slices(upright.map_hu, spacing_mm[0])
    largest_hu = _choose_range(upright.map_hu[chosen])
    pairs = [_draw_pair(upright, index, boxes, largest_hu) for index in chosen]
    return encode_png(_compose(pairs, _draw_bar(largest_hu), [*_list_regions(regions), caption]))


def choose_slices(map_hu: npt.NDArray[np.float16], step_mm: float) -> list[int]:
    """Return the axial planes with the most difference, some mm apart, from head to feet."""
    sums = [float(np.nansum(plane, dtype=np.float64)) for plane in map_hu]
    looked_at = [index for index, plane in enumerate(map_hu) if not np.isnan(plane).all()]
    chosen: list[int] = []
    for index in sorted(looked_at, key=lambda index: (-sums[index], index)):
        if len(chosen) < _MOST_SLICES and all(abs(index - other) * step_mm >= _APART_MM for other in chosen):
            chosen.append(index)
    return sorted(chosen, reverse=True)


def _choose_range(planes: npt.NDArray[np.float16]) -> float:
    """Return the difference that has the brightest colour: whole hundreds, over the largest that is shown."""
    largest = float(np.nanmax(planes)) if planes.size else 0.0
    return max(_LEAST_RANGE_HU, 100.0 * math.ceil(largest / 100))


def _make_box(upright: _Upright, rank: int, region: Mapping[str, Any]) -> _Box:
    places = upright.find(np.asarray(list(product(*zip(*_get_ends(region), strict=True))), np.float64))
    return _Box(rank, places.min(axis=0), places.max(axis=0))


def _get_ends(region: Mapping[str, Any]) -> tuple[Reals, Reals]:
    """Return the lowest and the highest corner; earlier reconstructions told only a centre, weighted by difference."""
    if box := region.get("box_lps_mm"):
        return np.asarray(box["low"]), np.asarray(box["high"])
    centre, half = np.asarray(region["centre_lps_mm"]), np.asarray(region["extent_lps_mm"]) / 2
    return centre - half, centre + half


def _draw_pair(upright: _Upright, index: int, boxes: Sequence[_Box], largest_hu: float) -> Image.Image:
    """Return a plane of the scan and beside it the same plane under the map."""
    size = AXIAL.fit(upright.hu.shape, upright.spacing_mm, _SIDE_PX)
    scan = draw_scan(AXIAL.cut(upright.hu, index), size)
    covered = _cover(scan, AXIAL.cut(upright.map_hu, index), size, largest_hu)
    _mark(covered, [box for box in boxes if box.reaches(index)], upright.hu.shape)
    pair = Image.new("RGB", (2 * _SIDE_PX, _SIDE_PX), BLACK)
    for place, picture in enumerate((scan, covered)):
        pair.paste(frame(picture, AXIAL, _SIDE_PX), (place * _SIDE_PX, 0))
    _, rows, columns = upright.hu.shape
    _, _, height_mm = upright.locate((index, (rows - 1) / 2, (columns - 1) / 2))
    ImageDraw.Draw(pair).text((6, 4), f"z {height_mm:.1f} mm", WHITE, load_ink(), stroke_width=1, stroke_fill=BLACK)
    return pair


def _cover(scan: Image.Image, plane_hu: npt.NDArray[np.float16], size: Size, largest_hu: float) -> Image.Image:
    share = np.clip(np.nan_to_num(plane_hu.astype(np.float32)) / largest_hu, 0, 1)
    fitted = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BILINEAR), np.float64)[..., None]
    opacity = _OPACITY * np.sqrt(fitted)
    mixed = np.asarray(scan, np.float64) * (1 - opacity) + _colour(fitted[..., 0]) * opacity
    return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))


def _colour(share: Reals) -> Reals:
    """Return the colour of each share (..., 3)."""
    steps = np.linspace(0, 1, len(_HOT))
    return np.stack([np.interp(share, steps, _HOT[:, channel]) for channel in range(3)], axis=-1)


def _mark(picture: Image.Image, boxes: Sequence[_Box], shape: tuple[int, ...]) -> None:
    """Draw a frame with its rank around each region, in place."""
    draw = ImageDraw.Draw(picture)
    down, across = picture.height / shape[1], picture.width / shape[2]
    for box in boxes:
        top, left = box.first[1] * down, box.first[2] * across
        bottom, right = (box.last[1] + 1) * down, (box.last[2] + 1) * across
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=(0, 255, 255))
        draw.text((right + 4, top), str(box.rank), (0, 255, 255), load_ink(), stroke_width=1, stroke_fill=BLACK)


def _draw_bar(largest_hu: float) -> Image.Image:
    """Return the colours with their HU."""
    bar = Image.new("RGB", (_BAR_PX, _SIDE_PX), BLACK)
    top, bottom = 30, _SIDE_PX - 20
    colours = np.rint(_colour(np.linspace(1, 0, bottom - top))).astype(np.uint8)
    bar.paste(Image.fromarray(np.repeat(colours[:, None], 16, axis=1)), (8, top))
    draw = ImageDraw.Draw(bar)
    draw.text((8, 6), "HU", WHITE, load_ink())
    for share in (0.0, 0.5, 1.0):
        height = bottom - share * (bottom - top)
        draw.text((30, height), f"{share * largest_hu:.0f}", WHITE, load_ink(), anchor="lm")
    return bar


def _list_regions(regions: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_describe(rank, region) for rank, region in enumerate(regions, start=1)] or ["No region stands out."]


def _describe(rank: int, region: Mapping[str, Any]) -> str:
    left, back, head = region["centre_lps_mm"]
    extent = " x ".join(f"{side:.0f}" for side in region["extent_lps_mm"])
    return (
        f"{rank}: centre L {left:.1f}, P {back:.1f}, S {head:.1f} mm; {extent} mm; "
        f"mean {region['mean_hu']:.0f} HU, score {region['score']:.2f}"
    )


def _compose(pairs: Sequence[Image.Image], bar: Image.Image, lines: Sequence[str]) -> Image.Image:
    """Return rows of pairs, the bar at their right, and lines of text below."""
    rows = max(1, -(-len(pairs) // _PAIRS_A_ROW))
    width, height = 2 * _SIDE_PX * _PAIRS_A_ROW, rows * _SIDE_PX
    whole = Image.new("RGB", (width + _BAR_PX, height + _LINE_PX * len(lines) + 8), BLACK)
    for place, pair in enumerate(pairs):
        whole.paste(pair, (place % _PAIRS_A_ROW * 2 * _SIDE_PX, place // _PAIRS_A_ROW * _SIDE_PX))
    whole.paste(bar, (width, 0))
    draw = ImageDraw.Draw(whole)
    for line, text in enumerate(lines):
        draw.text((8, height + 4 + line * _LINE_PX), text, GREY, load_ink(TEXT_PX))
    return whole
