"""`ctclip models convert fvlm`: a published checkpoint in, safetensors and an entry out, or a clear refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_weights.loading import load_tensors
from shared.errors import Defect
from shared.features import FVLM_LABELS
from shared.stages import StageName
from tests.workers.fvlm.tiny import DOCUMENT, PREPROCESSING, TINY, convert, convert_file, get_entry, make_state
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.fvlm.configuration import Architecture, GeometryKind, Preprocessing
from workers.fvlm.items import ITEMS_FILE, list_prompts, load_items, read_items
from workers.fvlm.loading import load_image_side
from workers.fvlm.text_latents import load_text_latents
from workers.fvlm.weights import make_model, read_checkpoint

CPU = torch.device("cpu")
HERNIA = {
    "finding": "Hiatal hernia",
    "organ": "esophagus",
    "negative": "Not Hiatal hernia.",
    "positive": "Hiatal hernia.",
}


class TestConversion:
    def test_the_entry_says_what_the_model_is(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_state())
        assert result.exit_code == 0, result.stderr
        entry = get_entry(tmp_path)
        assert entry.digest == json.loads(result.stdout)["digest"]
        assert entry.stage is StageName.FVLM
        assert entry.licence == DOCUMENT["licence"]
        assert Architecture.from_table(entry.architecture) == TINY
        assert Preprocessing.from_table(entry.preprocessing) == Preprocessing.from_table(PREPROCESSING)
        assert sorted(entry.labels) == sorted(FVLM_LABELS)
        assert entry.thresholds == {"Cardiomegaly": 0.55}

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_the_files_give_back_the_same_network(self, tmp_path: Path, *, wrapped: bool) -> None:
        state = make_state()
        trainers = {"model": state, "optimizer": {"state": {}}, "config": {"lr": 1.0}, "scaler": {}, "epoch": 3}
        assert convert(tmp_path, trainers if wrapped else state).exit_code == 0
        entry = get_entry(tmp_path)
        tensors = {**load_tensors(entry.get_file("weights")), **load_tensors(entry.get_file("text_weights"))}
        original = make_model(TINY, read_checkpoint(TINY, state)).state_dict()
        found = make_model(TINY, tensors).state_dict()
        assert all(torch.equal(tensor, original[name]) for name, tensor in found.items())
        assert float(load_image_side(entry, CPU)[1]) == pytest.approx(0.07)

    def test_the_latents_of_all_sentences_go_with_it(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state())
        entry = get_entry(tmp_path)
        items = load_items(entry)
        assert items == read_items(ITEMS_FILE)
        tokenizer = make_tokenizer(VOCABULARY_FILE.read_text(), TINY.prompt_tokens)
        tower = make_model(TINY, read_checkpoint(TINY, make_state())).text
        expected = tower(*encode_prompts(tokenizer, list_prompts(items)))
        assert torch.allclose(load_text_latents(entry, items), expected, atol=1e-6)
        assert len(expected) == 36

    def test_latents_of_other_sentences_are_computed(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state())
        entry = get_entry(tmp_path)
        first, *others = load_items(entry)
        asked = [replace(first, negative="Healthy lungs."), *others]
        found, stored = load_text_latents(entry, asked), load_text_latents(entry, [first, *others])
        assert torch.allclose(found[1:], stored[1:], atol=1e-6)
        assert not torch.allclose(found[0], stored[0], atol=1e-3)

    def test_items_may_be_told(self, tmp_path: Path) -> None:
        (tmp_path / "items.json").write_text(json.dumps({"items": [HERNIA]}))
        assert convert(tmp_path, make_state(), {**DOCUMENT, "items": "items.json", "thresholds": {}}).exit_code == 0
        entry = get_entry(tmp_path)
        assert entry.labels == ("Hiatal hernia",)
        assert load_text_latents(entry, load_items(entry)).shape == (2, TINY.dim_latent)

    def test_without_more_the_published_architecture_in_the_public_geometry_is_meant(self, tmp_path: Path) -> None:
        plain = {name: DOCUMENT[name] for name in ("name", "version", "origin", "licence")}
        result = convert(tmp_path, make_state(), plain)
        assert result.exit_code == 2
        assert "instead of (768, 1, 16, 16, 32)" in result.stderr
        assert Preprocessing.from_table({}) == Preprocessing(GeometryKind.PUBLIC, window=(112, 288, 352))


class TestRefusal:
    def test_missing_unexpected_and_misshapen_keys_are_named(self, tmp_path: Path) -> None:
        state = make_state()
        state["vision_projs.2.wieght"] = state.pop("vision_projs.2.weight")
        state["query_tokens"] = state["query_tokens"][:3]
        result = convert(tmp_path, state)
        assert result.exit_code == 2
        assert "1 missing: vision_projs.2.weight; 1 unexpected: vision_projs.2.wieght" in result.stderr
        assert "query_tokens (3, 12) instead of (4, 12)" in result.stderr
        assert not (tmp_path / "weights" / "catalogue.toml").exists()

    def test_weights_whose_text_stops_early(self, tmp_path: Path) -> None:
        deep = replace(TINY, text=replace(TINY.text, num_hidden_layers=2))
        trainers = {"model": make_state(deep), "config": {"model": {"text": {"fusion_layer": 1}}}}
        result = convert(tmp_path, trainers, {**DOCUMENT, "architecture": deep.to_table()})
        assert result.exit_code == 2
        assert "text stops at layer 1 of 2" in result.stderr

    def test_a_temperature_that_cannot_divide(self, tmp_path: Path) -> None:
        result = convert(tmp_path, {**make_state(), "temp": torch.tensor(0.0)})
        assert result.exit_code == 2
        assert "temp is not positive" in result.stderr

    def test_values_that_are_not_finite(self, tmp_path: Path) -> None:
        state = make_state()
        state["query_tokens"][1, 2] = float("nan")
        result = convert(tmp_path, state)
        assert result.exit_code == 2
        assert (
            "1 tensors of the checkpoint hold values that are not finite, it is not usable: query_tokens"
            in result.stderr
        )

    def test_whole_numbers_where_weights_belong(self, tmp_path: Path) -> None:
        state = make_state()
        result = convert(tmp_path, {**state, "text_proj.bias": state["text_proj.bias"].int()})
        assert result.exit_code == 2
        assert "are no floating-point numbers, it is not usable: text_proj.bias" in result.stderr

    @pytest.mark.parametrize(
        ("image", "said"),
        [
            ({"patch_size": [4, 4]}, "patch_size must be three numbers"),
            ({"depth": 100000}, "depth must be a whole number from 1 to 256"),
            ({"levels": [5]}, "expected ascending blocks of 3"),
            ({"levels": 2}, "levels must be a list of blocks"),
            ({"heads": 5}, "cannot share 12 channels"),
        ],
    )
    def test_an_architecture_that_cannot_be(self, tmp_path: Path, image: dict[str, object], said: str) -> None:
        table = TINY.to_table()
        result = convert(
            tmp_path, make_state(), {**DOCUMENT, "architecture": {**table, "image": {**table["image"], **image}}}
        )
        assert result.exit_code == 2
        assert said in result.stderr

    def test_positions_that_do_not_count_from_zero(self, tmp_path: Path) -> None:
        positions = torch.arange(1, 33)[None]
        result = convert(tmp_path, {**make_state(), "text_encoder.embeddings.position_ids": positions})
        assert result.exit_code == 2
        assert "does not count from 0" in result.stderr

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        torch.save(make_state(), tmp_path / "whole.pt")
        content = (tmp_path / "whole.pt").read_bytes()
        (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
        result = convert_file(tmp_path, tmp_path / "cut.pt")
        assert result.exit_code == 2
        assert "cannot be read as a PyTorch file" in result.stderr

    def test_a_checkpoint_that_could_run_code(self, tmp_path: Path) -> None:
        result = convert(tmp_path, {"model": make_state(), "callback": Path})
        assert result.exit_code == 2
        assert "could run code" in result.stderr

    def test_a_file_of_something_else(self, tmp_path: Path) -> None:
        result = convert(tmp_path, {"optimizer": {"step": 1}})
        assert result.exit_code == 2
        assert "neither a state dict nor a dict with `model`" in result.stderr

    @pytest.mark.parametrize("field", ["name", "version", "origin", "licence"])
    def test_a_configuration_without_a_needed_field(self, tmp_path: Path, field: str) -> None:
        result = convert(tmp_path, make_state(), {name: value for name, value in DOCUMENT.items() if name != field})
        assert result.exit_code == 2
        assert f"lacks ['{field}']" in result.stderr

    @pytest.mark.parametrize(
        ("preprocessing", "said"),
        [
            ({"geometry": "own"}, "geometry is 'own'"),
            ({"window": [12, 16]}, "expected three numbers"),
            ({"window": [12, 16, 12]}, "is no multiple of fVLM's patches"),
            ({"spacing_mm": [3.0, 0.0, 1.0]}, "spacing_mm must be positive"),
            ({"windows": [12, 16, 16]}, r"unknown ['windows']"),
        ],
    )
    def test_a_preprocessing_that_cannot_be(self, tmp_path: Path, preprocessing: dict[str, object], said: str) -> None:
        result = convert(tmp_path, make_state(), {**DOCUMENT, "preprocessing": {**PREPROCESSING, **preprocessing}})
        assert result.exit_code == 2
        assert said in result.stderr

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            ({"organ": "spleen"}, "is 'spleen', expected one of"),
            ({"negative": "Hiatal hernia."}, "says both"),
            ({"positive": " "}, "must be texts"),
            ({"prompt": "?"}, "expected exactly finding, organ, negative, positive"),
        ],
    )
    def test_items_that_cannot_be_asked(self, tmp_path: Path, item: dict[str, str], said: str) -> None:
        (tmp_path / "items.json").write_text(json.dumps({"items": [{**HERNIA, **item}]}))
        result = convert(tmp_path, make_state(), {**DOCUMENT, "items": "items.json", "thresholds": {}})
        assert result.exit_code == 2
        assert said in result.stderr


class TestChangedFiles:
    @pytest.mark.parametrize("role", ["weights", "text_latents", "items"])
    def test_a_changed_byte_is_noticed_before_anything_is_used(self, tmp_path: Path, role: str) -> None:
        convert(tmp_path, make_state())
        entry = get_entry(tmp_path)
        items, path = load_items(entry), entry.get_file(role).path
        content = bytearray(path.read_bytes())
        content[-2] ^= 1
        path.write_bytes(content)
        with pytest.raises(Defect, match="not the one that the catalogue pins"):
            load_image_side(entry, CPU) if role == "weights" else load_text_latents(entry, items), load_items(entry)
