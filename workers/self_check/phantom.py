"""The study of the self-check, written by `ctclip phantom` in a process of its own: the same bytes every day."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

from shared.errors import Defect

_ARGUMENTS = ("phantom", "--coarse", "--seed", "20260101", "--finding", "pleural_effusion", "--finding", "mass")
_LIMIT_S = 120


def write_phantom(path: Path) -> None:
    """Write the ZIP. Raises Defect when the command is not installed, fails or does not end."""
    program = shutil.which("ctclip", path=sysconfig.get_path("scripts")) or shutil.which("ctclip")
    if program is None:
        raise Defect("the self-check needs the command ctclip, which is not installed")
    try:
        ran = subprocess.run(  # noqa: S603  # our own command, without anything from outside
            [program, *_ARGUMENTS, "--output", str(path)], capture_output=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Defect(f"ctclip phantom wrote no study for the self-check within {_LIMIT_S} s") from error
    if ran.returncode or not path.is_file():
        raise Defect("ctclip phantom wrote no study for the self-check", status=ran.returncode)
