"""`ctclip models convert`: checkpoints in, pinned safetensors and a catalogue entry out, or a clear refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from model_weights.catalogue import load_catalogue
from shared.errors import Defect
from shared.settings import WeightsProfile
from workers.command.models import app
from workers.mednext.configuration import Architecture
from workers.mednext.model import MedNeXt
from workers.mednext.predictor import Predictor

LAYOUT = Path(__file__).parents[2] / "golden" / "mednext" / "full_state_dict.json"
CLASSES = [f"class_{number}" for number in range(22)]
SMALL = {"base_channels": 8, "depth_config": [1, 1], "exp_r": [2, 2]}
DOCUMENT = {
    "name": "mednext-full",
    "version": "1",
    "origin": "https://example.org/mednext",
    "licence": "CC-BY-4.0",
    "classes": CLASSES,
    "thresholds": {"class_3": 0.4},
}


def make_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return MedNeXt(Architecture.from_table({"num_classes": 22, **SMALL})).state_dict()


def convert(folder: Path, checkpoint: object, document: Mapping[str, Any]) -> Result:
    torch.save(checkpoint, folder / "checkpoint.pt")
    (folder / "config.json").write_text(json.dumps(document))
    named = ["mednext", str(folder / "checkpoint.pt"), "--config", str(folder / "config.json")]
    return CliRunner().invoke(app, ["convert", *named, "--weights-dir", str(folder / "weights"), "--json"])


class TestConversion:
    def test_the_full_size_layout_is_taken_key_by_key(self, tmp_path: Path) -> None:
        keys = json.loads(LAYOUT.read_text())["keys"]
        state = {f"module.{name}": torch.zeros(shape) for name, (shape, _) in keys.items()}
        result = convert(tmp_path, {"model_state": state, "epoch": 1}, DOCUMENT)
        assert result.exit_code == 0, result.stderr
        (entry,) = load_catalogue(tmp_path / "weights" / "catalogue.toml")
        assert entry.digest == json.loads(result.stdout)["digest"]
        assert entry.weights_profile is WeightsProfile.FULL
        assert entry.architecture["depth_config"] == [2, 2, 2, 2, 2]
        assert entry.preprocessing["roi_xyz"] == [320, 320, 224]
        assert entry.get_file("weights").size_bytes > 4 * 6_905_366

    def test_what_was_converted_can_be_loaded_and_knows_its_answer(self, tmp_path: Path) -> None:
        assert convert(tmp_path, make_state(), {**DOCUMENT, "architecture": SMALL}).exit_code == 0
        (entry,) = load_catalogue(tmp_path / "weights" / "catalogue.toml")
        probabilities = Predictor(entry, torch.device("cpu")).predict(torch.zeros(1, 1, 20, 20, 20))
        assert probabilities.shape == (1, 22)
        assert entry.thresholds == {"class_3": 0.4}

    def test_list_and_verify_know_it_and_verify_notices_a_changed_byte(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state(), {**DOCUMENT, "architecture": SMALL})
        where = ["--profile", "full", "--weights-dir", str(tmp_path / "weights")]
        listed = CliRunner().invoke(app, ["list", *where, "--json"])
        assert json.loads(listed.stdout)["models"][0]["name"] == "mednext-full"
        assert CliRunner().invoke(app, ["verify", *where]).exit_code == 0
        path = load_catalogue(tmp_path / "weights" / "catalogue.toml")[0].get_file("weights").path
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        verified = CliRunner().invoke(app, ["verify", *where, "--json"])
        assert verified.exit_code == 1
        assert list(json.loads(verified.stdout)["faults"]) == ["mednext-full/weights"]


class TestRefusal:
    def test_missing_and_unexpected_keys_are_named(self, tmp_path: Path) -> None:
        state = make_state()
        state["stem.biass"] = state.pop("stem.bias")
        result = convert(tmp_path, state, {**DOCUMENT, "architecture": SMALL})
        assert result.exit_code == 2
        assert "1 missing: stem.bias; 1 unexpected: stem.biass" in result.stderr
        assert not (tmp_path / "weights" / "catalogue.toml").exists()

    @pytest.mark.parametrize("field", ["name", "version", "origin", "licence", "classes"])
    def test_a_configuration_without_a_needed_field(self, tmp_path: Path, field: str) -> None:
        document = {name: value for name, value in DOCUMENT.items() if name != field}
        result = convert(tmp_path, make_state(), document)
        assert result.exit_code == 2
        assert f"lacks ['{field}']" in result.stderr

    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("classes", "abc", "`classes` must be a list of names"),
            ("classes", [*CLASSES[:21], 22], "`classes` must be a list of names"),
            ("classes", CLASSES[:1] * 22, "`classes` names something twice"),
            ("thresholds", [1], "`thresholds` must be an object"),
            ("thresholds", {"class_3": "0.4"}, "must be numbers between 0 and 1"),
            ("architecture", [1], "`architecture` must be an object"),
            ("architecture", {**SMALL, "exp_r": 2}, "exp_r must be a list of whole numbers"),
            ("preprocessing", [1], "preprocessing of MedNeXt: expected a table"),
            ("preprocessing", {"roi_xyz": 96}, "expected a list of 3 numbers, found 96"),
            ("preprocessing", {"window_hu": ["low", "high"]}, "expected a list of 2 numbers"),
        ],
    )
    def test_a_field_of_another_kind(self, tmp_path: Path, field: str, value: object, told: str) -> None:
        result = convert(tmp_path, make_state(), {**DOCUMENT, "architecture": SMALL, field: value})
        assert result.exit_code == 2
        assert told in result.stderr

    @pytest.mark.parametrize(
        ("spoilt", "told"),
        [
            (lambda bias: bias.fill_(float("nan")), "hold values that are not finite"),
            (lambda bias: bias.double().fill_(1e300), "hold values that are not finite"),
            (lambda bias: bias.int(), "are no floating-point numbers"),
        ],
        ids=["nan", "beyond float32", "int32"],
    )
    def test_weights_that_no_worker_could_use(
        self, tmp_path: Path, spoilt: Callable[[Tensor], Tensor], told: str
    ) -> None:
        state = make_state()
        state["stem.bias"] = spoilt(state["stem.bias"])
        result = convert(tmp_path, state, {**DOCUMENT, "architecture": SMALL})
        assert result.exit_code == 2
        assert f"1 tensors of the checkpoint {told}, it is not usable: stem.bias" in result.stderr
        assert not (tmp_path / "weights" / "catalogue.toml").exists()

    def test_class_names_that_do_not_fit_the_outputs(self, tmp_path: Path) -> None:
        document = {**DOCUMENT, "classes": CLASSES[:21], "architecture": {**SMALL, "num_classes": 22}}
        assert "names 21 classes for 22 outputs" in convert(tmp_path, make_state(), document).stderr

    def test_a_checkpoint_that_could_run_code(self, tmp_path: Path) -> None:
        result = convert(tmp_path, {"model_state": make_state(), "callback": Path}, {**DOCUMENT, "architecture": SMALL})
        assert result.exit_code == 2
        assert "could run code" in result.stderr

    def test_a_file_that_is_no_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "broken.pt").write_bytes(b"not a checkpoint")
        (tmp_path / "config.json").write_text(json.dumps(DOCUMENT))
        named = ["convert", "mednext", str(tmp_path / "broken.pt"), "--config", str(tmp_path / "config.json")]
        result = CliRunner().invoke(app, [*named, "--weights-dir", str(tmp_path / "weights")])
        assert result.exit_code == 2

    def test_an_unknown_model(self, tmp_path: Path) -> None:
        (tmp_path / "c.json").write_text("{}")
        named = ["convert", "nonesuch", str(tmp_path / "c.json"), "--config", str(tmp_path / "c.json")]
        result = CliRunner().invoke(app, [*named, "--weights-dir", str(tmp_path)])
        assert result.exit_code == 2
        assert "known are mednext" in result.stderr


class TestKnownAnswer:
    def test_weights_that_answer_otherwise_are_not_served(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state(), {**DOCUMENT, "architecture": SMALL})
        (entry,) = load_catalogue(tmp_path / "weights" / "catalogue.toml")
        other = {**entry.architecture, "activation": "softmax"}
        with pytest.raises(Defect, match="another answer than its known one"):
            Predictor(replace(entry, architecture=other), torch.device("cpu"))
