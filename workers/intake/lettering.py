"""Letters of orientation and indices of planes, painted into grey pictures. No font file: a glyph is 3 x 5 dots."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

_DOT_PX = 2
_MARGIN_PX = 4
_INK = 255

# One row of dots a word, from the top.
_GLYPHS = {
    "0": "### #.# #.# #.# ###",
    "1": ".#. ##. .#. .#. ###",
    "2": "### ..# ### #.. ###",
    "3": "### ..# ### ..# ###",
    "4": "#.# #.# ### ..# ..#",
    "5": "### #.. ### ..# ###",
    "6": "### #.. ### #.# ###",
    "7": "### ..# ..# ..# ..#",
    "8": "### #.# ### #.# ###",
    "9": "### #.# ### ..# ###",
    "A": ".#. #.# ### #.# #.#",
    "F": "### #.. ### #.. #..",
    "H": "#.# #.# ### #.# #.#",
    "L": "#.. #.. #.. #.. ###",
    "P": "### #.# ### #.. #..",
    "R": "##. #.# ##. #.# #.#",
}


def paint_sides(picture: Picture, left: str, top: str) -> None:
    """Write which side of the patient the left and the upper edge are, in place."""
    rows, columns = picture.shape
    _paint(picture, _draw(left), rows // 2, _MARGIN_PX)
    _paint(picture, _draw(top), _MARGIN_PX, columns // 2)


def paint_index(picture: Picture, index: int) -> None:
    """Write the index of a plane into the lower left corner, in place."""
    dots = _draw(str(index))
    _paint(picture, dots, picture.shape[0] - dots.shape[0] - _MARGIN_PX, _MARGIN_PX)


def _draw(text: str) -> npt.NDArray[np.bool_]:
    """Return a text as (rows, columns) of ink, one empty column of dots between its glyphs."""
    lines = [".".join(rows) for rows in zip(*(_GLYPHS[letter].split() for letter in text), strict=True)]
    dots = np.array([[dot == "#" for dot in line] for line in lines])
    return dots.repeat(_DOT_PX, axis=0).repeat(_DOT_PX, axis=1)


def _paint(picture: Picture, ink: npt.NDArray[np.bool_], top: int, left: int) -> None:
    """Put ink on a picture, with what reaches beyond it cut off."""
    place = picture[top : top + ink.shape[0], left : left + ink.shape[1]]
    place[ink[: place.shape[0], : place.shape[1]]] = _INK
