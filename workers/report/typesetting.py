"""Reports as PDF, set by Typst in a process of its own: native code cannot take the fusion with it, nor hold it up.

`python -m workers.report.typesetting FOLDER...` sets `report.json` of each folder into its `report.pdf`. Fonts are
DejaVu's, which Matplotlib brings: a report looks alike on every machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import typst

from shared.errors import Defect
from shared.json_values import JsonObject

CONTENT = "report.json"
PRINTED = "report.pdf"
_TEMPLATE = "report.typ"
_TOLD_LIMIT = 500


def lay_out(folder: Path, content: JsonObject, files: Mapping[str, bytes]) -> None:
    """Write into a folder what one PDF is set from."""
    folder.mkdir()
    (folder / CONTENT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for name, file in files.items():
        (folder / name).write_bytes(file)


def typeset(folders: Sequence[Path], time_limit: timedelta) -> list[Path]:
    """Return the PDF of each folder. Raises Defect when there is none by the time limit."""
    command = [sys.executable, "-m", "workers.report.typesetting", *map(str, folders)]
    try:
        done = subprocess.run(  # noqa: S603  # our own module, on folders of ours
            command, capture_output=True, timeout=time_limit.total_seconds(), check=False, env=_make_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise Defect("the report was not typeset in time", limit_s=time_limit.total_seconds()) from error
    if done.returncode != 0:
        raise Defect("the report was not typeset", told=done.stderr.decode(errors="replace")[-_TOLD_LIMIT:])
    return [folder / PRINTED for folder in folders]


def _make_environment() -> dict[str, str]:
    """Return what the process needs to know: none of our settings, for there are secrets among them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CTCLIP_")}


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
