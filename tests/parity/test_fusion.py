"""The fusion's names, features and rules against the golden files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from workers.parity import check_parity

GOLDEN = Path(__file__).parents[1] / "golden" / "fusion"


class TestParity:
    def test_every_comparison_passes(self) -> None:
        failed = [check for check in check_parity("fusion", GOLDEN) if not check.passes]
        assert not failed

    @pytest.mark.parametrize("stage", ["native", "original", "original_top_pathologies"])
    def test_a_changed_golden_value_is_noticed(self, tmp_path: Path, stage: str) -> None:
        shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
        path = tmp_path / "features_golden.json"
        document = json.loads(path.read_text())
        document["cases"][0][stage][0] = "Scurvy" if stage.endswith("pathologies") else 0.123456
        path.write_text(json.dumps(document))
        assert [check.stage for check in check_parity("fusion", tmp_path) if not check.passes] == [stage]

    def test_another_choice_of_series_is_noticed(self, tmp_path: Path) -> None:
        shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
        path = tmp_path / "series_selection_golden.json"
        cases = json.loads(path.read_text())
        cases[0]["chosen"] = None
        path.write_text(json.dumps(cases))
        (failed,) = [check for check in check_parity("fusion", tmp_path) if not check.passes]
        assert (failed.stage, failed.error) == ("series_selection", 1)
