"""The diffusion detector beside the reference vectors, through the command that an operator runs."""

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

pytestmark = pytest.mark.usefixtures("one_thread")

GOLDEN = Path(__file__).parents[1] / "golden" / "diffusion"


@pytest.fixture(scope="module")
def checks() -> dict[str, ParityCheck]:
    return {check.stage: check for check in check_parity("diffusion", GOLDEN)}


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """The golden folder without the layouts of full size."""
    ignored = shutil.ignore_patterns("full_state_dict.json")
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden", ignore=ignored))


def run(golden: Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["parity", "diffusion", "--golden", str(golden), "--json"])
    return result.exit_code, json.loads(result.stdout)


class TestParity:
    def test_every_stage_is_within_its_tolerance(self, checks: dict[str, ParityCheck]) -> None:
        assert [check for check in checks.values() if not check.passes] == []

    def test_every_vector_is_compared(self, checks: dict[str, ParityCheck]) -> None:
        vectors = load_file(GOLDEN / "tiny_io.safetensors").keys()
        assert vectors - checks.keys() == {"images", "noise"}

    @pytest.mark.parametrize("loop", ["original", "exact"])
    def test_both_loops_are_compared_to_their_end(self, checks: dict[str, ParityCheck], loop: str) -> None:
        for part in ("reconstruction", "anomaly_map", "slice_errors"):
            assert checks[f"trajectory/{loop}_{part}"].tolerance == 1e-3

    @pytest.mark.parametrize("network", ["unet", "classifier"])
    def test_the_full_size_has_exactly_the_published_keys(self, checks: dict[str, ParityCheck], network: str) -> None:
        assert checks[f"full_size/keys of {network}"].error == 0

    def test_the_process_by_itself_is_exact_where_rounding_of_the_network_is_not(
        self, checks: dict[str, ParityCheck]
    ) -> None:
        assert checks["process/t999/pred_xstart"].error < 1e-6
        assert checks["process/t999/pred_xstart"].tolerance == 1e-4


class TestFaultsAreNoticed:
    def test_changed_vectors_and_another_choice_of_slices(self, golden: Path) -> None:
        changed = {"classifier/t20/gradient_y0", "unet/t37/input_block_2", "trajectory/original_slice_errors"}
        vectors = load_file(golden / "tiny_io.safetensors")
        for key in changed:
            vectors[key] = vectors[key] + 2e-3
        save_file(vectors, golden / "tiny_io.safetensors")
        table = json.loads((golden / "slice_golden.json").read_text())
        table["slice_choice"][0]["reconstruction_slices"][3] += 1
        (golden / "slice_golden.json").write_text(json.dumps(table))
        code, document = run(golden)
        assert code == 1
        failed = {check["stage"] for check in document["checks"] if not check["passed"]}
        assert failed == {*changed, "slices/choice of 240x480x480"}

    def test_a_weight_that_is_missing(self, golden: Path) -> None:
        weights = load_file(golden / "tiny_weights.safetensors")
        del weights["unet/middle_block.1.qkv.weight"]
        save_file(weights, golden / "tiny_weights.safetensors")
        result = CliRunner().invoke(app, ["parity", "diffusion", "--golden", str(golden)])
        assert result.exit_code == 2
        assert "1 missing: middle_block.1.qkv.weight" in result.stderr

    def test_a_schedule_that_is_not_known(self, golden: Path) -> None:
        table = json.loads((golden / "tiny_config.json").read_text())
        (golden / "tiny_config.json").write_text(json.dumps({**table, "beta_schedule": "cosine"}))
        result = CliRunner().invoke(app, ["parity", "diffusion", "--golden", str(golden)])
        assert result.exit_code == 2
        assert "only a linear one is known" in result.stderr

    def test_a_folder_without_vectors(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["parity", "diffusion", "--golden", str(tmp_path)])
        assert result.exit_code == 2
        assert "lacks" in result.stderr
