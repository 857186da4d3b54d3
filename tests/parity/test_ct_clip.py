"""CT-CLIP beside the reference vectors, through the command that an operator runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from tests.parity.ct_clip_golden import write_golden
from workers.command.models import app
from workers.ct_clip.configuration import Architecture, ImageShape, TextShape
from workers.parity import ParityCheck, check_parity

GOLDEN = Path(__file__).parents[1] / "golden" / "ct_clip"
LARGE = ("preprocessing_golden.json", "preprocessing_golden.safetensors")


@pytest.fixture(scope="module")
def checks() -> dict[str, ParityCheck]:
    return {check.stage: check for check in check_parity("ct_clip", GOLDEN)}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The golden folder without what takes seconds."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden", ignore=shutil.ignore_patterns(*LARGE)))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """The golden folder with a single case of preprocessing."""
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
    table = json.loads((folder / LARGE[0]).read_text())
    table["cases"] = [case for case in table["cases"] if case["name"] == "rescale"]
    (folder / LARGE[0]).write_text(json.dumps(table))
    return folder


def run(golden: Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["parity", "ct_clip", "--golden", str(golden), "--json"])
    return result.exit_code, json.loads(result.stdout)


def list_failed(golden: Path) -> set[str]:
    return {check["stage"] for check in run(golden)[1]["checks"] if not check["passed"]}


class TestParity:
    def test_every_stage_is_within_its_tolerance(self, checks: dict[str, ParityCheck]) -> None:
        assert [check for check in checks.values() if not check.passes] == []

    def test_every_vector_is_compared(self, checks: dict[str, ParityCheck]) -> None:
        vectors = load_file(GOLDEN / "tiny_io.safetensors").keys()
        assert vectors - checks.keys() == {"volume", "input_ids", "attention_mask"}

    def test_every_case_of_preprocessing_is_compared(self, checks: dict[str, ParityCheck]) -> None:
        cases = json.loads((GOLDEN / LARGE[0]).read_text())["cases"]
        wanted = {f"preprocessing/{case['name']} {variant}" for case in cases for variant in case["variants"]}
        assert len(wanted) == 13
        assert wanted <= checks.keys()

    def test_codes_and_tokens_are_the_same(self, checks: dict[str, ParityCheck]) -> None:
        assert checks["vq_indices"].tolerance == checks["token_ids"].tolerance == 0

    @pytest.mark.parametrize("layout", ["ctclip", "supervised_classifier", "lipro_classifier"])
    def test_the_full_size_has_exactly_the_published_keys(self, checks: dict[str, ParityCheck], layout: str) -> None:
        assert checks[f"full_size/keys of {layout}"].error == 0


class TestAnotherGeometry:
    """Nothing of the sizes at hand is taken for granted."""

    @pytest.mark.parametrize(
        ("image", "text", "has_norm"),
        [
            (
                ImageShape(
                    dim=24, codebook_size=33, image_size=30, patch_size=6, temporal_patch_size=3, spatial_depth=1,
                    temporal_depth=3, dim_head=7, heads=1,
                ),
                TextShape(61, 18, 1, 2, 31, 23, layer_norm_eps=1e-6),
                True,
            ),
            (
                ImageShape(
                    dim=20, codebook_size=7, image_size=8, patch_size=8, temporal_patch_size=1, spatial_depth=3,
                    temporal_depth=2, dim_head=8, heads=5, channels=2,
                ),
                TextShape(90, 16, 3, 4, 20, 50, type_vocab_size=1),
                False,
            ),
        ],
        ids=["one head, odd sizes", "one patch, two channels, no norm"],
    )  # fmt: skip
    def test_a_folder_is_read_by_its_own_sizes(
        self, tmp_path: Path, image: ImageShape, text: TextShape, has_norm: bool
    ) -> None:
        architecture = Architecture(image, text, dim_latent=13)
        folder = write_golden(tmp_path / "other", architecture, slabs=5, batch=3, has_norm=has_norm)
        code, document = run(folder)
        failed = [check for check in document["checks"] if not check["passed"]]
        assert (code, failed) == (0, [])
        compared = {check["stage"] for check in document["checks"]}
        assert {"vq_indices", "image_latents", "probability_present", "lipro_logits"} <= compared
        assert ("supervised_logits.layernorm" in compared) == has_norm

    def test_a_vector_that_is_left_out_is_not_missed(self, tiny: Path) -> None:
        vectors = load_file(tiny / "tiny_io.safetensors")
        del vectors["pooled_image"], vectors["supervised_logits.l2"]
        save_file(vectors, tiny / "tiny_io.safetensors")
        code, document = run(tiny)
        assert code == 0
        assert not {"pooled_image", "supervised_logits.l2"} & {check["stage"] for check in document["checks"]}


class TestFaultsAreNoticed:
    @pytest.mark.parametrize(
        "key", ["spatial_position_bias", "vq_indices", "text_latents", "debug.temporal.layer0.peg_out", "lipro_logits"]
    )
    def test_a_changed_vector(self, tiny: Path, key: str) -> None:
        vectors = load_file(tiny / "tiny_io.safetensors")
        vectors[key] = vectors[key] + 1
        save_file(vectors, tiny / "tiny_io.safetensors")
        assert list_failed(tiny) == {key}

    def test_a_changed_weight(self, tiny: Path) -> None:
        weights = load_file(tiny / "tiny_weights.safetensors")
        weights["visual_transformer.enc_temporal_transformer.layers.0.0.dsconv.bias"] += 0.1
        save_file(weights, tiny / "tiny_weights.safetensors")
        assert {"temporal_transformer_out", "vq_indices"} <= list_failed(tiny)
        assert "spatial_transformer_out" not in list_failed(tiny)

    def test_a_value_that_is_not_a_number(self, tiny: Path) -> None:
        vectors = load_file(tiny / "tiny_io.safetensors")
        vectors["image_latents"][0, 0] = float("nan")
        save_file(vectors, tiny / "tiny_io.safetensors")
        assert list_failed(tiny) == {"image_latents"}

    def test_a_weight_that_is_missing(self, tiny: Path) -> None:
        weights = load_file(tiny / "tiny_weights.safetensors")
        del weights["to_text_latent.weight"]
        save_file(weights, tiny / "tiny_weights.safetensors")
        result = CliRunner().invoke(app, ["parity", "ct_clip", "--golden", str(tiny)])
        assert result.exit_code == 2
        assert "1 missing: to_text_latent.weight" in result.stderr

    def test_other_tokens(self, tiny: Path) -> None:
        table = json.loads((tiny / "tokenization_golden.json").read_text())
        table["ids"]["Cardiomegaly is present."][1] += 1
        (tiny / "tokenization_golden.json").write_text(json.dumps(table))
        assert list_failed(tiny) == {"token_ids"}

    def test_a_box_that_lies_elsewhere(self, inputs: Path) -> None:
        table = json.loads((inputs / LARGE[0]).read_text())
        box = table["cases"][0]["variants"]["celsus"]
        box["box_start"][0] += 1
        box["box_stop"][0] += 1
        (inputs / LARGE[0]).write_text(json.dumps(table))
        assert list_failed(inputs) == {"preprocessing/rescale celsus"}

    def test_a_rescale_that_is_forgotten(self, inputs: Path) -> None:
        table = json.loads((inputs / LARGE[0]).read_text())
        table["cases"][0]["intercept"] = 0.0
        (inputs / LARGE[0]).write_text(json.dumps(table))
        assert list_failed(inputs) == {"preprocessing/rescale public"}

    @pytest.mark.parametrize("kept", [0, 10, 0.5, 0.999])
    @pytest.mark.parametrize("name", ["tiny_io.safetensors", "tiny_weights.safetensors", "tiny_lipro.pt"])
    def test_a_file_that_is_cut_off_is_told_in_a_line(self, tiny: Path, name: str, kept: float) -> None:
        content = (tiny / name).read_bytes()
        (tiny / name).write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
        result = CliRunner().invoke(app, ["parity", "ct_clip", "--golden", str(tiny)])
        assert result.exit_code == 2
        assert "cut off" in result.stderr

    def test_inputs_of_another_geometry(self, tiny: Path) -> None:
        vectors = load_file(tiny / "tiny_io.safetensors")
        vectors["volume"] = vectors["volume"][..., :-1].copy()
        save_file(vectors, tiny / "tiny_io.safetensors")
        result = CliRunner().invoke(app, ["parity", "ct_clip", "--golden", str(tiny)])
        assert result.exit_code == 2
        assert "not a golden folder of ct_clip" in result.stderr

    def test_a_folder_without_vectors(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["parity", "ct_clip", "--golden", str(tmp_path)])
        assert result.exit_code == 2
        assert "lacks" in result.stderr
