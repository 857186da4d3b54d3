"""MedNeXt beside the reference vectors, through the command that an operator runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from workers.command.models import app
from workers.parity import check_parity

GOLDEN = Path(__file__).parents[1] / "golden" / "mednext"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def run(golden: Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["parity", "mednext", "--golden", str(golden), "--json"])
    return result.exit_code, json.loads(result.stdout)


class TestParity:
    def test_every_stage_is_within_its_tolerance(self) -> None:
        code, report = run(GOLDEN)
        assert [check for check in report["checks"] if not check["passed"]] == []
        assert code == 0
        assert report["passed"]

    def test_the_network_is_compared_as_written_and_as_the_stage_runs_it(self) -> None:
        stages = {check.stage for check in check_parity("mednext", GOLDEN)}
        assert {"grn/logits", "grn/logits streamed", "layer/stage1", "crop/body_box", "full_size/keys"} <= stages

    def test_names_of_models_and_cases_come_from_the_folder(self, golden: Path) -> None:
        config = json.loads((golden / "tiny_config.json").read_text())
        (golden / "tiny_config.json").write_text(json.dumps({f"other_{name}": each for name, each in config.items()}))
        for name in ("tiny_weights", "tiny_io"):
            tensors = load_file(golden / f"{name}.safetensors")
            save_file({f"other_{key}": value for key, value in tensors.items()}, golden / f"{name}.safetensors")
        code, report = run(golden)
        assert code == 0
        assert report["checks"][0]["stage"] == "other_plain/stem"


class TestFaultsAreNoticed:
    @pytest.mark.parametrize(("file", "key"), [("tiny_io", "plain/logits"), ("tiny_weights", "plain/stem.bias")])
    def test_a_changed_vector(self, golden: Path, file: str, key: str) -> None:
        tensors = load_file(golden / f"{file}.safetensors")
        tensors[key] = tensors[key] + 1e-3
        save_file(tensors, golden / f"{file}.safetensors")
        code, report = run(golden)
        assert code == 1
        assert not report["passed"]

    def test_a_value_that_is_not_a_number(self, golden: Path) -> None:
        tensors = load_file(golden / "tiny_io.safetensors")
        tensors["plain/logits"][0, 0] = float("nan")
        save_file(tensors, golden / "tiny_io.safetensors")
        code, report = run(golden)
        assert code == 1
        assert {"stage": "plain/logits", "error": None, "tolerance": 1e-4, "passed": False} in report["checks"]

    @pytest.mark.parametrize("field", ["resampled_shape", "body_box_xyz", "output_samples", "output_std"])
    def test_a_changed_preprocessing_value(self, golden: Path, field: str) -> None:
        cases = json.loads((golden / "preprocessing_golden.json").read_text())
        crop = next(case for case in cases if case["name"] == "crop")
        match field:
            case "resampled_shape":
                crop[field][0] += 1
            case "body_box_xyz":
                crop[field][0][0] += 1
            case "output_samples":
                crop[field][3]["value"] += 1e-3
            case "output_std":
                crop[field] += 1e-3
        (golden / "preprocessing_golden.json").write_text(json.dumps(cases))
        assert run(golden)[0] == 1

    def test_a_folder_without_vectors(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["parity", "mednext", "--golden", str(tmp_path)])
        assert result.exit_code == 2
        assert "lacks tiny_weights.safetensors" in result.stderr

    def test_an_unknown_model(self) -> None:
        result = CliRunner().invoke(app, ["parity", "nonesuch", "--golden", str(GOLDEN)])
        assert result.exit_code == 2
        assert "known are mednext" in result.stderr
