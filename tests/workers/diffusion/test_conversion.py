"""`ctclip models convert diffusion`: published checkpoints in, safetensors and an entry out, or a clear refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model_weights.loading import load_tensors
from shared.features import DIFFUSION_FEATURES
from shared.stages import StageName
from tests.workers.diffusion.tiny import SLICING, TINY, convert, get_entry, make_classifier_state, make_unet_state
from workers.diffusion.configuration import Architecture, Preprocessing
from workers.diffusion.features import name_features
from workers.diffusion.published import read_unet


class TestConversion:
    def test_the_entry_says_what_the_model_is(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_classifier_state(), {"model_state_dict": make_unet_state(), "step": 7})
        assert result.exit_code == 0, result.stderr
        entry = get_entry(tmp_path)
        assert entry.digest == json.loads(result.stdout)["digest"]
        assert entry.stage is StageName.DIFFUSION
        assert Architecture.from_table(entry.architecture) == TINY
        assert Preprocessing.from_table(entry.preprocessing) == SLICING
        assert tuple(name_features(entry.labels, [0.5] * 6)) == DIFFUSION_FEATURES

    def test_the_files_give_back_the_same_networks(self, tmp_path: Path) -> None:
        state = make_unet_state()
        convert(tmp_path, make_classifier_state(), state)
        kept = load_tensors(get_entry(tmp_path).get_file("unet_weights"))
        expected = read_unet(TINY.unet, state)
        assert kept.keys() == expected.keys()
        assert all(torch.equal(kept[name], tensor) for name, tensor in expected.items())

    def test_the_classifier_alone_is_enough(self, tmp_path: Path) -> None:
        assert convert(tmp_path, make_classifier_state()).exit_code == 0
        assert set(get_entry(tmp_path).files) == {"weights", "known_answer"}


class TestRefusal:
    def test_missing_and_unexpected_keys_are_named(self, tmp_path: Path) -> None:
        state = make_classifier_state()
        state["out.2.positions"] = state.pop("out.2.positional_embedding")
        result = convert(tmp_path, state)
        assert result.exit_code == 2
        assert "1 missing: out.2.positional_embedding; 1 unexpected: out.2.positions" in result.stderr
        assert not (tmp_path / "weights" / "catalogue.toml").exists()

    def test_the_noise_predictor_in_place_of_the_classifier(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_unet_state())
        assert result.exit_code == 2
        assert "the slice classifier" in result.stderr

    def test_another_geometry(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_classifier_state(), architecture={}, preprocessing={})
        assert result.exit_code == 2
        assert "of another shape" in result.stderr

    def test_slices_that_do_not_fit_the_networks(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_classifier_state(), preprocessing={**SLICING.to_table(), "slice_size": 32})
        assert result.exit_code == 2
        assert "slices of 32 pixels do not fit networks for 16 pixels" in result.stderr

    def test_a_checkpoint_that_could_run_code(self, tmp_path: Path) -> None:
        result = convert(tmp_path, {"model_state_dict": make_classifier_state(), "callback": Path})
        assert result.exit_code == 2
        assert "could run code" in result.stderr

    @pytest.mark.parametrize("field", ["name", "version", "origin", "licence"])
    def test_a_configuration_without_a_needed_field(self, tmp_path: Path, field: str) -> None:
        result = convert(tmp_path, {}, **{field: ""})
        assert result.exit_code == 2
        assert f"lacks ['{field}']" in result.stderr
