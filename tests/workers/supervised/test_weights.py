"""The classifiers' weights: both published layouts, strictly, and heads that answer as they were trained."""

from __future__ import annotations

import pytest
import torch

from shared.errors import Defect
from tests.workers.ct_clip.tiny import TINY, make_state
from tests.workers.supervised.tiny import CLASSES, make_classifier_state
from workers.supervised.configuration import Architecture, HeadKind
from workers.supervised.loading import make_classifier
from workers.supervised.model import LatentClassifier, compute_probabilities
from workers.supervised.weights import find_head, read_classifier


def make(head: HeadKind) -> LatentClassifier:
    architecture = Architecture(CLASSES, head, TINY)
    return make_classifier(architecture, read_classifier(architecture, make_classifier_state(head)))


class TestLayouts:
    @pytest.mark.parametrize("head", list(HeadKind))
    def test_the_head_is_found_by_its_keys(self, head: HeadKind) -> None:
        assert find_head(make_classifier_state(head)) is head

    def test_what_is_no_classifier_is_refused(self) -> None:
        with pytest.raises(Defect, match="not a classifier on CT-CLIP"):
            find_head(make_state())

    @pytest.mark.parametrize("head", list(HeadKind))
    def test_the_text_side_is_left_behind(self, head: HeadKind) -> None:
        tensors = read_classifier(Architecture(CLASSES, head, TINY), make_classifier_state(head))
        assert all(name.startswith(("image.", "head.")) for name in tensors)

    @pytest.mark.parametrize(
        "missing", ["pre_head_norm.bias", "classifier.1.weight", "ct_clip.temperature", "ct_clip.to_text_latent.weight"]
    )
    def test_a_missing_key_is_named(self, missing: str) -> None:
        state = make_classifier_state(HeadKind.LAYER_NORM)
        del state[missing]
        with pytest.raises(Defect, match=f"1 missing: {missing}"):
            read_classifier(Architecture(CLASSES, HeadKind.LAYER_NORM, TINY), state)

    def test_another_number_of_classes_is_named(self) -> None:
        state = make_classifier_state(HeadKind.RECTIFIED)
        with pytest.raises(Defect, match=r"classifier\.weight \(3, 6\) instead of \(18, 6\)"):
            read_classifier(Architecture(18, HeadKind.RECTIFIED, TINY), state)


class TestHeads:
    def test_the_layer_norm_sets_length_aside(self) -> None:
        classifier, latents = make(HeadKind.LAYER_NORM), torch.randn(2, TINY.dim_latent)
        assert torch.allclose(classifier.classify(latents), classifier.classify(latents * 1e3), atol=1e-3)

    def test_the_public_head_does_not_see_what_is_negative(self) -> None:
        classifier, latents = make(HeadKind.RECTIFIED), torch.randn(2, TINY.dim_latent)
        assert torch.equal(classifier.classify(latents), classifier.classify(latents.clamp(min=0)))

    def test_labels_may_stand_together(self) -> None:
        probabilities = compute_probabilities(torch.tensor([[4.0, 4.0, -4.0]]))
        assert float(probabilities.sum()) > 1.5

    @pytest.mark.parametrize("head", list(HeadKind))
    def test_a_volume_gives_one_logit_for_each_class(self, head: HeadKind) -> None:
        assert make(head)(torch.randn(2, 1, 4, 16, 16)).shape == (2, CLASSES)


class TestArchitecture:
    @pytest.mark.parametrize("head", list(HeadKind))
    def test_a_table_reads_back_equal(self, head: HeadKind) -> None:
        architecture = Architecture(CLASSES, head, TINY)
        assert Architecture.from_table(architecture.to_table()) == architecture

    @pytest.mark.parametrize("table", [{}, {"num_classes": 0}, {"num_classes": 2, "head": "wide"}, {"classes": 2}])
    def test_a_wrong_table_is_refused(self, table: dict[str, object]) -> None:
        with pytest.raises(Defect, match="architecture"):
            Architecture.from_table(table)
