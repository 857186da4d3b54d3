"""Reports as PDF, set by Typst in a process of its own: native code cannot take the fusion with it, nor hold it up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from shared.errors import Defect
from shared.json_values import JsonObject

CONTENT = "report.json"
PRINTED = "report.pdf"


def lay_out(folder: Path, content: JsonObject, files: Mapping[str, bytes]) -> None:
    """Write into a folder what one PDF is set from."""
    folder.mkdir()
    (folder / CONTENT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for name, file in files.items():
        (folder / name).write_bytes(file)


def typeset(folders: Sequence[Path], time_limit: timedelta) -> list[Path]:
    """Return the PDF of each folder. Raises Defect when there is none by the time limit."""
    command = [sys.executable, "-m", "workers.report.compositor", *map(str, folders)]
    try:
        done = subprocess.run(  # noqa: S603  # our own module, on folders of ours
            command, capture_output=True, timeout=time_limit.total_seconds(), check=False, env=_make_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise Defect("the report was not typeset in time", limit_s=time_limit.total_seconds()) from error
    if done.returncode != 0:
        raise Defect("the report was not typeset", exit_status=done.returncode)  # what it says may quote the upload
    return [folder / PRINTED for folder in folders]


def _make_environment() -> dict[str, str]:
    """Return what the process needs to know: none of our settings, for there are secrets among them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CTCLIP_")}
