"""A report as one HTML page: pictures inline, nothing fetched, nothing run, fit to be printed."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from markupsafe import Markup

from shared.json_values import JsonObject
from workers.report.charts import make_environment


def write_page(content: JsonObject, pictures: Mapping[str, bytes], charts: Mapping[str, str]) -> bytes:
    """Return the page. Pictures are JPEG by name; charts are SVG of our own templates, escaped when they were made."""
    sources = {name: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" for name, jpeg in pictures.items()}
    drawings = {name: Markup(svg) for name, svg in charts.items()}  # noqa: S704  # made by templates that escape
    page = make_environment().get_template("report.html.jinja").render(**content, sources=sources, charts=drawings)
    return page.encode()
