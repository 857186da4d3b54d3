"""The examples of `docs/clients.md`, run in their order, in one folder, against the whole platform."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest

from tests.stack.running import RunningStack

pytestmark = pytest.mark.stack

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
BLOCKS = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LIMIT_S = 240


class TestExamples:
    def test_run_as_they_stand(self, stack: RunningStack, tmp_path: Path) -> None:
        place = {"CTCLIP_API_URL": stack.url, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        for language, block in BLOCKS.findall(PAGE.read_text("utf-8")):
            command = ["bash", "-euo", "pipefail", "-c", block] if language == "bash" else [sys.executable, "-c", block]
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env={**os.environ, **place},
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        rows = openpyxl.load_workbook(tmp_path / "results.xlsx")["studies"].max_row
        assert rows == 3
        assert [path.suffix for path in (tmp_path / "ready").iterdir()] == [".zip"]
