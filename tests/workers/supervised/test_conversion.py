"""`ctclip models convert supervised`: the trainer's container and the public classifier, with the labels they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_weights.loading import load_tensors
from shared.features import SUPERVISED_LABELS
from shared.stages import StageName
from tests.workers.ct_clip.converting import DOCUMENT, convert, convert_file, get_entry
from tests.workers.ct_clip.tiny import make_state
from tests.workers.supervised.tiny import make_classifier_state
from workers.ct_clip.parity import read_architecture
from workers.supervised.configuration import Architecture, HeadKind
from workers.supervised.labels import CT_RATE_LABELS
from workers.supervised.loading import make_classifier

GOLDEN = Path(__file__).parents[2] / "golden" / "ct_clip"
BARE: dict[str, Any] = {name: value for name, value in DOCUMENT.items() if name != "thresholds"}
LABELS = ["cancer", "covid", "fibrosis"]


class TestTrainersContainer:
    def test_it_opens_with_its_numpy_scalars_and_carries_its_labels(self, tmp_path: Path) -> None:
        document = {
            **BARE,
            "architecture": read_architecture(GOLDEN).to_table(),
            "preprocessing": {"shape": [24, 32, 32]},
            "thresholds": {"cancer": 0.3},
        }
        path = GOLDEN / "tiny_supervised_trainer_checkpoint.pt"
        result = convert_file(tmp_path, path, document, "supervised")
        assert result.exit_code == 0, result.stderr
        entry = get_entry(tmp_path)
        assert entry.stage is StageName.SUPERVISED
        assert entry.labels == ("cancer", "emphysema", "pleural_effusion", "fibrosis", "covid")
        architecture = Architecture.from_table(entry.architecture)
        assert architecture.head is HeadKind.LAYER_NORM
        make_classifier(architecture, load_tensors(entry.get_file("weights")))

    @pytest.mark.parametrize("scalar", [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True)])
    def test_any_metric_may_stand_beside_the_weights(self, tmp_path: Path, scalar: object) -> None:
        checkpoint = {
            "model_state_dict": make_classifier_state(HeadKind.PLAIN),
            "metrics": {"auc": scalar},
            "target_pathologies": LABELS,
        }
        assert convert(tmp_path, checkpoint, BARE, "supervised").exit_code == 0
        assert get_entry(tmp_path).architecture["head"] == "plain"

    def test_an_array_of_objects_may_not(self, tmp_path: Path) -> None:
        checkpoint = {
            "model_state_dict": make_classifier_state(HeadKind.PLAIN),
            "metrics": np.array([Path()], dtype=object),
        }
        assert "could run code" in convert(tmp_path, checkpoint, BARE, "supervised").stderr

    def test_labels_that_contradict_it_are_refused(self, tmp_path: Path) -> None:
        checkpoint = {"model_state_dict": make_classifier_state(HeadKind.PLAIN), "target_pathologies": LABELS}
        result = convert(tmp_path, checkpoint, {**BARE, "labels": LABELS[::-1]}, "supervised")
        assert result.exit_code == 2
        assert "the checkpoint was trained on ['cancer', 'covid', 'fibrosis']" in result.stderr


class TestBareStateDict:
    def test_labels_come_from_the_configuration(self, tmp_path: Path) -> None:
        state = make_classifier_state(HeadKind.LAYER_NORM)
        assert convert(tmp_path, state, {**BARE, "labels": LABELS}, "supervised").exit_code == 0
        assert get_entry(tmp_path).labels == tuple(LABELS)

    @pytest.mark.parametrize(
        ("head", "labels"), [(HeadKind.PLAIN, SUPERVISED_LABELS), (HeadKind.RECTIFIED, CT_RATE_LABELS)]
    )
    def test_without_any_they_are_those_of_the_publication(
        self, tmp_path: Path, head: HeadKind, labels: tuple[str, ...]
    ) -> None:
        state = make_classifier_state(head, len(labels))
        result = convert(tmp_path, state, BARE, "supervised")
        assert result.exit_code == 0, result.stderr
        assert get_entry(tmp_path).labels == labels

    def test_labels_that_do_not_fit_the_outputs_are_refused(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_classifier_state(HeadKind.PLAIN), BARE, "supervised")
        assert result.exit_code == 2
        assert "classifier.1.bias (3,) instead of (15,)" in result.stderr


class TestRefusal:
    def test_a_checkpoint_without_a_head(self, tmp_path: Path) -> None:
        result = convert(tmp_path, make_state(), BARE, "supervised")
        assert result.exit_code == 2
        assert "not a classifier on CT-CLIP" in result.stderr

    def test_public_labels_are_those_of_the_reference(self) -> None:
        assert list(CT_RATE_LABELS) == json.loads((GOLDEN / "tokenization_golden.json").read_text())["ct_rate_18"]

    def test_half_a_norm_is_named(self, tmp_path: Path) -> None:
        state = make_classifier_state(HeadKind.LAYER_NORM)
        state["pre_head_norm.weight"] = torch.zeros(7)
        result = convert(tmp_path, state, {**BARE, "labels": LABELS}, "supervised")
        assert "pre_head_norm.weight (7,) instead of (6,)" in result.stderr
