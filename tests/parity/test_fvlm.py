"""fVLM beside the reference vectors, through the command that an operator runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from workers.command.models import app
from workers.parity import ParityCheck, check_parity

GOLDEN = Path(__file__).parents[1] / "golden" / "fvlm"
STUDIES = ("preprocessing_golden.json", "end_to_end_golden.json")


@pytest.fixture(scope="module")
def checks() -> dict[str, ParityCheck]:
    return {check.stage: check for check in check_parity("fvlm", GOLDEN)}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The golden folder without what takes seconds, its large window included."""
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "golden", ignore=shutil.ignore_patterns(*STUDIES)))
    config = json.loads((folder / "tiny_config.json").read_text())
    del config["windows"]["native"]
    (folder / "tiny_config.json").write_text(json.dumps(config))
    return folder


def run(golden: Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["parity", "fvlm", "--golden", str(golden), "--json"])
    return result.exit_code, json.loads(result.stdout)


def list_failed(golden: Path) -> set[str]:
    return {check["stage"] for check in run(golden)[1]["checks"] if not check["passed"]}


class TestParity:
    def test_every_stage_is_within_its_tolerance(self, checks: dict[str, ParityCheck]) -> None:
        assert [check for check in checks.values() if not check.passes] == []

    def test_every_vector_is_compared(self, checks: dict[str, ParityCheck]) -> None:
        vectors = load_file(GOLDEN / "tiny_io.safetensors").keys()
        assert vectors - checks.keys() == {"input_ids", "attention_mask"}

    @pytest.mark.parametrize("geometry", ["public", "product"])
    @pytest.mark.parametrize("stage", ["padded", "organs", "lung.window", "heart.token_mask"])
    def test_both_geometries_are_compared(self, checks: dict[str, ParityCheck], geometry: str, stage: str) -> None:
        assert f"preprocessing/organ_missing.{geometry}.{stage}" in checks

    def test_every_case_of_lung_validation_is_compared(self, checks: dict[str, ParityCheck]) -> None:
        cases = json.loads((GOLDEN / "lung_validation_golden.json").read_text())["cases"]
        assert len(cases) == 27
        assert {f"lungs/{case['name']}" for case in cases} <= checks.keys()

    def test_the_full_size_has_exactly_the_published_keys(self, checks: dict[str, ParityCheck]) -> None:
        assert checks["full_size/keys"].error == 0


class TestFaultsAreNoticed:
    @pytest.mark.parametrize("key", ["small.positions", "odd.block_06", "small.organ_pooled", "text.layer_1_out"])
    def test_a_changed_vector(self, tiny: Path, key: str) -> None:
        vectors = load_file(tiny / "tiny_io.safetensors")
        vectors[key] = vectors[key] + 1
        save_file(vectors, tiny / "tiny_io.safetensors")
        assert list_failed(tiny) == {key}
        assert run(tiny)[0] == 1

    def test_a_value_that_is_not_a_number(self, tiny: Path) -> None:
        vectors = load_file(tiny / "tiny_io.safetensors")
        vectors["small.organ_latents"][0, 0] = float("nan")
        save_file(vectors, tiny / "tiny_io.safetensors")
        assert list_failed(tiny) == {"small.organ_latents"}

    def test_a_changed_weight(self, tiny: Path) -> None:
        weights = load_file(tiny / "tiny_weights.safetensors")
        weights["vision_projs.2.bias"] += 0.1
        save_file(weights, tiny / "tiny_weights.safetensors")
        failed = list_failed(tiny)
        assert {"trainer checkpoint", "small.organ_projected", "odd.organ_latents"} <= failed
        assert "small.organ_pooled" not in failed

    def test_a_weight_that_is_missing(self, tiny: Path) -> None:
        weights = load_file(tiny / "tiny_weights.safetensors")
        del weights["text_proj.bias"]
        save_file(weights, tiny / "tiny_weights.safetensors")
        result = CliRunner().invoke(app, ["parity", "fvlm", "--golden", str(tiny)])
        assert result.exit_code == 2
        assert "1 missing: text_proj.bias" in result.stderr
