"""A CT-CLIP that is served: by digest, with its known answer, and its labels encoded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_weights.catalogue import ModelEntry, WeightFile
from model_weights.verifying import compute_sha256
from shared.errors import Defect
from tests.workers.ct_clip.converting import DOCUMENT, convert, get_entry
from tests.workers.ct_clip.tiny import TINY, make_state
from workers.ct_clip.model import compute_probabilities
from workers.ct_clip.predictor import Predictor
from workers.ct_clip.prompts import make_prompts
from workers.ct_clip.text_latents import load_text_latents
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.ct_clip.weights import make_model, read_ct_clip

CPU = torch.device("cpu")


@pytest.fixture
def entry(tmp_path: Path) -> ModelEntry:
    convert(tmp_path, make_state(), {**DOCUMENT, "labels": ["Pneumonia", "Rib fracture"]})
    return get_entry(tmp_path)


def put_file(entry: ModelEntry, role: str, tensors: dict[str, torch.Tensor]) -> ModelEntry:
    """Write a file of an entry anew and pin it."""
    path = entry.get_file(role).path
    save_file(tensors, path)
    file = WeightFile(role, path, compute_sha256(path), path.stat().st_size)
    return replace(entry, files={**entry.files, role: file})


class TestPrediction:
    def test_it_answers_as_the_whole_network_does(self, entry: ModelEntry) -> None:
        volume = torch.randn(2, 1, 12, 16, 16)
        model = make_model(TINY, read_ct_clip(TINY, make_state()))
        tokenizer = make_tokenizer(VOCABULARY_FILE.read_text(), 16)
        logits = model(volume, *encode_prompts(tokenizer, make_prompts(entry.labels)))
        found = Predictor(entry, CPU).predict(volume)
        assert found.shape == (2, 2)
        assert torch.allclose(found, compute_probabilities(logits), atol=1e-5)

    def test_the_text_side_is_not_touched_when_its_latents_are_stored(self, entry: ModelEntry) -> None:
        entry.get_file("text_weights").path.write_bytes(b"gone")
        assert Predictor(entry, CPU).predict(torch.zeros(1, 1, 12, 16, 16)).shape == (1, 2)


class TestTextLatents:
    def test_other_labels_are_encoded_anew(self, entry: ModelEntry) -> None:
        stored = load_text_latents(entry)
        swapped = load_text_latents(replace(entry, labels=entry.labels[::-1]))
        assert torch.allclose(swapped, stored[[2, 3, 0, 1]], atol=1e-6)

    def test_labels_of_the_entry_are_not(self, entry: ModelEntry) -> None:
        kept = load_file(entry.get_file("text_latents").path)
        marked = put_file(entry, "text_latents", {**kept, "latents": kept["latents"] * 0 + 7})
        assert (load_text_latents(marked) == 7).all()


class TestKnownAnswer:
    def test_other_codes_are_not_served(self, entry: ModelEntry) -> None:
        known = load_file(entry.get_file("known_answer").path)
        other = put_file(entry, "known_answer", {**known, "codes": (known["codes"] + 1) % 16})
        with pytest.raises(Defect, match="of its codes are others"):
            Predictor(other, CPU)

    def test_another_latent_is_not_served(self, entry: ModelEntry) -> None:
        known = load_file(entry.get_file("known_answer").path)
        other = put_file(entry, "known_answer", {**known, "latents": -known["latents"]})
        with pytest.raises(Defect, match="its latent is off"):
            Predictor(other, CPU)


class TestFaultsOfWeights:
    def test_a_missing_tensor_is_named(self, entry: ModelEntry) -> None:
        weights = load_file(entry.get_file("weights").path)
        del weights["image.encoder.spatial.norm.bias"]
        with pytest.raises(Defect, match=r"1 missing: encoder\.spatial\.norm\.bias"):
            Predictor(put_file(entry, "weights", weights), CPU)

    def test_a_missing_temperature_is_named(self, entry: ModelEntry) -> None:
        weights = load_file(entry.get_file("weights").path)
        del weights["temperature"]
        with pytest.raises(Defect, match="1 missing: temperature"):
            Predictor(put_file(entry, "weights", weights), CPU)

    def test_a_file_that_is_not_safetensors_is_told(self, entry: ModelEntry) -> None:
        path = entry.get_file("weights").path
        path.write_bytes(b"x" * 200)
        file = WeightFile("weights", path, compute_sha256(path), 200)
        with pytest.raises(Defect, match="not a safetensors file"):
            Predictor(replace(entry, files={**entry.files, "weights": file}), CPU)
