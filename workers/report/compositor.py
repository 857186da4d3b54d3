"""The process that sets PDFs: `python -m workers.report.compositor FOLDER...`, `report.json` in, `report.pdf` out.

Fonts are DejaVu's, which Matplotlib brings: a report looks alike on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import typst

from shared.errors import Defect
from workers.report.typesetting import PRINTED

_TEMPLATE = "report.typ"


def _typeset_one(folder: Path, fonts: typst.Fonts) -> None:
    template = folder / _TEMPLATE
    source = resources.files("workers.report").joinpath("templates", _TEMPLATE).read_bytes()
    template.write_bytes(source)
    compiler = typst.Compiler(input=template, root=folder, font_paths=fonts)
    compiler.compile(output=folder / PRINTED, format="pdf")


def _find_fonts() -> typst.Fonts:
    found = find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        raise Defect("the fonts of the report come with Matplotlib, which is not installed")
    folder = Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[folder])


def main(folders: Sequence[str]) -> None:
    """Set each folder."""
    fonts = _find_fonts()
    for folder in folders:
        _typeset_one(Path(folder), fonts)


if __name__ == "__main__":
    main(sys.argv[1:])
