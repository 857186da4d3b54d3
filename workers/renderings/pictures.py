"""Planes of a volume as pictures for people: upright, in true proportions, with letters for the sides. Pure.

As a radiologist expects it: seen from the feet, the patient's right on the left of the picture, head up.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from workers.volume.geometry import Triple
from workers.volume.pose import Voxel

Colour = tuple[int, int, int]
Size = tuple[int, int]
"""Columns and rows, as Pillow has it."""

PNG = "image/png"

Ink = ImageFont.ImageFont | ImageFont.FreeTypeFont

BLACK, WHITE, GREY = (0, 0, 0), (255, 255, 255), (170, 170, 170)
TEXT_PX = 13

_LUNG_HU = (-1350.0, 150.0)
_MARGIN_PX = 4


@dataclass(frozen=True)
class View:
    """A direction to look from, on a volume whose axes run to head, back and left. `axis` is cut across."""

    axis: int
    left: str
    top: str
    right: str
    bottom: str

    def cut(self, upright: npt.NDArray[Voxel], index: int) -> npt.NDArray[Voxel]:
        """Return the plane at an index, head up."""
        plane = upright[(slice(None),) * self.axis + (index,)]
        return plane[::-1] if self.top == "H" else plane

    def fit(self, shape: tuple[int, ...], spacing_mm: Triple, side_px: int) -> Size:
        """Return the size of a plane in true proportions, its longer side `side_px`."""
        down_mm, across_mm = (shape[axis] * spacing for axis, spacing in enumerate(spacing_mm) if axis != self.axis)
        scale = side_px / max(down_mm, across_mm)
        return max(1, round(across_mm * scale)), max(1, round(down_mm * scale))


AXIAL = View(0, "R", "A", "L", "P")
CORONAL = View(1, "R", "H", "L", "F")
SAGITTAL = View(2, "A", "H", "P", "F")


def draw_scan(plane_hu: npt.NDArray[np.int16], size: Size) -> Image.Image:
    """Return a plane in the window of the lung."""
    low, high = _LUNG_HU
    share = np.clip((plane_hu.astype(np.float32) - low) / (high - low), 0, 1)
    grey = Image.fromarray(np.rint(share * 255).astype(np.uint8))
    return grey.resize(size, Image.Resampling.BILINEAR).convert("RGB")


def stretch(plane: npt.NDArray[np.uint8], size: Size) -> npt.NDArray[np.uint8]:
    """Return a plane of labels in another size: labels are never mixed."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.NEAREST), np.uint8)


def load_ink(size_px: int = TEXT_PX) -> Ink:
    """Return the font that Pillow brings."""
    return ImageFont.load_default(size_px)


def frame(picture: Image.Image, view: View, side_px: int) -> Image.Image:
    """Return a picture in the middle of a black square, with a letter at each side of the patient."""
    square = Image.new("RGB", (side_px, side_px), BLACK)
    square.paste(picture, ((side_px - picture.width) // 2, (side_px - picture.height) // 2))
    draw, middle, end = ImageDraw.Draw(square), side_px // 2, side_px - _MARGIN_PX
    places = {
        (view.left, _MARGIN_PX, middle, "lm"),
        (view.right, end, middle, "rm"),
        (view.top, middle, _MARGIN_PX, "mt"),
        (view.bottom, middle, end, "mb"),
    }
    for letter, x, y, anchor in places:
        draw.text((x, y), letter, WHITE, load_ink(), anchor=anchor, stroke_width=1, stroke_fill=BLACK)
    return square


def encode_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def find_edges(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return the pixels (rows, columns) whose upper or left neighbour, or lower or right one, has another label."""
    edges = np.zeros(labels.shape, np.bool_)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    return edges
