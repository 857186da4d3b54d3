"""`ctclip models convert ct_clip`: a published checkpoint in, safetensors and an entry out, or a clear refusal."""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model_weights.loading import load_tensors
from model_weights.verifying import verify
from shared.errors import Defect
from shared.features import CT_CLIP_LABELS
from shared.stages import StageName
from tests.workers.ct_clip.converting import DOCUMENT, convert, convert_file, get_entry
from tests.workers.ct_clip.tiny import TINY, make_state
from workers.ct_clip.configuration import Architecture, Preprocessing
from workers.ct_clip.conversion import Configuration
from workers.ct_clip.known_answer import make_known_answer
from workers.ct_clip.prompts import Statements, load_label_texts, make_prompts
from workers.ct_clip.text_latents import load_text_latents
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.ct_clip.weights import make_model, read_ct_clip

STATEMENTS = {"present": "A mass of the thymus.", "absent": "The thymus is normal."}


class TestConversion:
    def test_the_entry_says_what_the_model_is(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_state())
        assert result.exit_code == 0, result.stderr
        entry = get_entry(tmp_path)
        assert entry.digest == json.loads(result.stdout)["digest"]
        assert entry.stage is StageName.CT_CLIP
        assert Architecture.from_table(entry.architecture) == TINY
        assert Preprocessing.from_table(entry.preprocessing).shape == (12, 16, 16)
        assert entry.labels == CT_CLIP_LABELS
        assert entry.thresholds == {"Pneumonia": 0.55}

    def test_the_files_give_back_the_same_network(self, tmp_path: Path) -> None:
        state = make_state()
        convert(tmp_path, {"model_state_dict": state, "epoch": 1})
        entry = get_entry(tmp_path)
        tensors = {**load_tensors(entry.get_file("weights")), **load_tensors(entry.get_file("text_weights"))}
        model = make_model(TINY, tensors)
        original = make_model(TINY, read_ct_clip(TINY, state)).state_dict()
        assert all(torch.equal(tensor, original[name]) for name, tensor in model.state_dict().items())
        answer = load_tensors(entry.get_file("known_answer"))
        assert torch.equal(answer["codes"], make_known_answer(model.image)["codes"])
        assert entry.get_file("vocabulary").path.read_bytes() == VOCABULARY_FILE.read_bytes()

    def test_labels_may_be_told(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state(), {**DOCUMENT, "labels": ["Pneumonia", "Rib fracture"]})
        entry = get_entry(tmp_path)
        assert entry.labels == ("Pneumonia", "Rib fracture")
        assert make_prompts(entry.labels) == make_prompts(entry.labels, load_label_texts(entry))

    def test_label_texts_may_be_told(self, tmp_path: Path) -> None:
        texts = {"template": {"present": "{label}.", "absent": "No {label}."}, "labels": {"Thymoma": {**STATEMENTS}}}
        (tmp_path / "texts.json").write_text(json.dumps(texts))
        assert (
            convert(tmp_path, make_state(), {**DOCUMENT, "thresholds": {}, "label_texts": "texts.json"}).exit_code == 0
        )
        entry = get_entry(tmp_path)
        assert entry.labels == ("Thymoma",)
        assert load_label_texts(entry).state("Thymoma") == Statements(**STATEMENTS)
        tokenizer = make_tokenizer(VOCABULARY_FILE.read_text(), 16)
        tower = make_model(TINY, read_ct_clip(TINY, make_state())).text
        expected = tower(*encode_prompts(tokenizer, list(STATEMENTS.values())))
        assert torch.allclose(load_text_latents(entry), expected, atol=1e-6)

    def test_a_changed_byte_is_noticed_before_anything_is_loaded(self, tmp_path: Path) -> None:
        convert(tmp_path, make_state())
        file = get_entry(tmp_path).get_file("weights")
        content = bytearray(file.path.read_bytes())
        content[-1] ^= 1
        file.path.write_bytes(content)
        with pytest.raises(Defect, match="not the one that the catalogue pins"):
            load_tensors(file)


class TestAnotherVocabulary:
    TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "pneumonia", "rib", "fracture", "is", "not", "present", ".")
    SMALL = replace(TINY, text=replace(TINY.text, vocab_size=len(TOKENS)))
    ASKED: Mapping[str, Any] = {
        **DOCUMENT,
        "architecture": SMALL.to_table(),
        "labels": ["Pneumonia", "Rib fracture"],
        "vocabulary": "small.txt",
    }

    def test_it_goes_with_the_weights_and_the_labels_are_encoded_with_it(self, tmp_path: Path) -> None:
        (tmp_path / "small.txt").write_text("\n".join(self.TOKENS))
        assert convert(tmp_path, make_state(self.SMALL), self.ASKED).exit_code == 0
        entry = get_entry(tmp_path)
        assert entry.get_file("vocabulary").path.read_text().split() == list(self.TOKENS)
        tower = make_model(self.SMALL, read_ct_clip(self.SMALL, make_state(self.SMALL))).text
        ids = torch.tensor([[2, 5, 8, 10, 11, 3]])
        assert torch.allclose(load_text_latents(entry)[:1], tower(ids, torch.ones_like(ids)), atol=1e-6)

    def test_one_of_another_size_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "small.txt").write_text("\n".join(self.TOKENS[:-1]))
        result = convert(tmp_path, make_state(self.SMALL), self.ASKED)
        assert result.exit_code == 2
        assert "the vocabulary has 11 tokens, the text side of CT-CLIP 12" in result.stderr

    @pytest.mark.parametrize("content", [None, b"\xff\xfe"])
    def test_one_that_cannot_be_read_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "small.txt").write_bytes(content)
        result = convert(tmp_path, make_state(self.SMALL), self.ASKED)
        assert result.exit_code == 2
        assert "the vocabulary small.txt cannot be read as text" in result.stderr


class TestDisk:
    def test_a_full_one_is_told_in_a_line_and_leaves_what_was_there(self, tmp_path: Path) -> None:
        assert convert(tmp_path, make_state()).exit_code == 0
        before = get_entry(tmp_path)
        softly, firmly = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, firmly))  # as a full disk: a write fails halfway
        try:
            result = convert_file(tmp_path, tmp_path / "checkpoint.pt", {**DOCUMENT, "version": "3"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (softly, firmly))
        assert result.exit_code == 2
        assert "the weights cannot be written" in result.stderr
        assert "nothing was changed" in result.stderr
        assert get_entry(tmp_path) == before
        for file in before.files.values():
            verify(file)

    def test_a_file_in_the_way_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "weights").write_text("in the way")
        result = convert(tmp_path, make_state())
        assert result.exit_code == 2
        assert "the weights cannot be written" in result.stderr


class TestRefusal:
    def test_missing_and_unexpected_keys_are_named(self, tmp_path: Path) -> None:
        state = make_state()
        state["temprature"] = state.pop("temperature")
        result = convert(tmp_path, state)
        assert result.exit_code == 2
        assert "1 missing: temperature; 1 unexpected: temprature" in result.stderr
        assert not (tmp_path / "weights" / "catalogue.toml").exists()

    def test_another_geometry(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_state(), {**DOCUMENT, "architecture": {}})
        assert result.exit_code == 2
        assert "of another shape" in result.stderr

    def test_a_checkpoint_of_a_classifier(self, tmp_path: Path) -> None:
        result = convert(tmp_path, {f"ct_clip.{name}": tensor for name, tensor in make_state().items()})
        assert result.exit_code == 2
        assert "unexpected: ct_clip." in result.stderr

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        torch.save(make_state(), tmp_path / "whole.pt")
        content = (tmp_path / "whole.pt").read_bytes()
        (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
        result = convert_file(tmp_path, tmp_path / "cut.pt")
        assert result.exit_code == 2
        assert "cannot be read as a PyTorch file" in result.stderr

    def test_a_checkpoint_that_could_run_code(self, tmp_path: Path) -> None:
        result = convert(tmp_path, {"model_state_dict": make_state(), "callback": Path})
        assert result.exit_code == 2
        assert "could run code" in result.stderr

    @pytest.mark.parametrize("field", ["name", "version", "origin", "licence"])
    def test_a_configuration_without_a_needed_field(self, tmp_path: Path, field: str) -> None:
        result = convert(tmp_path, make_state(), {name: value for name, value in DOCUMENT.items() if name != field})
        assert result.exit_code == 2
        assert f"lacks ['{field}']" in result.stderr

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"labels": "Pneumonia"}, "list of names"),
            ({"labels": []}, "list of names"),
            ({"labels": ["a\nb"]}, "list of names"),
            ({"labels": ["a\udcff"]}, "list of names"),
            ({"labels": [1]}, "list of names"),
            ({"labels": ["Pneumonia", "Pneumonia"]}, "twice"),
            ({"thresholds": [0.5]}, "object of labels"),
            ({"thresholds": {"Pneumonia": "0.5"}}, "between 0 and 1"),
            ({"thresholds": {"Pneumonia": math.nan}}, "between 0 and 1"),
            ({"thresholds": {"pneumonia": 0.5}}, "not a label"),
            ({"name": "a\nb"}, "one line"),
            ({"version": ["1"]}, "one line"),
            ({"architecture": [1]}, "table"),
            ({"architecture": {"image": {"dim": 10**9}}}, "whole numbers"),
            ({"architecture": {"image": {"spatial_depth": 10**6}}}, "whole numbers"),
            ({"architecture": {"text": {"layer_norm_eps": "x"}}}, "layer_norm_eps"),
            ({"preprocessing": None}, "table"),
            ({"preprocessing": {"shape": "abc"}}, "three numbers"),
            ({"preprocessing": {"shape": [12, None, 16]}}, "three numbers"),
            ({"preprocessing": {"shape": [12, 16.5, 16]}}, "whole numbers"),
            ({"preprocessing": {"spacing_mm": [math.nan] * 3}}, "must be positive"),
            ({"preprocessing": {"spacing_mm": [math.inf] * 3}}, "must be positive"),
        ],
    )
    def test_a_configuration_that_means_nothing(self, tmp_path: Path, changes: Mapping[str, Any], told: str) -> None:
        result = convert(tmp_path, make_state(), {**DOCUMENT, **changes})
        assert result.exit_code == 2
        assert told in result.stderr
        assert not (tmp_path / "weights" / "catalogue.toml").exists()

    def test_a_configuration_nested_beyond_reading(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("[" * 100_000)
        with pytest.raises(Defect, match="cannot be read as JSON"):
            Configuration.read(tmp_path / "config.json")

    def test_a_text_side_of_another_vocabulary(self, tmp_path: Path) -> None:
        other = replace(TINY, text=replace(TINY.text, vocab_size=40))
        result = convert(tmp_path, make_state(other), {**DOCUMENT, "architecture": other.to_table()})
        assert result.exit_code == 2
        assert "the vocabulary has 30522 tokens, the text side of CT-CLIP 40" in result.stderr

    def test_a_preprocessing_that_the_patches_do_not_divide(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_state(), {**DOCUMENT, "preprocessing": {"shape": [13, 16, 16]}})
        assert result.exit_code == 2
        assert "slabs of 2 slices" in result.stderr
