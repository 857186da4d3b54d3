"""Pieces of a report as one HTML page without scripts or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .7rem; text-align: left }
th { border-bottom: 2px solid #888 } td { border-bottom: 1px solid #ddd } code { font-size: 13px }
svg { background: #fafafa; border: 1px solid #ddd; margin: .3rem } .doubt { background: #fff3cd; padding: .5rem 1rem }
figure { display: inline-block; margin: .3rem } figcaption { font-size: 13px }
"""

_MARGIN = 10

Points = Sequence[tuple[float, float]]
"""Points whose both values lie in 0..1."""


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; without columns it has no head."""
    head = f"<tr>{''.join(f'<th>{escape(column)}</th>' for column in columns)}</tr>" if columns else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"


def draw_line(points: Points, colour: str, width: int, height: int) -> str:
    """Return the points as a line of an SVG drawing of this size."""
    places = (find_place(x, y, width, height) for x, y in points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def draw_dot(point: tuple[float, float], colour: str, radius: float, width: int, height: int) -> str:
    """Return one point as a dot."""
    x, y = find_place(*point, width, height)
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"/>'


def draw_figure(drawn: str, caption: str, width: int, height: int) -> str:
    """Return a drawing with what it shows under it."""
    picture = f'<svg width="{width}" height="{height}">{drawn}</svg>'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def find_place(x: float, y: float, width: int, height: int) -> tuple[float, float]:
    """Return where a point lies in the drawing, in pixels; y ascends."""
    return _MARGIN + x * (width - 2 * _MARGIN), height - _MARGIN - y * (height - 2 * _MARGIN)
