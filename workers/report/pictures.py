"""Pictures of the report: single slices of the volume with a frame, and what other stages drew, as JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from workers.renderings.pictures import AXIAL, CORONAL, SAGITTAL, Size, View, frame
from workers.report.slices import Box, Point, Sight, Window
from workers.volume import Geometry, VolumeFile
from workers.volume.pose import Pose, find_pose

Reals = npt.NDArray[np.float64]

_SIDE_PX = 460
_MOST_ACROSS_PX = 1200
_QUALITY = 85
_FRAME = (255, 200, 0)
_VIEWS = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True)
class Seen:
    """A drawn slice: its index z in the volume, the height of its centre in the patient (z of LPS), and a JPEG."""

    index: int
    height_mm: float
    jpeg: bytes


def draw_sight(volume: VolumeFile, sight: Sight) -> Seen:
    """Return the stored slice that a place lies in, upright, with a frame around what is meant."""
    geometry, (_, rows, columns) = volume.geometry, volume.shape
    index = find_slice(volume, sight.point_lps_mm)
    pose = find_pose(geometry.row_direction, geometry.column_direction)
    view = _VIEWS[pose.axes.index(0)]
    plane = view.cut(pose.turn(volume.read_slices(index, index + 1)), 0)
    size = view.fit(_turn_shape(volume.shape, pose), pose.turn_spacing(geometry.spacing_zyx_mm), _SIDE_PX)
    picture = _draw(plane, size, sight.window)
    if sight.box is not None:
        _frame(picture, _place(sight.box, volume, pose, view), plane.shape)
    centre = geometry.compute_affine_lps() @ ((columns - 1) / 2, (rows - 1) / 2, index, 1)
    return Seen(index, float(centre[2]), encode_jpeg(frame(picture, view, _SIDE_PX)))


def find_slice(volume: VolumeFile, point_lps_mm: Point) -> int:
    """Return the index of the stored slice that a point lies in, or is nearest to."""
    found = _find(volume.geometry, np.asarray([point_lps_mm], np.float64))[0]
    return int(np.clip(round(float(found[0])), 0, volume.shape[0] - 1))


def shrink(path: Path) -> bytes:
    """Return a picture that another stage drew, small enough for a report."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.width > _MOST_ACROSS_PX:
        height = round(picture.height * _MOST_ACROSS_PX / picture.width)
        picture = picture.resize((_MOST_ACROSS_PX, height), Image.Resampling.LANCZOS)
    return encode_jpeg(picture)


def encode_jpeg(picture: Image.Image) -> bytes:
    """Return a picture as JPEG; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def _find(geometry: Geometry, points_lps_mm: Reals) -> Reals:
    """Return the stored indices (z, y, x) of points (n, 3)."""
    to_voxels = np.linalg.inv(geometry.compute_affine_lps())
    found: Reals = (points_lps_mm @ to_voxels[:3, :3].T + to_voxels[:3, 3])[:, ::-1]
    return found


def _turn_shape(shape_zyx: tuple[int, int, int], pose: Pose) -> tuple[int, ...]:
    return tuple(shape_zyx[axis] for axis in pose.axes)


def _draw(plane_hu: npt.NDArray[np.int16], size: Size, window: Window) -> Image.Image:
    low, high = window.value
    share = np.clip((plane_hu.astype(np.float32) - low) / (high - low), 0, 1)
    grey = Image.fromarray(np.rint(share * 255).astype(np.uint8))
    return grey.resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _place(box: Box, volume: VolumeFile, pose: Pose, view: View) -> Reals:
    """Return the box's first and last (row, column) on the plane that the view cuts."""
    corners = np.asarray(list(product(*zip(box.low_lps_mm, box.high_lps_mm, strict=True))), np.float64)
    stored, shape = _find(volume.geometry, corners), _turn_shape(volume.shape, pose)
    turned = np.stack(
        [
            size - 1 - stored[:, axis] if flip else stored[:, axis]
            for axis, size, flip in zip(pose.axes, shape, pose.is_reversed, strict=True)
        ],
        axis=1,
    )
    if view.top == "H":
        turned[:, 0] = shape[0] - 1 - turned[:, 0]
    on_plane = np.delete(turned, view.axis, axis=1)
    return np.stack([on_plane.min(axis=0), on_plane.max(axis=0)])


def _frame(picture: Image.Image, ends: Reals, shape: tuple[int, ...]) -> None:
    """Draw a frame in place; `ends` are in voxels of a plane of this shape."""
    scale = np.asarray([picture.height / shape[0], picture.width / shape[1]])
    (top, left), (bottom, right) = (ends + 0.5) * scale
    edges: tuple[Any, ...] = (
        max(0, left),
        max(0, top),
        min(picture.width - 1, right),
        min(picture.height - 1, bottom),
    )
    if edges[2] > edges[0] and edges[3] > edges[1]:
        ImageDraw.Draw(picture).rectangle(edges, outline=_FRAME, width=2)
