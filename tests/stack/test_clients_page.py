"""The examples of `docs/clients.md`, run in their order, in one folder, against the whole platform."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from tests.pages import ROOT, Shell, Walk
from tests.stack.running import RunningStack

pytestmark = pytest.mark.stack

ELSEWHERE = "export CTCLIP_API_URL=https://ct.example.org CTCLIP_API_KEY=..."


class TestExamples:
    def test_run_as_they_stand(self, stack: RunningStack, tmp_path: Path) -> None:
        Walk(
            ROOT / "docs" / "clients.md",
            Shell(tmp_path, {"CTCLIP_API_URL": stack.url}),
            left_out={ELSEWHERE: "names a platform that is not there"},
        ).go()
        rows = openpyxl.load_workbook(tmp_path / "results.xlsx")["studies"].max_row
        assert rows == 3
        assert [path.suffix for path in (tmp_path / "ready").iterdir()] == [".zip"]
